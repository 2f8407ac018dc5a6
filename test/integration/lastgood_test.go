package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// revision writes a bundle of a version into the caller's registry; extra are
// further lines of the manifest.
func (h *host) revision(t testing.TB, name, version, extra, policy string) {
	t.Helper()
	text := fmt.Sprintf("apiVersion: sbx/v1\nname: %s\nversion: %s\nsummary: a test\nexec: {path: %s, args: passthrough}\n%s", name, version, bin+"/act", extra)
	if policy != "" {
		text += "policy:\n  " + strings.ReplaceAll(policy, "\n", "\n  ") + "\n"
	}
	// As an editor or a deployment does: a whole file takes the old one's place.
	h.write(t, "registry/."+name+".new", text, 0o644)
	if err := os.Rename(h.path("registry/."+name+".new"), h.path("registry/"+name+".yaml")); err != nil {
		t.Fatal(err)
	}
}

// operator runs a verb on the caller's registry.
func (h *host) operator(t testing.TB, verb string, words ...string) result {
	t.Helper()
	return h.run(t, call{verb: verb, plain: true, words: append([]string{"--registry", h.path("registry")}, words...)})
}

// history is what `sbx history NAME --json` says of one command.
type history struct {
	Generations []struct {
		Generation uint64
		By, Why    string
		Changed    []string
	}
	Command struct {
		InForce   string `json:"in-force"`
		Refusal   string
		Floor     string
		Revisions []struct {
			Digest, Version, State, Reason string
			Runs, Violations               uint64
		}
	}
}

func (h *host) history(t testing.TB, name string) history {
	t.Helper()
	r := h.operator(t, "history", "--json", name)
	var out history
	if err := json.Unmarshal([]byte(r.stdout), &out); err != nil || r.status != 0 {
		t.Fatalf("%v\n%s", err, r)
	}
	return out
}

// state is the state of a version in a history.
func (h history) state(version string) string {
	for _, r := range h.Command.Revisions {
		if r.Version == version {
			return r.State
		}
	}
	return ""
}

const allowSyslog = "syscalls: {errno: {EPERM: [syslog]}}"

// TestViolationReturnsToLastGood: an update whose first run violates its policy
// is put back, quarantined, and does not come again by itself.
func TestViolationReturnsToLastGood(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.revision(t, "tool", "1.0.0", "", allowSyslog)
		good := h.registered(t, "tool", "forbid")
		wantEnd(t, good, statusBroken, "exit")
		if !good.report.Counted {
			t.Error("a run of the registry's owner does not count")
		}
		h.revision(t, "tool", "2.0.0", "", "")
		r := h.registered(t, "tool", "forbid")
		wantEnd(t, r, 159, "violation")
		if r.report.Version != "2.0.0" || r.report.RevertedTo != "1.0.0" || !r.report.Counted {
			t.Errorf("%s", r)
		}
		if !strings.Contains(r.stderr, "quarantined") || !strings.Contains(r.stderr, "1.0.0") {
			t.Errorf("the caller is not told\n%s", r)
		}
		for range 2 {
			r = h.registered(t, "tool", "forbid")
			wantEnd(t, r, statusBroken, "exit")
			if r.report.Version != "1.0.0" || r.report.Revision != good.report.Revision || r.report.Generation <= good.report.Generation+1 {
				t.Errorf("after the revert\n%s", r)
			}
		}
		past := h.history(t, "tool")
		if past.state("2.0.0") != "quarantined" || past.Command.InForce != good.report.Revision {
			t.Errorf("%+v", past)
		}
		h.revision(t, "tool", "2.0.1", "", allowSyslog)
		r = h.registered(t, "tool", "forbid")
		wantEnd(t, r, statusBroken, "exit")
		if r.report.Version != "2.0.1" {
			t.Errorf("%s", r)
		}
	})
}

