package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// plans lists the plan files of a caller.
func (h *host) plans(t testing.TB) []string {
	t.Helper()
	found, err := filepath.Glob(h.path("state") + "/*/plans/*.plan")
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob(h.path("state") + "/exec/*.plan")
	return append(found, more...)
}

// registered runs a command of the caller's registry.
func (h *host) registered(t testing.TB, words ...string) result {
	t.Helper()
	return h.run(t, call{verb: "run", flags: []string{"--registry", h.path("registry")}, words: words})
}

// lone makes a copy of sbx that has no sbxd beside it: what it can run, it
// runs from a plan that it believes.
func (h *host) lone(t testing.TB) string {
	t.Helper()
	h.mkdir(t, "lone")
	if err := copyFile(h.path("lone/sbx"), bin+"/sbx", 0o755); err != nil {
		t.Fatal(err)
	}
	return h.path("lone/sbx")
}

// alone runs a command of the caller's registry without the loader.
func (h *host) alone(t testing.TB, sbx string, words ...string) result {
	t.Helper()
	return h.run(t, call{sbx: sbx, verb: "run", flags: []string{"--registry", h.path("registry")}, words: words})
}

// TestKept: a second run uses the plan of the first, without the loader.
func TestKept(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.bundle(t, "tool", bin+"/act", "")
		sbx := h.lone(t)
		r := h.alone(t, sbx, "tool", "exit", "0")
		if r.status != 125 || !strings.Contains(r.stderr, "sbxd") {
			t.Fatalf("without plan and loader\n%s", r)
		}
		wantEnd(t, h.registered(t, "tool", "exit", "0"), 0, "ok")
		if plans := h.plans(t); len(plans) != 1 {
			t.Fatalf("plans %q, want one", plans)
		}
		wantEnd(t, h.alone(t, sbx, "tool", "exit", "8"), 8, "exit")
		wantEnd(t, h.run(t, h.act("", "exit", "9")), 9, "exit")
		c := h.act("", "exit", "9")
		c.sbx = sbx
		wantEnd(t, h.run(t, c), 9, "exit")
	})
}

// TestPolicyChanged: a changed policy is in force at the next run, for a
// registered command and for a program under a file.
func TestPolicyChanged(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		p := h.policy(t, "p", "env: {set: {WHICH: one}}\n")
		r := h.run(t, h.act(p, "forbid"))
		wantEnd(t, r, 159, "violation")
		p = h.policy(t, "p", "env: {set: {WHICH: two}}\nsyscalls: {errno: {EPERM: [syslog]}}\n")
		r = h.run(t, h.act(p, "forbid"))
		wantEnd(t, r, statusBroken, "exit")
		h.bundle(t, "tool", bin+"/act", "")
		r = h.registered(t, "tool", "forbid")
		wantEnd(t, r, 159, "violation")
		first := r.report
		h.bundle(t, "tool", bin+"/act", "syscalls: {errno: {EPERM: [syslog]}}")
		r = h.registered(t, "tool", "forbid")
		wantEnd(t, r, statusBroken, "exit")
		// `kill` changes nothing, so the new content makes the one generation.
		if r.report.Revision == first.Revision || r.report.Generation != first.Generation+1 {
			t.Errorf("revision %s generation %d after %s %d", r.report.Revision, r.report.Generation, first.Revision, first.Generation)
		}
		// A bad one changes nothing, and says so.
		h.bundle(t, "tool", bin+"/act", "syscalls: {allw: [syslog]}")
		again := h.registered(t, "tool", "forbid")
		wantEnd(t, again, statusBroken, "exit")
		if again.report.Revision != r.report.Revision || !strings.Contains(again.stderr, "rejected") {
			t.Errorf("%s", again)
		}
		if err := os.Remove(h.path("registry/tool.yaml")); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, h.registered(t, "tool", "exit", "0"), 127, "refused")
	})
}

// TestProgramReplaced: another file at the program's path is what runs next,
// by rename and by writing in place.
func TestProgramReplaced(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		exits := func(status byte) string {
			// mov edi, status; mov eax, 60; syscall
			return string(elfProgram([]byte{0xbf, status, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}))
		}
		program := h.write(t, "program", exits(11), 0o755)
		h.bundle(t, "tool", program, "")
		wantEnd(t, h.registered(t, "tool"), 11, "exit")
		other := h.write(t, "other", exits(12), 0o755)
		if err := os.Rename(other, program); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, h.registered(t, "tool"), 12, "exit")
		h.write(t, "program", exits(13), 0o755)
		wantEnd(t, h.registered(t, "tool"), 13, "exit")
		wantEnd(t, h.run(t, call{words: []string{program}}), 13, "exit")
		h.write(t, "program", exits(14), 0o755)
		wantEnd(t, h.run(t, call{words: []string{program}}), 14, "exit")
		if err := os.Chmod(program, 0o644); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, h.registered(t, "tool"), 126, "refused")
		if err := os.Remove(program); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, h.registered(t, "tool"), 127, "refused")
	})
}

// TestShadowed: a name that appears in an earlier registry is what runs next.
func TestShadowed(t *testing.T) {
	needPrograms(t, "/usr/bin/grep")
	each(t, func(t *testing.T, h *host) {
		h.write(t, "work/text", "needle\n", 0o644)
		r := h.registered(t, "grep", "-c", "needle", "text")
		wantEnd(t, r, 0, "ok")
		if r.stdout != "1\n" {
			t.Fatalf("the built-in command\n%s", r)
		}
		h.bundle(t, "grep", bin+"/act", "")
		wantEnd(t, h.registered(t, "grep", "exit", "21"), 21, "exit")
		if err := os.Remove(h.path("registry/grep.yaml")); err != nil {
			t.Fatal(err)
		}
		r = h.registered(t, "grep", "-c", "needle", "text")
		wantEnd(t, r, 0, "ok")
		// A group of the name hides it too.
		h.bundle(t, "grep.deep", bin+"/act", "")
		wantEnd(t, h.registered(t, "grep", "deep", "exit", "22"), 22, "exit")
		wantEnd(t, h.registered(t, "grep", "-c", "needle", "text"), 127, "refused")
	})
}

