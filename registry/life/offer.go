package life

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/semver"
)

// Code is a verdict as the library, the API and the audit log give it.
type Code uint16

// The verdicts.
const (
	// OK: the revision may be examined further, or is in force already.
	OK Code = 200
	// Conflict: older, concurrent, or a digest that is kept away. What is in
	// force stays.
	Conflict Code = 409
	// Untrusted: signature, digest or revocation. Refuse and alert.
	Untrusted Code = 412
)

// Verdict answers an offer.
type Verdict struct {
	Code Code
	// Unchanged is set with OK when the digest is in force: nothing to do.
	Unchanged bool
	// Known is set when this digest was refused before for the same cause,
	// and so was reported before.
	Known bool
	// Reason and Hint are for people; empty with OK.
	Reason, Hint string
}

// Accepted reports whether the revision goes on to be compiled and checked.
func (v Verdict) Accepted() bool { return v.Code == OK && !v.Unchanged }

// Offer judges a revision that was read and verified. Of rev only Digest,
// Version, Counter, KeyID and Host are looked at; Host is the fingerprint of
// now. Offer again right before Activate when time has passed.
//
// A vector decides when both revisions have one, else the version does. A
// digest that is quarantined or held is a Conflict, and so is a rejected one
// whose cause was its content, or the host while that has not changed. The
// same version with other content is a Conflict as soon as either is signed.
func (c Command) Offer(rev Revision, revoked Revoked) Verdict {
	known := c.at(rev.Digest)
	v := c.judge(rev, known, revoked)
	if v.Code != OK && known != nil && known.Verdict == v.Code {
		v.Known = true
	}
	return v
}

func (c Command) judge(rev Revision, known *Revision, revoked Revoked) Verdict {
	conflict := func(hint, format string, args ...any) Verdict {
		return Verdict{Code: Conflict, Reason: fmt.Sprintf(format, args...), Hint: hint}
	}
	if err := checkIdentity(rev); err != nil {
		return Verdict{Code: Untrusted, Reason: err.Error()}
	}
	if revoked.of(rev) {
		return Verdict{Code: Untrusted, Reason: "the digest or its key is revoked"}
	}
	if known != nil {
		if v, decided := known.again(rev); decided {
			return v
		}
	}
	if below(rev.Version, c.Floor) {
		return conflict("offer "+c.Floor+" or newer", "version %s is below the floor %s", rev.Version, c.Floor)
	}
	for _, r := range c.Revisions {
		if r.Version == rev.Version && r.Digest != rev.Digest && r.Stored() && (r.KeyID != "" || rev.KeyID != "") {
			return conflict("raise the version", "version %s had other content (%s) and is signed", rev.Version, r.Digest)
		}
	}
	base := c.at(c.InForce)
	if c.InForce == "" {
		base = c.at(c.Base)
	}
	if base != nil {
		if len(base.Counter) > 0 && len(rev.Counter) > 0 {
			switch o := Compare(rev.Counter, base.Counter); o {
			case Dominated, Concurrent:
				return conflict("take over what is in force, then raise the counter",
					"revision counter is %s with that of version %s", o, base.Version)
			}
		} else if below(rev.Version, base.Version) {
			hint := "sbx rollback returns to an older version"
			if c.Refusal != "" {
				hint = "sbx rollback --release " + c.Name + " lets an older version come"
			}
			return conflict(hint, "version %s is older than %s", rev.Version, base.Version)
		}
	}
	bad := 0
	for _, r := range c.Revisions {
		if r.State == Quarantined || r.State == Held {
			bad++
		}
	}
	if bad >= MaxBad {
		return conflict("sbx rollback --release "+c.Name, "%d revisions are quarantined or held", bad)
	}
	return Verdict{Code: OK}
}

// again decides by what is known of the digest that is offered, where that
// is enough.
func (r *Revision) again(rev Revision) (Verdict, bool) {
	switch {
	case r.State.InForce():
		return Verdict{Code: OK, Unchanged: true}, true
	case r.State == Quarantined:
		return Verdict{Code: Conflict, Known: true, Reason: "quarantined: " + r.Reason,
			Hint: "change the bundle, or sbx rollback --release"}, true
	case r.State == Held:
		return Verdict{Code: Conflict, Known: true, Reason: "held: " + r.Reason,
			Hint: "change the bundle, or sbx rollback --release"}, true
	case r.HostCause && r.Host != rev.Host:
		return Verdict{}, false
	case r.HostCause || r.State == Rejected && r.Verdict == 0:
		v := Verdict{Code: Conflict, Known: true, Reason: r.Reason}
		if r.Verdict != 0 {
			v.Code = r.Verdict
		}
		return v, true
	}
	return Verdict{}, false
}