// TestBrokenUpdateKeepsWhatRuns: whatever is wrong with an update, the revision
// in force goes on, and it is said once.
func TestBrokenUpdateKeepsWhatRuns(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.revision(t, "tool", "1.0.0", "", "")
		first := h.registered(t, "tool", "exit", "3")
		wantEnd(t, first, 3, "exit")
		broken := map[string]func(){
			"syntax":       func() { h.revision(t, "tool", "2.0.0", "", "syscalls: {allw: [syslog]}") },
			"unknown call": func() { h.revision(t, "tool", "2.0.0", "", "syscalls: {allow: [frobnicate]}") },
			"failed check": func() { h.revision(t, "tool", "2.0.0", "checks: [{argv: [exit, \"4\"], expect: {exit: 0}}]\n", "") },
			"older":        func() { h.revision(t, "tool", "0.9.0", "", "") },
			"empty":        func() { h.write(t, "registry/tool.yaml", "", 0o644) },
			"another name": func() { h.write(t, "registry/tool.yaml", "apiVersion: sbx/v1\nname: other\n", 0o644) },
			"no program": func() {
				h.write(t, "registry/tool.yaml", "apiVersion: sbx/v1\nname: tool\nversion: 2.0.0\nexec: {path: /nonexistent}\n", 0o644)
			},
			"missing need": func() { h.revision(t, "tool", "2.0.0", "requires: {commands: [absent]}\n", "") },
			"newer sbx":    func() { h.revision(t, "tool", "2.0.0", "requires: {sbx: \">=99.0\"}\n", "") },
		}
		for what, write := range broken {
			t.Run(strings.ReplaceAll(what, " ", "-"), func(t *testing.T) {
				write()
				r := h.registered(t, "tool", "exit", "3")
				wantEnd(t, r, 3, "exit")
				if r.report.Version != "1.0.0" || r.report.Revision != first.report.Revision {
					t.Errorf("%s", r)
				}
				if !strings.Contains(r.stderr, "rejected") {
					t.Errorf("not reported\n%s", r)
				}
				again := h.registered(t, "tool", "exit", "3")
				wantEnd(t, again, 3, "exit")
				if strings.Contains(again.stderr, "rejected") {
					t.Errorf("reported twice\n%s", again)
				}
			})
		}
		h.revision(t, "tool", "2.0.0", "", "")
		if r := h.registered(t, "tool", "exit", "3"); r.report.Version != "2.0.0" {
			t.Errorf("a good update after bad ones\n%s", r)
		}
	})
}

// TestChecksAreProvedFirst: a bundle comes in force when its checks end as it
// says, and not before.
func TestChecksAreProvedFirst(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.revision(t, "tool", "1.0.0", "checks: [{argv: [exit, \"7\"], expect: {exit: 7}}, {argv: [forbid], expect: {violation: syslog}}]\n", "")
		wantEnd(t, h.registered(t, "tool", "exit", "0"), 0, "ok")
		h.revision(t, "other", "1.0.0", "checks: [{argv: [exit, \"7\"], expect: {exit: 8}}]\n", "")
		r := h.registered(t, "other", "exit", "0")
		wantEnd(t, r, 126, "refused")
		if !strings.Contains(r.stderr, "check 1") || !strings.Contains(r.stderr, "exit 7") || !strings.Contains(r.stderr, "other.yaml:") {
			t.Errorf("%s", r)
		}
	})
}

// TestProgramInstalledLater: a bundle that was rejected because its program is
// missing comes in force once that is there.
func TestProgramInstalledLater(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.write(t, "registry/late.yaml", "apiVersion: sbx/v1\nname: late\nversion: 1.0.0\nexec: {path: "+h.path("late")+", args: passthrough}\n", 0o644)
		for range 2 {
			wantEnd(t, h.registered(t, "late"), 127, "refused")
		}
		h.write(t, "late", string(elfProgram([]byte{0xbf, 9, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05})), 0o755)
		wantEnd(t, h.registered(t, "late"), 9, "exit")
	})
}

