package life

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/semver"
)

// Bounds of a stored command besides those in command.go.
const (
	// maxStored bounds every text, in bytes. What this package writes is
	// shorter (maxText and a few words).
	maxStored = 4096
	// maxHosts bounds a version vector. The manifest's bound of 1 MiB allows
	// more; a loader refuses such a bundle when it cannot be stored.
	maxHosts = 1024
	// maxRevisions is what the other bounds add up to, with room for last
	// good.
	maxRevisions = MaxBad + keepRetired + keepRejected + 8
)

// IsDigest reports whether s is "sha256:" and 64 lower-case hex digits.
func IsDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

// isVersion is registry.IsVersion.
func isVersion(s string) bool {
	return len(s) <= 64 && semver.IsValid("v"+s) && semver.Canonical("v"+s) == "v"+s
}

// checkIdentity checks what a revision is known by.
func checkIdentity(r Revision) error {
	switch {
	case !IsDigest(r.Digest):
		return fmt.Errorf("%q is not a digest", r.Digest)
	case !isVersion(r.Version) && (r.Version != "" || r.State != Rejected): // what cannot be parsed has none
		return fmt.Errorf("%q is not a semantic version", r.Version)
	case r.Floor != "" && !isVersion(r.Floor):
		return fmt.Errorf("floor %q is not a semantic version", r.Floor)
	case len(r.Counter) > maxHosts:
		return fmt.Errorf("the counter has more than %d hosts", maxHosts)
	}
	return nil
}

// Check reports the first thing that no function of this package would have
// left: a command that was read back and fails here was not written by sbx.
// Name is for the caller to check.
//
// Trust boundary. Whoever may write the state controls the value, and what it
// says is in force is executed. Only its syntax has been checked before. A
// value that could let a bad revision run is an error.
func (c Command) Check() error {
	for _, s := range []string{c.InForce, c.Base, c.Refusal} {
		if err := checkText(s); err != nil {
			return err
		}
	}
	if c.Floor != "" && !isVersion(c.Floor) {
		return fmt.Errorf("floor %q is not a semantic version", c.Floor)
	}
	if len(c.Reverts) > keepReverts {
		return fmt.Errorf("more than %d reverts", keepReverts)
	}
	if len(c.Revisions) > maxRevisions {
		return fmt.Errorf("more than %d revisions", maxRevisions)
	}
	seen := make(map[string]bool, len(c.Revisions))
	for i := range c.Revisions {
		r := &c.Revisions[i]
		if err := r.check(); err != nil {
			return fmt.Errorf("revision %d: %w", i, err)
		}
		if seen[r.Digest] {
			return fmt.Errorf("revision %d: %s is there twice", i, r.Digest)
		}
		seen[r.Digest] = true
		if r.State.InForce() != (r.Digest == c.InForce) {
			return fmt.Errorf("revision %d: %s is %s, in force is %q", i, r.Digest, r.State, c.InForce)
		}
	}
	return c.checkReferences()
}

func (c Command) checkReferences() error {
	current, ok := c.Current()
	switch {
	case c.InForce != "" && !ok:
		return fmt.Errorf("in force is %s, which is not there", c.InForce)
	case ok && !current.Proved:
		return fmt.Errorf("%s is in force without having passed its checks", c.InForce)
	case ok && below(current.Version, c.Floor):
		return fmt.Errorf("version %s is in force below the floor %s", current.Version, c.Floor)
	case ok && c.Refusal != "":
		return errors.New("a revision is in force and the name refuses")
	case ok && c.Base != "":
		return errors.New("a revision is in force and offers are compared with another")
	}
	if base, ok := c.Revision(c.Base); c.Base != "" && (!ok || !base.Stored()) {
		return fmt.Errorf("offers are compared with %s, which was never in force", c.Base)
	}
	return nil
}

func (r *Revision) check() error {
	if err := checkIdentity(*r); err != nil {
		return err
	}
	for _, s := range append([]string{r.Summary, r.KeyID, r.Reason, r.Host, r.LastViolation}, r.Requires...) {
		if err := checkText(s); err != nil {
			return err
		}
	}
	for host := range r.Counter {
		if err := checkText(host); err != nil {
			return err
		}
	}
	switch {
	case r.State <= Candidate || r.State > Retired:
		return fmt.Errorf("state %s is not kept", r.State)
	case r.OnViolation > OnViolationKill:
		return fmt.Errorf("reaction %s is not known", r.OnViolation)
	case r.Verdict != 0 && r.Verdict != Conflict && r.Verdict != Untrusted:
		return fmt.Errorf("verdict %d is not known", r.Verdict)
	case r.ProbationWindow < 0 || r.BudgetWindow < 0:
		return errors.New("negative window")
	}
	return nil
}

func checkText(s string) error {
	if len(s) > maxStored || !utf8.ValidString(s) {
		return fmt.Errorf("text of %d bytes: longer than %d, or not UTF-8", len(s), maxStored)
	}
	return nil
}
