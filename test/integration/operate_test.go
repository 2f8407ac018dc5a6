package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/testenv"
)

// auditLine is a line of the audit log, as far as a test looks at it.
type auditLine struct {
	Event, Run, Command, Version, Revision, Outcome, Reason, Why string
	Generation                                                   uint64
	Caller                                                       *struct {
		UID, GID uint32
		PID      int
	}
	Verdict    int
	RevertedTo string `json:"reverted-to"`
}

// audit is the audit log of the caller's registry, verified.
func (h *host) audit(t testing.TB) (lines []auditLine) {
	t.Helper()
	h.auditVerifies(t)
	files, _ := filepath.Glob(h.path("state/*/audit/audit.jsonl"))
	if len(files) != 1 {
		t.Fatalf("audit logs: %q", files)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var l auditLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		lines = append(lines, l)
	}
	return lines
}

// auditVerifies fails when `sbx audit verify` does not answer 0.
func (h *host) auditVerifies(t testing.TB) {
	t.Helper()
	if r := h.run(t, call{verb: "audit", plain: true, words: []string{"verify"}}); r.status != 0 {
		t.Fatalf("audit verify\n%s", r)
	}
}

// TestOperate: what an operator does to a registry is the same by the daemon
// that holds its state and without one: status, messages, history. The daemon
// writes down who did what, and why.
func TestOperate(t *testing.T) {
	needBinaries(t)
	for _, who := range callers() {
		t.Run(who, func(t *testing.T) {
			testenv.NoLeaks(t)
			var said, kept [2][]string
			for i, daemon := range []bool{false, true} {
				h := newHost(t, who)
				said[i] = h.operated(t, daemon)
				for _, g := range h.history(t, "tool").Generations {
					kept[i] = append(kept[i], g.By+": "+g.Why)
				}
				if daemon {
					h.operatedAudit(t)
				}
			}
			if d := cmp.Diff(said[0], said[1]); d != "" {
				t.Errorf("said (-alone +daemon) %s", d)
			}
			if d := cmp.Diff(kept[0], kept[1]); d != "" {
				t.Errorf("history (-alone +daemon) %s", d)
			}
		})
	}
}

// operated brings three versions in force, has every act done to them, and
// returns what sbx said of each.
func (h *host) operated(t *testing.T, daemon bool) (said []string) {
	t.Helper()
	run := func(want string) {
		t.Helper()
		r := h.registered(t, "tool", "exit", "0")
		if wantEnd(t, r, 0, "ok"); r.report.Version != want {
			t.Errorf("version %q runs, want %q\n%s", r.report.Version, want, r)
		}
		if via := r.report.Via == "daemon"; via != daemon {
			t.Errorf("via %q", r.report.Via)
		}
	}
	h.revision(t, "tool", "1.0.0", "", "")
	if daemon {
		h.serve(t)
	}
	for _, version := range []string{"1.0.0", "2.0.0", "3.0.0"} {
		h.revision(t, "tool", version, "", "")
		if daemon {
			if r := h.operator(t, "reload", "--wait"); r.status != 0 {
				t.Fatalf("%s", r)
			}
		}
		run(version)
	}
	before := h.history(t, "tool").Generations[0].Generation
	act := func(status int, words ...string) {
		t.Helper()
		r := h.operator(t, "rollback", append([]string{"--reason", "because of " + strings.Join(words, " ")}, words...)...)
		if r.status != status {
			t.Errorf("%q: %d, want %d\n%s", words, r.status, status, r)
		}
		said = append(said, strings.Join(words, " ")+": "+r.stdout+r.stderr)
	}
	act(0, "tool")
	run("2.0.0")
	act(0, "tool", "--to", "1.0.0")
	run("1.0.0")
	act(126, "tool", "--to", "1.0.0") // it is
	act(126, "tool", "--to", "9.0.0") // is none
	act(0, "--release", "tool")
	act(126, "--release", "tool")                      // nothing is held any more
	act(0, "--to", strconv.FormatUint(before, 10))     // every command
	act(126, "--to", strconv.FormatUint(before, 10))   // nothing to do
	act(126, "--to", strconv.FormatUint(before+9, 10)) // no such generation
	run("3.0.0")
	act(0, "--floor", "2.0.0", "tool")
	act(126, "--floor", "1.0.0", "tool")
	act(126, "tool", "--to", "1.0.0") // below it
	act(127, "other")
	run("3.0.0")
	if floor := h.history(t, "tool").Command.Floor; floor != "2.0.0" {
		t.Errorf("floor %q", floor)
	}
	return said
}

// operatedAudit looks for the acts of operated in the audit log.
func (h *host) operatedAudit(t *testing.T) {
	t.Helper()
	var got []string
	moved := 0
	for _, l := range h.audit(t) {
		if l.Outcome == "reverted" {
			moved++
		}
		if l.Event != "operator" || l.Reason == "reload" {
			continue
		}
		if c := l.Caller; c == nil || int(c.UID) != h.uid || int(c.GID) != h.uid || c.PID <= 1 {
			t.Errorf("%+v by %+v", l, l.Caller)
		}
		got = append(got, strings.TrimPrefix(l.Reason+" "+l.Outcome+", "+l.Why, " "))
	}
	for _, want := range []string{
		"rollback tool , because of tool",
		"rollback tool to 1.0.0 , because of tool --to 1.0.0",
		"release tool , because of --release tool",
		"floor 2.0.0 of tool , because of --floor 2.0.0 tool",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, strings.Join(got, "\n"))
		}
	}
	refused := 0
	for _, line := range got {
		if strings.Contains(line, " refused, ") {
			refused++
		}
	}
	// 127 is answered by who looks the name up, and is nobody's act.
	if len(got) != 19 || refused != 7 || moved != 3 {
		t.Errorf("%d lines, %d refused, %d moved; want 19, 7, 3\n%s", len(got), refused, moved, strings.Join(got, "\n"))
	}
}
