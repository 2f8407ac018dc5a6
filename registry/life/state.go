package life

import (
	"fmt"
	"slices"
	"time"
)

// State is where a revision stands. The zero value is no state. states.md
// beside this file draws what leads from one to another.
type State uint8

// The states. Only a revision in Probation or Active may be in force.
const (
	// Candidate was offered and is being examined. It is never kept.
	Candidate State = iota + 1
	// Probation is in force, and a violation counts against it.
	Probation
	// Active is in force, and a violation changes nothing.
	Active
	// Rejected was refused before it was ever in force.
	Rejected
	// Quarantined violated its policy in probation, or was revoked while in
	// force. It comes back only after a release.
	Quarantined
	// Held was displaced by an operator. It comes back only after a release,
	// or when an operator names it.
	Held
	// Retired was in force and is no longer. It may come back.
	Retired
)

var stateNames = [...]string{
	Candidate: "candidate", Probation: "probation", Active: "active", Rejected: "rejected",
	Quarantined: "quarantined", Held: "held", Retired: "retired",
}

// String is the lower-case name.
func (s State) String() string {
	if s < Candidate || s > Retired {
		return fmt.Sprintf("State(%d)", uint8(s))
	}
	return stateNames[s]
}

// MarshalText is String for the states that exist, and an error for others.
func (s State) MarshalText() ([]byte, error) {
	if s < Candidate || s > Retired {
		return nil, fmt.Errorf("encode state: no state %d", uint8(s))
	}
	return []byte(stateNames[s]), nil
}

// UnmarshalText accepts exactly the names that String gives.
func (s *State) UnmarshalText(text []byte) error {
	i := slices.Index(stateNames[Candidate:], string(text))
	if i < 0 {
		return fmt.Errorf("decode state: no state %q", text)
	}
	*s = Candidate + State(i)
	return nil
}

// InForce reports whether a revision in this state is the one that runs use.
func (s State) InForce() bool { return s == Probation || s == Active }

// transitions are all that there are. states.md draws them; the tests compare
// the two, and both with what the functions of this package do.
var transitions = map[State][]State{
	Candidate:   {Probation, Active, Rejected},
	Probation:   {Active, Quarantined, Held, Retired},
	Active:      {Quarantined, Held, Retired},
	Rejected:    {Probation, Active},
	Quarantined: {Retired},
	Held:        {Probation, Active, Retired},
	Retired:     {Probation, Active},
}

// move is the only place where the state of a revision changes.
func (r *Revision) move(to State, now time.Time, reason string) {
	if !slices.Contains(transitions[r.State], to) {
		panic(fmt.Sprintf("bug: revision %s cannot become %s from %s", r.Digest, to, r.State))
	}
	r.State, r.Since, r.Reason = to, instant(now), reason
}

// instant drops the monotonic reading and the zone, so that a value is the
// same before and after it was stored.
func instant(t time.Time) time.Time { return t.Round(0).UTC() }

// OnViolation is what a violation in probation does besides the kill. Its
// values are those of registry.OnViolation.
type OnViolation uint8

// The reactions.
const (
	// OnViolationRevert puts the command back on its last good.
	OnViolationRevert OnViolation = iota
	// OnViolationQuarantine makes the name refuse until an operator acts.
	OnViolationQuarantine
	// OnViolationKill changes nothing.
	OnViolationKill
)

var reactionNames = [...]string{
	OnViolationRevert: "revert", OnViolationQuarantine: "quarantine", OnViolationKill: "kill",
}

// String is the word of the manifest.
func (o OnViolation) String() string {
	if int(o) >= len(reactionNames) {
		return fmt.Sprintf("OnViolation(%d)", uint8(o))
	}
	return reactionNames[o]
}

// MarshalText is String for what exists, and an error for others.
func (o OnViolation) MarshalText() ([]byte, error) {
	if int(o) >= len(reactionNames) {
		return nil, fmt.Errorf("encode reaction: no reaction %d", uint8(o))
	}
	return []byte(reactionNames[o]), nil
}

// UnmarshalText accepts exactly the words that String gives.
func (o *OnViolation) UnmarshalText(text []byte) error {
	i := slices.Index(reactionNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("decode reaction: no reaction %q", text)
	}
	*o = OnViolation(i)
	return nil
}
