package life

import (
	"strings"
	"time"
)

// ActionKind is what the end of a run led to.
type ActionKind uint8

// The actions. Whatever is not ActionNone is worth an event.
const (
	// ActionNone: at most a count changed.
	ActionNone ActionKind = iota
	// ActionEndProbation: the revision became Active.
	ActionEndProbation
	// ActionRevert: the command is back on Action.To.
	ActionRevert
	// ActionQuarantine: the name refuses until an operator acts.
	ActionQuarantine
	// ActionAlert: a violation that changes nothing.
	ActionAlert
)

var actionNames = [...]string{
	ActionNone: "none", ActionEndProbation: "end-probation", ActionRevert: "revert",
	ActionQuarantine: "quarantine", ActionAlert: "alert",
}

// String is the lower-case name.
func (k ActionKind) String() string {
	if int(k) >= len(actionNames) {
		return "unknown"
	}
	return actionNames[k]
}

// Action says what a function of this package did beyond counting.
type Action struct {
	Kind ActionKind
	// To is the digest that the command returned to; only with ActionRevert.
	To string
	// Reason is for people.
	Reason string
}

// maxText bounds a violation's description and the reasons of operators, in
// bytes: they are stored with every generation.
const maxText = 1000

// text makes one bounded line of valid UTF-8.
func text(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// Ended takes the end of one run of a revision: violation is empty, or says
// what was violated. now is when the run ended, which may be long ago for one
// that a journal remembers; generation is the one in which a change of what
// is in force would be stored.
//
// Only a violation of the revision in force, in its probation, changes what is
// in force. A revert spends the budget of the revision that is taken out, and
// returns to LastGood; where the budget is spent, or nothing is good, the name
// refuses.
func (c Command) Ended(digest, violation string, generation uint64, now time.Time, revoked Revoked) (Command, Action) {
	if c.index(digest) < 0 {
		return c, Action{}
	}
	c = c.clone()
	c, action := c.tick(now)
	r := c.at(digest)
	r.Runs++
	if violation == "" {
		if r.State == Probation && r.Runs >= r.ProbationRuns {
			r.move(Active, now, "")
			return c, Action{Kind: ActionEndProbation, Reason: "probation is over"}
		}
		return c, action
	}
	violation = text(violation)
	r.Violations++
	r.LastViolation = violation
	if r.State != Probation || r.OnViolation == OnViolationKill {
		// A run beyond the last of probation would have ended it.
		if r.State == Probation && r.Runs >= r.ProbationRuns {
			r.move(Active, now, "")
		}
		return c, Action{Kind: ActionAlert, Reason: violation}
	}
	reason := "violation in probation: " + violation
	if r.OnViolation == OnViolationQuarantine {
		return c.refuse(reason, generation, now), Action{Kind: ActionQuarantine, Reason: reason}
	}
	if c.spent(r.BudgetWindow, now) >= min(r.BudgetCount, keepReverts) {
		reason += "; the revert budget is spent"
		return c.refuse(reason, generation, now), Action{Kind: ActionQuarantine, Reason: reason}
	}
	c, action = c.back(reason, generation, now, revoked)
	if action.Kind == ActionRevert {
		c.Reverts = append(c.Reverts, instant(now))
		c.trim()
	}
	return c, action
}

// back quarantines what is in force and returns to the last good.
func (c Command) back(reason string, generation uint64, now time.Time, revoked Revoked) (Command, Action) {
	good, ok := c.LastGood(revoked, c.InForce)
	if !ok {
		reason += "; nothing to return to"
		return c.refuse(reason, generation, now), Action{Kind: ActionQuarantine, Reason: reason}
	}
	c.leave(Quarantined, generation, now, reason)
	c.enter(good.Digest, generation, now, "last good")
	return c, Action{Kind: ActionRevert, To: good.Digest, Reason: reason}
}

// refuse quarantines what is in force and makes the name refuse.
func (c Command) refuse(reason string, generation uint64, now time.Time) Command {
	c.leave(Quarantined, generation, now, reason)
	c.Refusal = "quarantined: " + reason
	return c
}

// Tick ends a probation whose window is over. The kind of the action is
// ActionNone when there was none.
func (c Command) Tick(now time.Time) (Command, Action) { return c.clone().tick(now) }

// tick is Tick on a value that is the caller's own.
func (c Command) tick(now time.Time) (Command, Action) {
	r := c.at(c.InForce)
	if r == nil || r.State != Probation || r.ProbationWindow == 0 || now.Sub(r.Activated) < r.ProbationWindow {
		return c, Action{}
	}
	r.move(Active, now, "")
	return c, Action{Kind: ActionEndProbation, Reason: "the window of probation is over"}
}

// Revoke takes what is in force out when it is revoked: it is quarantined, and
// the command returns to its last good, or refuses. No budget is spent,
// because no caller of the command can bring this about.
func (c Command) Revoke(generation uint64, now time.Time, revoked Revoked) (Command, Action) {
	r, ok := c.Current()
	if !ok || !revoked.of(r) {
		return c, Action{}
	}
	return c.clone().back("the digest or its key is revoked", generation, now, revoked)
}
