package integration

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

// reload has the daemon load what changed, and waits.
func (h *host) reload(t testing.TB) {
	t.Helper()
	if r := h.operator(t, "reload", "--wait"); r.status != 0 {
		t.Fatalf("%s", r)
	}
}

// served runs a command by the daemon.
func (h *host) served(t testing.TB, status int, outcome string, words ...string) result {
	t.Helper()
	r := h.run(t, h.both(false, call{words: words}))
	if wantEnd(t, r, status, outcome); r.report.Via != "daemon" {
		t.Errorf("via %q", r.report.Via)
	}
	return r
}

// TestViolationsAfterProbation: whoever causes them by the daemon changes
// nothing but the count, and pushes nothing out of the history.
func TestViolationsAfterProbation(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.revision(t, "tool", "1.0.0", "probation: {runs: 2, window: 24h}\n", "")
		h.serve(t)
		for range 3 {
			h.served(t, 0, "ok", "tool", "exit", "0")
		}
		before := h.history(t, "tool")
		for range 20 {
			if r := h.served(t, 159, "violation", "tool", "forbid"); !r.report.Counted || r.report.RevertedTo != "" {
				t.Errorf("%s", r)
			}
		}
		after := h.history(t, "tool")
		if len(after.Generations) != len(before.Generations) || after.Generations[0].Generation != before.Generations[0].Generation {
			t.Errorf("generations %+v became %+v", before.Generations, after.Generations)
		}
		if after.state("1.0.0") != "active" || after.Command.Revisions[0].Violations != 20 {
			t.Errorf("%+v", after.Command)
		}
		r := h.operator(t, "status", "--json")
		var status struct {
			Generation uint64
			Commands   []struct {
				Name, Summary string
				Violations    uint64
			}
		}
		if err := json.Unmarshal([]byte(r.stdout), &status); err != nil {
			t.Fatalf("%v\n%s", err, r)
		}
		for _, c := range status.Commands {
			if c.Name == "tool" && (c.Violations != 20 || c.Summary != "a test") {
				t.Errorf("%+v", c)
			}
		}
		if status.Generation != before.Generations[0].Generation {
			t.Errorf("generation %d in force", status.Generation)
		}
		violations := 0
		for _, l := range h.audit(t) {
			if l.Event == "run" && l.Outcome == "violation" {
				violations++
			}
		}
		if violations != 20 {
			t.Errorf("%d violations in the audit log", violations)
		}
		h.served(t, 0, "ok", "tool", "exit", "0")
	})
}

// TestRevertToldOnce: a revert by the daemon is one line of the audit log and
// one event, which say what was taken out, what is in force again, and why.
func TestRevertToldOnce(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.revision(t, "tool", "1.0.0", "", "")
		h.serve(t)
		good := h.served(t, 0, "ok", "tool", "exit", "0")
		h.revision(t, "tool", "2.0.0", "", "")
		h.reload(t)
		bad := h.served(t, 159, "violation", "tool", "forbid")
		if bad.report.RevertedTo != "1.0.0" {
			t.Fatalf("%s", bad)
		}
		h.served(t, 0, "ok", "tool", "exit", "0")
		var lines []auditLine
		for _, l := range h.audit(t) {
			if l.Event == "revert" || l.RevertedTo != "" {
				lines = append(lines, l)
			}
		}
		if len(lines) != 1 || lines[0].Event != "revert" || lines[0].Run != bad.report.Run || lines[0].Command != "tool" || lines[0].Version != "2.0.0" ||
			lines[0].Revision != bad.report.Revision || lines[0].RevertedTo != good.report.Revision || !strings.Contains(lines[0].Reason, "violation in probation") {
			t.Errorf("audit: %+v", lines)
		}
		type event struct {
			Kind, Run, Command, Version, Revision string
			InForce                               string `json:"in-force"`
		}
		var reverts []event
		r := h.operator(t, "events", "--json", "--since", "0")
		for line := range strings.Lines(r.stdout) {
			var e event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v\n%s", err, r)
			}
			if e.Kind == "reverted" {
				reverts = append(reverts, e)
			}
		}
		if want := []event{{"reverted", bad.report.Run, "tool", "2.0.0", bad.report.Revision, "1.0.0"}}; !slices.Equal(reverts, want) {
			t.Errorf("events %+v, want %+v\n%s", reverts, want, r)
		}
	})
}