// TestPlanDamaged: a plan that does not decode is compiled again.
func TestPlanDamaged(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.bundle(t, "tool", bin+"/act", "")
		wantEnd(t, h.registered(t, "tool", "exit", "0"), 0, "ok")
		plan := h.plans(t)[0]
		good, err := os.ReadFile(plan)
		if err != nil {
			t.Fatal(err)
		}
		sbx := h.lone(t)
		flipped := append([]byte(nil), good...)
		flipped[len(flipped)/2] ^= 0x40
		for name, text := range map[string][]byte{
			"empty": {}, "garbage": []byte("garbage"), "truncated": good[:len(good)/2], "one bit": flipped, "longer": append(append([]byte(nil), good...), 0),
		} {
			t.Run(name, func(t *testing.T) {
				if err := os.WriteFile(plan, text, 0o644); err != nil {
					t.Fatal(err)
				}
				wantEnd(t, h.registered(t, "tool", "exit", "4"), 4, "exit")
				wantEnd(t, h.alone(t, sbx, "tool", "exit", "4"), 4, "exit")
			})
		}
	})
}

// TestPlanOfAnother: a plan that somebody else owns or may write is not
// believed, however valid it is.
func TestPlanOfAnother(t *testing.T) {
	testenv.Root(t)
	needBinaries(t)
	for _, who := range callers() {
		t.Run(who, func(t *testing.T) {
			h := newHost(t, who)
			h.bundle(t, "tool", bin+"/act", "")
			sbx := h.lone(t)
			wantEnd(t, h.registered(t, "tool", "exit", "0"), 0, "ok")
			plan := h.plans(t)[0]
			good, err := os.ReadFile(plan)
			if err != nil {
				t.Fatal(err)
			}
			for _, tt := range []struct {
				name string
				// path is what is changed; it is put back.
				path string
				uid  int
				mode os.FileMode
			}{
				{"another owner", plan, 12345, 0o644},
				{"writable by others", plan, h.uid, 0o666},
				{"writable by the group", plan, h.uid, 0o664},
				{"in a directory writable by others", filepath.Dir(plan), h.uid, 0o777},
				{"in a directory of another owner", filepath.Dir(plan), 12345, 0o755},
				{"in a state directory writable by others", h.path("state"), h.uid, 0o777},
				{"below a directory writable by others", h.base, h.uid, 0o777},
			} {
				t.Run(tt.name, func(t *testing.T) {
					if err := errors.Join(os.WriteFile(plan, good, 0o600), os.Chmod(plan, 0o644), os.Chown(plan, h.uid, h.uid)); err != nil {
						t.Fatal(err)
					}
					wantEnd(t, h.alone(t, sbx, "tool", "exit", "8"), 8, "exit")
					st, err := os.Stat(tt.path)
					if err != nil {
						t.Fatal(err)
					}
					if err := errors.Join(os.Chown(tt.path, tt.uid, tt.uid), os.Chmod(tt.path, tt.mode)); err != nil {
						t.Fatal(err)
					}
					if r := h.alone(t, sbx, "tool", "exit", "8"); r.status != 125 && r.status != 126 {
						t.Errorf("the plan was believed\n%s", r)
					}
					if err := errors.Join(os.Chown(tt.path, h.uid, h.uid), os.Chmod(tt.path, st.Mode().Perm())); err != nil {
						t.Fatal(err)
					}
				})
			}
		})
	}
}

// removeState removes the state that this host's registry has in the state
// directory of root, before and after the test: it is taken where SBX_STATE says
// nothing that can be, and the next registry with this inode would have it.
func (h *host) removeState(t *testing.T) {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Stat(h.path("registry"), &st))
	dir := fmt.Sprintf("/var/lib/sbx/registry-%x-%x", st.Dev, st.Ino)
	check(t, os.RemoveAll(dir))
	t.Cleanup(func() {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("nothing was kept: %v", err)
		}
		check(t, os.RemoveAll(dir))
	})
}

// TestStateUnwritable: without a place for plans every run compiles, and runs.
func TestStateUnwritable(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.bundle(t, "tool", bin+"/act", "")
		if h.uid == 0 {
			h.removeState(t)
		}
		file := h.write(t, "file", "", 0o644)
		closed := h.mkdir(t, "closed")
		if err := os.Chmod(closed, 0o555); err != nil {
			t.Fatal(err)
		}
		dirs := map[string]string{"below a file": file + "/state", "in proc": "/proc/sbx", "relative": "state"}
		if h.uid != 0 { // nothing is closed to root
			dirs["closed"] = closed + "/state"
		}
		for name, dir := range dirs {
			t.Run(name, func(t *testing.T) {
				for range 2 {
					r := h.run(t, call{verb: "run", flags: []string{"--registry", h.path("registry")}, words: []string{"tool", "exit", "9"}, env: []string{"SBX_STATE=" + dir}})
					wantEnd(t, r, 9, "exit")
				}
			})
		}
		if _, err := os.Stat(h.work() + "/state"); err == nil {
			t.Error("a relative SBX_STATE was taken as a path of the working directory")
		}
	})
}
