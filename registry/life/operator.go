package life

import (
	"errors"
	"fmt"
	"time"
)

// Why an operator's act is refused.
var (
	// ErrUnknown: no revision of this version or digest is kept.
	ErrUnknown = errors.New("no such revision")
	// ErrInForce: the revision is in force already.
	ErrInForce = errors.New("in force already")
	// ErrFloor: the revision is below the floor, or the floor would be above
	// the revision in force, or would shrink.
	ErrFloor = errors.New("below the floor")
	// ErrRevoked: the digest or its key is revoked.
	ErrRevoked = errors.New("revoked")
	// ErrQuarantined: it must be released first.
	ErrQuarantined = errors.New("quarantined")
)

// Act says who did something, and why. Both are cut to a bounded line.
type Act struct{ Who, Why string }

func (a Act) reason(what string) string {
	s := what + " by " + text(a.Who)
	if a.Why != "" {
		s += ": " + text(a.Why)
	}
	return s
}

// Rollback puts an older revision in force and holds what was: that comes back
// only after a release, or when a later Rollback names it. to is a version (the newest
// revision that has it), a digest, or empty for the last good besides the one
// in force. Errors match ErrUnknown, ErrInForce, ErrFloor, ErrRevoked or
// ErrQuarantined, and then nothing changed.
func (c Command) Rollback(to string, generation uint64, now time.Time, act Act, revoked Revoked) (Command, error) {
	target, err := c.target(to, revoked)
	if err != nil {
		return c, fmt.Errorf("roll back %q: %w", c.Name, err)
	}
	c = c.clone()
	c.leave(Held, generation, now, act.reason("rolled back"))
	c.enter(target.Digest, generation, now, act.reason("rolled back to"))
	c.trim()
	return c, nil
}

func (c Command) target(to string, revoked Revoked) (Revision, error) {
	if to == "" {
		r, ok := c.LastGood(revoked, c.InForce)
		if !ok {
			return r, fmt.Errorf("no good revision besides the one in force: %w", ErrUnknown)
		}
		return r, nil
	}
	var err error
	for _, r := range c.Revisions {
		if r.Digest != to && r.Version != to || !r.Stored() {
			continue
		}
		refused := c.returnable(r, revoked)
		if refused == nil {
			return r, nil
		}
		if err == nil {
			err = refused
		}
	}
	if err == nil {
		err = fmt.Errorf("%q: %w", to, ErrUnknown)
	}
	return Revision{}, err
}

// returnable says why an operator may not return to r; nil: he may.
func (c Command) returnable(r Revision, revoked Revoked) error {
	name := r.Version + " (" + r.Digest + ")"
	switch {
	case r.State.InForce():
		return fmt.Errorf("%s: %w", name, ErrInForce)
	case r.State == Quarantined:
		return fmt.Errorf("%s: %w: %s", name, ErrQuarantined, r.Reason)
	case below(r.Version, c.Floor):
		return fmt.Errorf("%s: %w %s", name, ErrFloor, c.Floor)
	case revoked.of(r):
		return fmt.Errorf("%s: %w", name, ErrRevoked)
	case !r.Proved:
		return fmt.Errorf("%s never passed its checks: %w", name, ErrUnknown)
	}
	return nil
}

// Hold takes what is in force out by an operator's wish, with nothing in its
// place: the name refuses. It changes nothing when nothing is in force.
func (c Command) Hold(generation uint64, now time.Time, act Act) Command {
	if c.InForce == "" {
		return c
	}
	c = c.clone()
	reason := act.reason("held")
	c.leave(Held, generation, now, reason)
	c.Refusal = reason
	return c
}

// Release lets quarantined and held revisions be offered again, as if they
// had never run, and returns their digests. While nothing is in force it also
// forgets what offers were compared with, so that an older version may be
// offered, down to the floor. It puts nothing in force.
func (c Command) Release(now time.Time, act Act) (_ Command, released []string) {
	c = c.clone()
	for i := range c.Revisions {
		r := &c.Revisions[i]
		if r.State != Quarantined && r.State != Held {
			continue
		}
		r.move(Retired, now, act.reason("released"))
		r.Runs, r.Violations = 0, 0
		released = append(released, r.Digest)
	}
	if c.InForce == "" {
		c.Base, c.Refusal = "", ""
	}
	c.trim()
	return c, released
}

// SetFloor raises the floor to v. It never shrinks, and it never passes the
// revision in force: both are ErrFloor.
func (c Command) SetFloor(v string) (Command, error) {
	if !isVersion(v) {
		return c, fmt.Errorf("set floor of %q: %q is not a semantic version", c.Name, v)
	}
	if below(v, c.Floor) {
		return c, fmt.Errorf("set floor of %q: %s: %w %s, which only grows", c.Name, v, ErrFloor, c.Floor)
	}
	if r, ok := c.Current(); ok && below(r.Version, v) {
		return c, fmt.Errorf("set floor of %q: %s, which is in force, would be %w %s", c.Name, r.Version, ErrFloor, v)
	}
	c = c.clone()
	c.Floor = v
	return c, nil
}

// Absent is told that the bundle is gone: what is in force is retired, and a
// refusal ends with the bundle that it was about. The name is absent.
func (c Command) Absent(generation uint64, now time.Time) (_ Command, changed bool) {
	if c.InForce == "" && c.Refusal == "" {
		return c, false
	}
	c = c.clone()
	if c.InForce != "" {
		c.leave(Retired, generation, now, "the bundle is gone")
	}
	c.Refusal = ""
	c.Generation = generation
	c.trim()
	return c, true
}

// Return is told that a bundle of this digest is there again. When it is the
// one whose absence emptied the name, and may return, it is put in force as it
// was: in probation, if that is not over. When it is quarantined or held, the name refuses. In all other cases
// nothing changes, and the revision is to be offered.
func (c Command) Return(digest string, generation uint64, now time.Time, revoked Revoked) (_ Command, changed bool) {
	r := c.at(digest)
	if c.InForce != "" || r == nil {
		return c, false
	}
	switch {
	case r.State == Quarantined || r.State == Held:
		refusal := r.State.String() + ": " + r.Reason
		if c.Refusal != "" {
			return c, false
		}
		c = c.clone()
		c.Refusal = refusal
		return c, true
	case digest == c.Base && c.mayReturn(*r, revoked):
		c = c.clone()
		back, state := *r, Active
		if back.Runs < back.ProbationRuns && (back.ProbationWindow == 0 || now.Sub(back.Activated) < back.ProbationWindow) {
			state = Probation
		}
		back.move(state, now, "the bundle is there again")
		c.current(back, generation)
		return c, true
	}
	return c, false
}