// TestQuarantineRefuses: with on_violation quarantine, or with nothing good to
// return to, the name refuses until an operator acts.
func TestQuarantineRefuses(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.revision(t, "tool", "1.0.0", "", allowSyslog)
		wantEnd(t, h.registered(t, "tool", "exit", "0"), 0, "ok")
		h.revision(t, "tool", "2.0.0", "on_violation: quarantine\n", "")
		wantEnd(t, h.registered(t, "tool", "forbid"), 159, "violation")
		r := h.registered(t, "tool", "exit", "0")
		wantEnd(t, r, 126, "refused")
		if !strings.Contains(r.stderr, "quarantined") || !strings.Contains(r.stderr, "rollback") {
			t.Errorf("%s", r)
		}
		h.revision(t, "tool", "1.5.0", "", "") // an older one is no way out
		r = h.registered(t, "tool", "exit", "0")
		wantEnd(t, r, 126, "refused")
		if past := h.history(t, "tool"); past.state("1.5.0") != "rejected" {
			t.Errorf("%+v", past)
		}
		h.revision(t, "tool", "2.0.0", "on_violation: quarantine\n", "")
		r = h.operator(t, "rollback", "--to", "2.0.0", "tool")
		if r.status != 126 || !strings.Contains(r.stderr, "quarantined") {
			t.Errorf("%s", r)
		}
		r = h.operator(t, "rollback", "--reason", "bad day", "tool")
		if r.status != 0 || !strings.Contains(r.stderr, "sbx: tool: 1.0.0 is in force (generation ") { // nothing is held
			t.Fatalf("%s", r)
		}
		r = h.registered(t, "tool", "exit", "0")
		wantEnd(t, r, 0, "ok")
		if r.report.Version != "1.0.0" {
			t.Errorf("%s", r)
		}
		if past := h.history(t, "tool"); !strings.Contains(past.Generations[0].Why, "bad day") || past.Generations[0].By == "" {
			t.Errorf("%+v", past.Generations)
		}

		h.revision(t, "new", "1.0.0", "", "")
		wantEnd(t, h.registered(t, "new", "forbid"), 159, "violation")
		wantEnd(t, h.registered(t, "new", "exit", "0"), 126, "refused")
		if r := h.operator(t, "rollback", "--release", "new"); r.status != 0 {
			t.Fatalf("%s", r)
		}
		wantEnd(t, h.registered(t, "new", "exit", "0"), 0, "ok")
	})
}

// TestAfterProbation: a violation kills the run and changes nothing.
func TestAfterProbation(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.revision(t, "tool", "1.0.0", "", "")
		wantEnd(t, h.registered(t, "tool", "exit", "0"), 0, "ok")
		h.revision(t, "tool", "2.0.0", "probation: {runs: 2, window: 24h}\n", "")
		for range 3 {
			wantEnd(t, h.registered(t, "tool", "exit", "0"), 0, "ok")
		}
		for range 2 {
			r := h.registered(t, "tool", "forbid")
			wantEnd(t, r, 159, "violation")
			if r.report.Version != "2.0.0" || r.report.RevertedTo != "" {
				t.Errorf("%s", r)
			}
		}
		if past := h.history(t, "tool"); past.state("2.0.0") != "active" {
			t.Errorf("%+v", past.Command)
		}
	})
}

