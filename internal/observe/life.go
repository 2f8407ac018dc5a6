package observe

import (
	"time"

	"github.com/sbx-project/sbx/internal/admin"
	"github.com/sbx-project/sbx/registry/life"
)

// Command is what the API says of a command. revoked says what it would not
// return to; nil: nothing is revoked. registry is the directory that it comes
// from.
func Command(c life.Command, now time.Time, revoked life.Revoked, registry string) admin.Command {
	out := admin.Command{Name: c.Name, Generation: c.Generation, Reason: c.Refusal, Registry: registry, Floor: c.Floor, State: admin.Absent}
	if c.Refusal != "" {
		out.State = admin.Refused
	}
	current, inForce := c.Current()
	if inForce {
		since := current.Since.UTC()
		out.State, out.Version, out.Revision, out.Since = admin.State(current.State.String()), current.Version, current.Digest, &since
		out.Summary = current.Summary
		out.Reason, out.Runs, out.Violations, out.LastViolation = current.Reason, current.Runs, current.Violations, current.LastViolation
		out.RevertsLeft = revertsLeft(c, current, now)
	}
	if last, ok := c.LastGood(revoked, c.InForce); ok {
		out.Previous = revision(last)
	}
	for _, r := range c.Revisions {
		switch {
		case out.Candidate == nil && !r.State.InForce() && (r.State == life.Rejected || r.State == life.Candidate):
			out.Candidate = revision(r)
		case !inForce && out.Since == nil && (r.State == life.Quarantined || r.State == life.Held):
			// Why nothing is in force.
			since := r.Since.UTC()
			out.State, out.Version, out.Revision, out.Since = admin.State(r.State.String()), r.Version, r.Digest, &since
			out.Summary = r.Summary
		}
		if out.LastViolation == "" {
			out.LastViolation = r.LastViolation
		}
	}
	return out
}

func revision(r life.Revision) *admin.Revision {
	return &admin.Revision{Version: r.Version, Revision: r.Digest, State: admin.State(r.State.String()), Reason: r.Reason}
}

// revertsLeft is what the budget still allows within its window.
func revertsLeft(c life.Command, r life.Revision, now time.Time) uint64 {
	left := r.BudgetCount
	for _, t := range c.Reverts {
		if left > 0 && now.Sub(t) < r.BudgetWindow {
			left--
		}
	}
	return left
}
