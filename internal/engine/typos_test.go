package engine

import (
	"errors"
	"strings"
	"testing"
)

// TestTypos: a slip in the name of a call or a group has its place and what was
// meant.
func TestTypos(t *testing.T) {
	names := []string{
		"ptrace", "openat", "userfaultfd", "mprotect", "pidfd_getfd", "io_uring_setup", "quotactl", "clone3", "memfd_create", "unshare",
		"@system-service", "@mount", "@file-system", "@basic-io", "@network-io", "@privileged", "@keyring", "@resources", "@process", "@default",
	}
	for _, name := range names {
		wrong := name[:len(name)/2] + name[len(name)/2+1:]
		for _, list := range []string{"allow: [", "deny: [read, ", "errno: {EPERM: ["} {
			end := "]}"
			if strings.Contains(list, "{") {
				end = "]}}"
			}
			text := "syscalls: {" + list
			in := merged(t, text+`"`+wrong+`"`+end)
			_, err := Ruleset(in)
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%s%s: %v", list, wrong, err)
				continue
			}
			if e.Pos.Line != 1 || e.Pos.Col != len(text)+1 || !strings.Contains(e.Hint, `"`+name+`"`) || !strings.Contains(e.Msg, `"`+wrong+`"`) {
				t.Errorf("%s%s: %v, hint %q; want %q at column %d", list, wrong, e, e.Hint, name, len(text)+1)
			}
		}
	}
}