// TestRevertBudget: a second automatic return within the window quarantines
// instead, so that who chooses the arguments cannot walk back through history.
func TestRevertBudget(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.revision(t, "tool", "1.0.0", "", "")
		wantEnd(t, h.registered(t, "tool", "exit", "0"), 0, "ok")
		for _, version := range []string{"2.0.0", "3.0.0"} {
			h.revision(t, "tool", version, "", "env: {set: {V: \""+version+"\"}}")
			wantEnd(t, h.registered(t, "tool", "exit", "0"), 0, "ok")
		}
		r := h.registered(t, "tool", "forbid")
		wantEnd(t, r, 159, "violation")
		if r.report.RevertedTo != "2.0.0" {
			t.Errorf("%s", r)
		}
		h.revision(t, "tool", "4.0.0", "", "env: {set: {V: \"4\"}}")
		r = h.registered(t, "tool", "forbid")
		wantEnd(t, r, 159, "violation")
		if r.report.RevertedTo != "" {
			t.Errorf("%s", r)
		}
		wantEnd(t, h.registered(t, "tool", "exit", "0"), 126, "refused")
	})
}

// TestFloor: nothing, by itself or by an operator, returns below the floor.
func TestFloor(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.revision(t, "tool", "1.0.0", "", "")
		wantEnd(t, h.registered(t, "tool", "exit", "0"), 0, "ok")
		h.revision(t, "tool", "2.0.0", "floor: 2.0.0\n", "")
		wantEnd(t, h.registered(t, "tool", "forbid"), 159, "violation")
		wantEnd(t, h.registered(t, "tool", "exit", "0"), 126, "refused")
		if r := h.operator(t, "rollback", "tool", "--to", "1.0.0"); r.status == 0 || !strings.Contains(r.stderr, "floor") {
			t.Errorf("%s", r)
		}
	})
}

// TestRollback: a person returns to an older version, and what was displaced
// comes back only when it changes or is released.
func TestRollback(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		for _, version := range []string{"1.0.0", "2.0.0", "3.0.0"} {
			h.revision(t, "tool", version, "", "")
			wantEnd(t, h.registered(t, "tool", "exit", "0"), 0, "ok")
		}
		version := func(want string) {
			t.Helper()
			if r := h.registered(t, "tool", "exit", "0"); r.status != 0 || r.report.Version != want {
				t.Errorf("want %s\n%s", want, r)
			}
		}
		if r := h.operator(t, "rollback", "tool", "--to", "1.0.0", "--reason", "3 is slow"); r.status != 0 {
			t.Fatalf("%s", r)
		}
		version("1.0.0")
		version("1.0.0")
		if got := h.history(t, "tool").state("3.0.0"); got != "held" {
			t.Errorf("3.0.0 is %s", got)
		}
		if r := h.operator(t, "rollback", "--release", "tool"); r.status != 0 {
			t.Fatalf("%s", r)
		}
		version("3.0.0")
		past := h.history(t, "tool")
		var first uint64
		for _, g := range past.Generations {
			if strings.Contains(g.Why, "2.0.0") {
				first = g.Generation
			}
		}
		if r := h.operator(t, "rollback", "--to", fmt.Sprint(first)); r.status != 0 {
			t.Fatalf("%s", r)
		}
		version("2.0.0")
		for _, bad := range [][]string{{"tool", "--to", "9.9.9"}, {"absent"}, {"--to", "x"}, {}} {
			if r := h.operator(t, "rollback", bad...); r.status == 0 || r.stderr == "" {
				t.Errorf("%q: %s", bad, r)
			}
		}
	})
}

// TestStoredNotReread: a run uses the stored bytes of a directory bundle, not
// those that lie in the registry.
func TestStoredNotReread(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		exits := func(status byte) string {
			return string(elfProgram([]byte{0xbf, status, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}))
		}
		h.mkdir(t, "registry/tool")
		h.mkdir(t, "registry/tool/bin")
		h.write(t, "registry/tool/bin/dump", exits(21), 0o755)
		manifest := "apiVersion: sbx/v1\nname: tool\nversion: %s\nexec: {path: bin/dump, args: passthrough}\n"
		h.write(t, "registry/tool/bundle.yaml", fmt.Sprintf(manifest, "1.0.0"), 0o644)
		wantEnd(t, h.registered(t, "tool"), 21, "exit")
		// The shipped file alone: another content of the same version.
		h.write(t, "registry/tool/bin/dump.new", exits(22), 0o755)
		if err := os.Rename(h.path("registry/tool/bin/dump.new"), h.path("registry/tool/bin/dump")); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, h.registered(t, "tool"), 22, "exit")
		// A broken whole leaves the stored one in force.
		h.write(t, "registry/tool/bundle.yaml", "apiVersion: sbx/v2\n", 0o644)
		h.write(t, "registry/tool/bin/dump", exits(23), 0o755)
		wantEnd(t, h.registered(t, "tool"), 22, "exit")
	})
}

