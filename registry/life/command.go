// Package life is the state machine of one command: which of its revisions is
// in force, which may return, and which never come back by themselves. Use
// [Command.Offer] to judge a revision and [Command.Activate] to put it in
// force; [Command.Ended] takes what runs of it showed.
//
// It is pure: no file, no clock, no state of its own. Time and generation are
// arguments, and every function returns a new value and leaves its receiver
// as it was. A Command may be stored as JSON; [Command.Check] says whether
// one that was read back could have been made here.
//
// The promise: what is in force is never quarantined, held, revoked at the
// time it was put there, or below the floor. It does not know whether a bundle's bytes
// are what the digest says, nor whether a signature is good: its caller
// verifies first.
package life

import (
	"slices"
	"time"
)

// Bounds of what is remembered of one command. A rejected digest beyond its
// bound is reported again; a retired one can no longer be returned to.
const (
	keepRetired  = 8
	keepRejected = 16
	// keepReverts bounds Command.Reverts, and with it every revert budget.
	keepReverts = 256
	// MaxBad is how many quarantined and held revisions a command may have:
	// they are never forgotten, so beyond it nothing new is accepted until an
	// operator releases them.
	MaxBad = 1000
)

// Revision is one content of one bundle and what is known of it.
type Revision struct {
	// Digest is "sha256:HEX" of the bundle.
	Digest string `json:"digest"`
	// Version is the manifest's, a semantic version without a leading v.
	Version string `json:"version"`
	// Summary is the manifest's, for who shows the command.
	Summary string `json:"summary,omitempty"`
	// Counter is the version vector; empty: the version decides.
	Counter map[string]uint64 `json:"counter,omitempty"`
	// KeyID names the key of a verified signature; empty: unsigned.
	KeyID string `json:"key,omitempty"`
	State State  `json:"state"`
	// Since is when State was entered.
	Since time.Time `json:"since"`
	// Reason says why State was entered, or why a retired revision was
	// refused when it was offered again.
	Reason string `json:"reason,omitempty"`
	// HostCause is set by the caller of Reject when the cause lies outside of
	// the bundle's content: program missing, feature, failed check, signature
	// or publishers, a required command. Host is the fingerprint of all that;
	// another fingerprint makes the digest worth trying again.
	HostCause bool   `json:"host-cause,omitempty"`
	Host      string `json:"host,omitempty"`
	// Verdict is set by the caller of Reject when the cause was a verdict of
	// Offer; such a revision is judged anew each time. Zero: its content, or
	// the host.
	Verdict Code `json:"verdict,omitempty"`
	// Proved is set when it passed its checks.
	Proved bool `json:"proved,omitempty"`
	// Runs are the runs that ended since Activate; Violations all that there
	// ever were.
	Runs       uint64 `json:"runs,omitempty"`
	Violations uint64 `json:"violations,omitempty"`
	// LastViolation describes the newest violation.
	LastViolation string `json:"last-violation,omitempty"`
	// Activated is when it last came in force.
	Activated time.Time `json:"activated,omitzero"`
	// Probation ends with ProbationRuns ended runs or when ProbationWindow is
	// over, whichever is first. No runs: no probation. No window: no bound by
	// time.
	ProbationRuns   uint64        `json:"probation-runs,omitempty"`
	ProbationWindow time.Duration `json:"probation-window,omitempty"`
	OnViolation     OnViolation   `json:"on-violation"`
	// BudgetCount reverts within BudgetWindow; what exceeds them quarantines.
	BudgetCount  uint64        `json:"budget-count,omitempty"`
	BudgetWindow time.Duration `json:"budget-window,omitempty"`
	// Floor is the manifest's; empty: none.
	Floor string `json:"floor,omitempty"`
	// Requires are the commands that the manifest says must be there.
	Requires []string `json:"requires,omitempty"`
}

// Stored reports whether the bundle's bytes must be kept: it is or was in
// force, so that something may return to it.
func (r Revision) Stored() bool {
	return r.State.InForce() || r.State == Retired || r.State == Held || r.State == Quarantined
}

// Command is what is known of one name. The zero value with a Name is a
// command that never was.
type Command struct {
	Name string `json:"name"`
	// InForce is the digest of the revision that runs use; empty: none.
	InForce string `json:"in-force,omitempty"`
	// Base is the digest that offers are compared with while nothing is in
	// force: what was in force before, so that what an attacker can bring
	// about, as a quarantine, opens no way to an older version.
	Base string `json:"base,omitempty"`
	// Revisions are sorted by when they came in force or were rejected,
	// newest first, each digest once. Quarantined and held ones, the one in
	// force and what last good may choose are never dropped.
	Revisions []Revision `json:"revisions,omitempty"`
	// Floor is the oldest version that the command may have. It only grows.
	Floor string `json:"floor,omitempty"`
	// Reverts are the times of automatic reverts, oldest first.
	Reverts []time.Time `json:"reverts,omitempty"`
	// Generation is the one in which InForce last changed.
	Generation uint64 `json:"generation,omitempty"`
	// Refusal is not empty when nothing is in force and the name is refused
	// (126) with this reason. Nothing in force and no Refusal: absent (127).
	Refusal string `json:"refusal,omitempty"`
}

