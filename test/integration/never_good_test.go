package integration

import (
	"strings"
	"testing"
)

// TestNeverGood: a name whose only revision is bad in itself is found and
// refused, by the daemon and without it, whatever part of sbx reads the mistake.
// What this version of sbx cannot do is not the bundle's fault, and is 125.
func TestNeverGood(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		bad := []struct{ name, policy, want string }{
			{"key", "syscals: {}", `unknown key "syscals"`},
			{"call", "syscalls: {allow: [nosuchcall]}", `unknown syscall "nosuchcall"`},
			{"group", `syscalls: {allow: ["@nosuch"]}`, `unknown syscall group "@nosuch"`},
			{"path", "filesystem: {read: [/nonexistent]}", `"/nonexistent" does not exist`},
		}
		for _, b := range bad {
			h.revision(t, b.name, "1.0.0", "", b.policy)
		}
		h.revision(t, "later", "1.0.0", "", "filesystem: {workspace: {}}")
		for _, direct := range []bool{true, false} {
			if !direct {
				h.serve(t)
			}
			for _, b := range bad {
				r := h.run(t, h.both(direct, call{words: []string{b.name, "exit", "0"}}))
				if wantEnd(t, r, 126, "refused"); !strings.Contains(r.stderr, b.want) {
					t.Errorf("direct %v: %s is not told why\n%s", direct, b.name, r)
				}
			}
			wantEnd(t, h.run(t, h.both(direct, call{words: []string{"later", "exit", "0"}})), 125, "setup-error")
		}
	})
}