// TestNewestSnapshotDamaged: with the newest generation corrupt, truncated or
// missing, an older valid one is what counts, and nothing runs unsandboxed.
func TestNewestSnapshotDamaged(t *testing.T) {
	damage := map[string]func(t *testing.T, path string){
		"truncated": func(t *testing.T, path string) { check(t, os.Truncate(path, 10)) },
		"missing":   func(t *testing.T, path string) { check(t, os.Remove(path)) },
		"corrupt": func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			check(t, err)
			b[len(b)/2] ^= 1
			check(t, os.Chmod(path, 0o600))
			check(t, os.WriteFile(path, b, 0o600))
		},
	}
	for what, spoil := range damage {
		t.Run(what, func(t *testing.T) {
			each(t, func(t *testing.T, h *host) {
				h.revision(t, "tool", "1.0.0", "", "")
				wantEnd(t, h.registered(t, "tool", "exit", "5"), 5, "exit")
				h.revision(t, "tool", "2.0.0", "", "")
				wantEnd(t, h.registered(t, "tool", "exit", "5"), 5, "exit")
				found, err := filepath.Glob(h.path("state") + "/registry-*/generations/*")
				check(t, err)
				newest := ""
				for _, f := range found {
					if len(f) > len(newest) || len(f) == len(newest) && f > newest {
						newest = f
					}
				}
				spoil(t, newest)
				for _, p := range h.plans(t) {
					check(t, os.Remove(p))
				}
				r := h.registered(t, "tool", "exit", "5")
				wantEnd(t, r, 5, "exit")
				if r.report.Version != "2.0.0" {
					t.Errorf("the bundle on disk was not loaded again\n%s", r)
				}
			})
		})
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestKilledWhileLoading: sbx and its loader are killed at random moments
// while bundles change; at every restart the command is on an old or a new
// good revision.
func TestKilledWhileLoading(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.revision(t, "tool", "1.0.0", "", "")
		wantEnd(t, h.registered(t, "tool", "exit", "6"), 6, "exit")
		for n := range rounds(100) {
			h.revision(t, "tool", fmt.Sprintf("1.0.%d", n+1), "", fmt.Sprintf("env: {set: {N: \"%d\"}}", n))
			cmd := exec.Command(bin+"/sbx", "run", "--registry", h.path("registry"), "tool", "exit", "6")
			cmd.Env, cmd.Dir = h.environ(), h.work()
			attr := syscall.SysProcAttr{Setpgid: true}
			if h.uid != os.Geteuid() {
				attr.Credential = &syscall.Credential{Uid: uint32(h.uid), Gid: uint32(h.uid)}
			}
			cmd.SysProcAttr = &attr
			check(t, cmd.Start())
			time.Sleep(time.Duration(n%60) * time.Millisecond) // the moment of the kill, not a wait
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			cmd.Wait()
			if n%5 == 4 {
				// sbx is waited for, and its sbxd may still be about to die with
				// the lock: then what is in force runs.
				want := fmt.Sprintf("1.0.%d", n+1)
				for end := time.Now().Add(patience()); ; {
					r := h.registered(t, "tool", "exit", "6")
					wantEnd(t, r, 6, "exit")
					if r.report.Version == want {
						break
					}
					if time.Now().After(end) {
						t.Fatalf("in force is %s, on disk %s\n%s", r.report.Version, want, r)
					}
				}
			}
		}
	})
}
