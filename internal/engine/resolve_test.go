package engine

import (
	"slices"
	"testing"

	"github.com/sbx-project/sbx/internal/syscalls"
)

// TestGroupsOpen: a policy that allows a group has all of it, whatever base
// answers with an errno, but for guarded calls and what has a built-in answer.
func TestGroupsOpen(t *testing.T) {
	fixed := []string{"openat2", "file_setattr"}
	for _, group := range syscalls.Groups() {
		rs, err := Ruleset(merged(t, `{filesystem: {exec: [view]}, sockets: [inet], syscalls: {allow: ["`+group+`"]}}`))
		if err != nil {
			t.Fatal(err)
		}
		members, _ := syscalls.Group(group)
		for _, name := range members {
			nr, ok := syscalls.Number("amd64", name)
			if !ok || slices.Contains(fixed, name) {
				continue
			}
			call := rs.Calls[nr]
			opens := call.Default == allow
			for _, r := range call.Rules {
				opens = opens || r.Verdict == allow
			}
			if !opens {
				t.Errorf("%s: %s is %s", group, name, call)
			}
		}
	}
}