// Activate puts rev in force in that generation: it is in Probation, or Active
// when it has none. What was in force is retired, which ends its probation;
// the floor grows to that of rev. A digest that is in force already only
// takes over what its manifest and signature say.
//
// Preconditions: c.Offer(rev) is not a refusal, rev.Proved is set, and what
// rev names is durable or becomes so with the generation.
func (c Command) Activate(rev Revision, generation uint64, now time.Time) Command {
	c = c.clone()
	if known := c.at(rev.Digest); known != nil {
		rev.State, rev.Since, rev.Activated = known.State, known.Since, known.Activated
		rev.Runs, rev.Reason = known.Runs, known.Reason
		// A violation is not forgotten because the same content came back.
		rev.Violations, rev.LastViolation = known.Violations, known.LastViolation
		if rev.Digest == c.InForce {
			*known = rev
			c.raise(rev.Floor)
			return c
		}
	} else {
		rev.State, rev.Violations, rev.LastViolation = Candidate, 0, ""
	}
	c.raise(rev.Floor)
	if !rev.Proved {
		panic(fmt.Sprintf("bug: %s: %s activated without having passed its checks", c.Name, rev.Digest))
	}
	if rev.State == Held || rev.State == Quarantined {
		panic(fmt.Sprintf("bug: %s: %s activated while %s", c.Name, rev.Digest, rev.State))
	}
	if below(rev.Version, c.Floor) {
		panic(fmt.Sprintf("bug: %s: version %s activated below the floor %s", c.Name, rev.Version, c.Floor))
	}
	rev.Runs = 0
	c.first(rev)
	c.leave(Retired, generation, now, "superseded by "+rev.Version)
	c.enter(rev.Digest, generation, now, "")
	c.trim()
	return c
}

// Reject remembers that rev was refused; its Reason, HostCause, Host and
// Verdict say why (Reason is cut to a bounded line; Version may be empty when
// it could not be read). changed is false when the same was known: then there is
// nothing to report. What is in force, quarantined or held stays so; what is
// retired stays so with the new reason; because it was in force once, the
// cause is taken to lie with the host unless it is a verdict.
func (c Command) Reject(rev Revision, now time.Time) (_ Command, changed bool) {
	rev.Reason = text(rev.Reason)
	if known := c.at(rev.Digest); known != nil {
		// Its verdict must not take the place of the cause itself.
		if v, decided := known.again(rev); decided && v.Known {
			return c, false
		}
		rev.HostCause = rev.HostCause || known.State == Retired && rev.Verdict == 0
		same := known.HostCause == rev.HostCause && known.Host == rev.Host && known.Verdict == rev.Verdict &&
			(known.Reason == rev.Reason || rev.Verdict != 0)
		if same || known.State != Rejected && known.State != Retired {
			return c, false
		}
		c = c.clone()
		known = c.at(rev.Digest)
		known.Reason, known.HostCause, known.Host, known.Verdict = rev.Reason, rev.HostCause, rev.Host, rev.Verdict
		if known.State == Rejected {
			known.Since = instant(now)
			c.first(*known)
		}
		return c, true
	}
	c = c.clone()
	rev.State, rev.Runs, rev.Violations, rev.LastViolation, rev.Proved = Candidate, 0, 0, "", false
	rev.Activated = time.Time{}
	rev.move(Rejected, now, rev.Reason)
	c.first(rev)
	c.trim()
	return c, true
}

// raise makes the floor at least v.
func (c *Command) raise(v string) {
	if v != "" && (c.Floor == "" || below(c.Floor, v)) {
		c.Floor = v
	}
}

// below reports whether version v is older than floor; nothing is below an
// empty floor. What is no version is older than all (golang.org/x/mod/semver).
func below(v, floor string) bool {
	return floor != "" && semver.Compare("v"+v, "v"+floor) < 0
}

// Order is how two version vectors relate.
type Order uint8

// The orders of a first vector to a second. The zero value refuses.
const (
	// Concurrent: each counts higher for some host.
	Concurrent Order = iota
	// Dominated: never higher, and lower for some host.
	Dominated
	// Equal: the same for every host.
	Equal
	// Dominating: never lower, and higher for some host.
	Dominating
)

// String is the lower-case name.
func (o Order) String() string {
	names := [...]string{"concurrent", "dominated", "equal", "dominating"}
	if int(o) >= len(names) {
		return fmt.Sprintf("Order(%d)", uint8(o))
	}
	return names[o]
}

// Compare relates a to b. A host that is not named counts 0.
func Compare(a, b map[string]uint64) Order {
	var higher, lower bool
	for host, n := range a {
		higher = higher || n > b[host]
	}
	for host, n := range b {
		lower = lower || n > a[host]
	}
	switch {
	case higher && lower:
		return Concurrent
	case higher:
		return Dominating
	case lower:
		return Dominated
	}
	return Equal
}

// spent counts the reverts within a window before now. One that lies in the
// future counts: a clock that went back does not refill a budget.
func (c Command) spent(window time.Duration, now time.Time) uint64 {
	return uint64(len(slices.DeleteFunc(slices.Clone(c.Reverts), func(t time.Time) bool {
		return now.Sub(t) >= window
	})))
}
