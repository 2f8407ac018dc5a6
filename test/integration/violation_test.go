package integration

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestViolation: whoever of a run makes a refused call, the run ends with 159,
// the call is named with its arguments, and nothing of the tree survives.
func TestViolation(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		family := h.policy(t, "family", "filesystem: {read: [BIN], exec: [ACT]}\n")
		for _, tt := range []struct {
			name, act, syscall string
			nr                 int
			path               string
			// pid of the caller inside, 0 when it is not known before
			pid int
		}{
			{"workload", "forbid", forbidden, 103, "", 2},
			{"child whose parent exits 0", "forbid-child", forbidden, 103, "", 0},
			{"thread", "forbid-thread", forbidden, 103, "", 0},
			{"with a path", "forbid-path", "chroot", 161, "/some/where", 2},
		} {
			t.Run(tt.name, func(t *testing.T) {
				r := h.run(t, h.act(family, tt.act))
				wantEnd(t, r, 159, "violation")
				if len(r.report.Violations) != 1 {
					t.Fatalf("%d violations, want 1\n%s", len(r.report.Violations), r)
				}
				v := r.report.Violations[0]
				if v.Kind != "syscall" || v.Syscall != tt.syscall || v.Path != tt.path || v.PID == 0 || tt.pid != 0 && v.PID != tt.pid || v.Arch != runtime.GOARCH || v.Rule == "" {
					t.Errorf("violation %+v", v)
				}
				if runtime.GOARCH == "amd64" && v.NR != tt.nr {
					t.Errorf("number %d, want %d", v.NR, tt.nr)
				}
				if v.Comm != "act" && v.Comm != "exe" {
					t.Errorf("comm %q, want act", v.Comm)
				}
				if !strings.Contains(v.AllowWith, tt.syscall) {
					t.Errorf("allow-with %q", v.AllowWith)
				}
				said := "sbx: violation: " + tt.syscall + "("
				if tt.syscall == forbidden {
					said += fmt.Sprintf("0x%x, 0x%x, 0x%x, ", forbiddenArg0, forbiddenArg1, forbiddenArg2)
					if diff := cmp.Diff([]uint64{forbiddenArg0, forbiddenArg1, forbiddenArg2}, v.Args[:3]); diff != "" {
						t.Errorf("arguments (-want +got):\n%s", diff)
					}
				}
				if !strings.Contains(r.stderr, said) || !strings.Contains(r.stderr, "hint: ") || !strings.Contains(r.stderr, tt.path) {
					t.Errorf("want %q on stderr\n%s", said, r)
				}
				if strings.Contains(r.stderr, "came back") {
					t.Errorf("the kernel executed the call\n%s", r)
				}
				nothingLeft(t, time.Second)
			})
		}
	})
}

// TestRefusedOtherwise: of a call that more permission would not open none is
// recommended, and what refused it is named.
func TestRefusedOtherwise(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		for _, tt := range []struct{ name, policy, rule, allowWith string }{
			{"by its name", "{syscalls: {allow: [" + forbidden + "], deny: [" + forbidden + "]}}", "in syscalls.deny", ""},
			{"by its arguments", "{syscalls: {allow: [" + forbidden + "], rules: [{names: [" + forbidden + fmt.Sprintf("], args: [{index: 0, op: eq, value: %d}], action: kill}]}}", forbiddenArg0), "not with these arguments", ""},
			{"by other arguments", "{syscalls: {rules: [{names: [" + forbidden + fmt.Sprintf("], args: [{index: 0, op: ne, value: %d}], action: allow}]}}", forbiddenArg0), "not in syscalls.allow", "syscalls: {allow: [" + forbidden + "]}"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				r := h.run(t, h.act(h.policy(t, "otherwise", tt.policy+"\n"), "forbid"))
				wantEnd(t, r, 159, "violation")
				if len(r.report.Violations) != 1 {
					t.Fatalf("%d violations, want 1\n%s", len(r.report.Violations), r)
				}
				if v := r.report.Violations[0]; v.Rule != tt.rule || v.AllowWith != tt.allowWith {
					t.Errorf("rule %q, allow-with %q; want %q and %q", v.Rule, v.AllowWith, tt.rule, tt.allowWith)
				}
				if strings.Contains(r.stderr, "hint: ") != (tt.allowWith != "") {
					t.Errorf("hint\n%s", r)
				}
			})
		}
	})
}

// TestForeignABI: the 32-bit entry and x32 are violations before anything
// else is looked at.
func TestForeignABI(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("amd64 only: the other architectures have no such entry here")
	}
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		gate := h.write(t, "int80", string(elfProgram(int80)), 0o755)
		// Without a sandbox it ends well, or the test would prove nothing.
		if err := exec.Command(gate).Run(); err != nil {
			t.Skipf("this kernel has no 32-bit entry: %v", err)
		}
		for _, tt := range []struct {
			name string
			call call
			arch string
			nr   int
		}{
			{"int 0x80", call{words: []string{gate}}, "i386", 20},
			{"x32", h.act("", "x32"), "x32", 0x40000000 + 39},
		} {
			t.Run(tt.name, func(t *testing.T) {
				r := h.run(t, tt.call)
				wantEnd(t, r, 159, "violation")
				if len(r.report.Violations) != 1 {
					t.Fatalf("%d violations, want 1\n%s", len(r.report.Violations), r)
				}
				if v := r.report.Violations[0]; v.Arch != tt.arch || v.NR != tt.nr || v.Rule != "foreign ABI" || v.AllowWith != "" {
					t.Errorf("violation %+v", v)
				}
				if !strings.Contains(r.stderr, "sbx: violation: ") || !strings.Contains(r.stderr, tt.arch) {
					t.Errorf("stderr does not name it\n%s", r)
				}
				nothingLeft(t, time.Second)
			})
		}
	})
}

// TestRefusedNotKilled: what the view refuses is an errno, never a violation.
func TestRefusedNotKilled(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		secret := h.write(t, "secret", "canary", 0o644)
		r := h.run(t, h.act("", "cat", secret))
		wantEnd(t, r, 1, "exit")
		if !strings.Contains(r.stdout, "no such file") || strings.Contains(r.stdout, "canary") {
			t.Errorf("a file out of the view\n%s", r)
		}
		read := h.policy(t, "read", "filesystem: {read: [WORK]}\n")
		h.write(t, "work/file", "shown", 0o644)
		r = h.run(t, h.act(read, "cat", h.path("work/file")))
		wantEnd(t, r, 0, "ok")
		if r.stdout != "shown" {
			t.Errorf("stdout %q, want shown", r.stdout)
		}
		r = h.run(t, h.act(read, "write", h.path("work/file"), "changed"))
		wantEnd(t, r, 1, "exit")
		if text, err := os.ReadFile(h.path("work/file")); err != nil || string(text) != "shown" {
			t.Errorf("the file is %q, %v", text, err)
		}
		r = h.run(t, h.act("", "write", "/tmp/own", "x"))
		wantEnd(t, r, 0, "ok")
	})
}