// Revoked reports whether a revision was revoked, by its digest or its key.
// Nil: nothing is.
type Revoked func(Revision) bool

func (f Revoked) of(r Revision) bool { return f != nil && f(r) }

// Revision returns what is known of a digest.
func (c Command) Revision(digest string) (Revision, bool) {
	if r := c.at(digest); r != nil {
		return *r, true
	}
	return Revision{}, false
}

// Current returns the revision in force, false when there is none.
func (c Command) Current() (Revision, bool) {
	if c.InForce == "" {
		return Revision{}, false
	}
	return c.Revision(c.InForce)
}

// LastGood is the revision to return to: the newest with at least one ended
// run and no violation; else the newest that passed its checks; else false.
// None of them is quarantined, held, revoked, below the floor, or except.
func (c Command) LastGood(revoked Revoked, except string) (Revision, bool) {
	fallback := -1
	for i, r := range c.Revisions {
		if r.Digest == except || !c.mayReturn(r, revoked) {
			continue
		}
		if r.Runs > 0 && r.Violations == 0 {
			return r, true
		}
		if fallback < 0 {
			fallback = i
		}
	}
	if fallback < 0 {
		return Revision{}, false
	}
	return c.Revisions[fallback], true
}

// mayReturn reports whether a revision may come in force by itself.
func (c Command) mayReturn(r Revision, revoked Revoked) bool {
	return (r.State.InForce() || r.State == Retired) && r.Proved && !below(r.Version, c.Floor) && !revoked.of(r)
}

// clone returns a copy whose slices are its own. Counters are shared: nothing
// writes them.
func (c Command) clone() Command {
	c.Revisions = slices.Clone(c.Revisions)
	c.Reverts = slices.Clone(c.Reverts)
	return c
}

func (c *Command) index(digest string) int {
	return slices.IndexFunc(c.Revisions, func(r Revision) bool { return r.Digest == digest })
}

func (c *Command) at(digest string) *Revision {
	if i := c.index(digest); i >= 0 {
		return &c.Revisions[i]
	}
	return nil
}

// first makes r the newest revision; an older record of its digest goes.
func (c *Command) first(r Revision) {
	if i := c.index(r.Digest); i >= 0 {
		c.Revisions = slices.Delete(c.Revisions, i, i+1)
	}
	c.Revisions = slices.Insert(c.Revisions, 0, r)
}

// enter puts the revision of digest in force. Nothing else is.
func (c *Command) enter(digest string, generation uint64, now time.Time, reason string) {
	r := *c.at(digest)
	state := Active
	// Being superseded ended the probation of what had runs; what had none
	// begins its own.
	if r.Runs == 0 && r.ProbationRuns > 0 {
		state = Probation
	}
	r.move(state, now, reason)
	r.Activated = r.Since
	c.current(r, generation)
}

// current makes r, whose state is that of a revision in force, the one.
func (c *Command) current(r Revision, generation uint64) {
	r.HostCause, r.Host, r.Verdict = false, "", 0
	c.first(r)
	c.InForce, c.Base, c.Refusal, c.Generation = r.Digest, "", "", generation
}

// leave takes what is in force out.
func (c *Command) leave(to State, generation uint64, now time.Time, reason string) {
	if r := c.at(c.InForce); c.InForce != "" && r != nil {
		r.move(to, now, reason)
		c.InForce, c.Base, c.Generation = "", r.Digest, generation
	}
}

// trim drops what is beyond the bounds.
func (c *Command) trim() {
	var retired, rejected, good int
	c.Revisions = slices.DeleteFunc(c.Revisions, func(r Revision) bool {
		switch {
		case r.State == Rejected:
			rejected++
			return rejected > keepRejected
		case r.State != Retired || r.Digest == c.Base:
			return false
		}
		retired++
		// What is in force may be good too, and is not what is returned to.
		if r.Proved && r.Runs > 0 && r.Violations == 0 && !below(r.Version, c.Floor) {
			good++
			return retired > keepRetired && good > 2
		}
		return retired > keepRetired
	})
	if n := len(c.Reverts) - keepReverts; n > 0 {
		c.Reverts = slices.Delete(c.Reverts, 0, n)
	}
}
