package ctl

import (
	"errors"
	"strings"
	"time"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/runner"
)

// SettledHead begins the line by which sbxd answers SettleVerb: the version
// that the command is back on follows, or nothing.
const SettledHead = "SBXSETTLED "

const notWritable = "the state directory must be writable by the registry's owner"

// HintQuarantined says what lets a name run again that refuses after a
// violation.
func HintQuarantined(name string) string {
	return "sbx history " + name + "\nsbx rollback " + name + " returns to an older version, sbx rollback --release " + name + " lets this one run again; or give its bundle a new version"
}

// Quarantined is the report of a name that refuses.
func Quarantined(p *plan.Plan) *runner.Report {
	r := refused(runner.StatusRefused, p.Command, errors.New(p.Refusal), HintQuarantined(p.Command))
	r.Command, r.Version, r.Revision, r.Generation = p.Command, p.Version, p.Revision, p.Generation
	return r
}

// Verdict keeps how a run ended, where that counts: while its revision is in
// probation every end, later a violation. One record is appended before sbx
// ends; a violation in probation is acted upon before that as well. What is
// cut off in between is done by the next loader.
func (v *Invocation) Verdict(p *plan.Plan, r *runner.Report) {
	if p == nil || !p.Counts || r.Outcome == runner.Refused || r.Outcome == runner.SetupError || r.Step == helpStep {
		return
	}
	violated := r.Outcome == runner.Violation
	if !p.Journal && !violated {
		r.Counted = true
		return
	}
	rec := state.Record{Time: time.Now(), Run: r.Run, Command: p.Command, Revision: p.Revision}
	if violated {
		rec.Violation = "unknown"
		if len(r.Violations) > 0 && r.Violations[0].Syscall != "" {
			rec.Violation = r.Violations[0].Syscall
		}
	}
	add := state.Append
	if violated && p.Journal {
		// Should sbx be killed from here on, the next run does not start
		// before a loader has acted.
		add = state.AppendUrgent
	}
	size, err := add(state.Dir(), p.Key, rec)
	if err != nil {
		// The run is over and its status true; what is lost is one verdict.
		Say(v.Quiet, "this run does not count: "+err.Error(), notWritable)
		return
	}
	r.Counted = true
	if p.Journal && violated || size >= state.SettleSize {
		r.RevertedTo = v.settle(p)
	}
}

// settle has sbxd take the journal into account and returns the version that
// the command was put back on, "" for none. sbxd says on stderr what it does.
func (v *Invocation) settle(p *plan.Plan) (version string) {
	answer, status, err := ask(append(append([]string{SettleVerb}, v.common()...), "--key="+p.Key, "--", p.Command))
	if err != nil || status != 0 {
		if err != nil {
			Say(v.Quiet, "settle the verdict: "+err.Error(), "the next load of "+p.Command+" does it")
		}
		return ""
	}
	line, ok := strings.CutPrefix(strings.TrimSuffix(string(answer), "\n"), SettledHead)
	if !ok {
		return ""
	}
	return line
}
