package loader

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// compile makes the plan of a stored bundle.
func (l *Loader) compile(b *registry.Bundle, generation uint64, stamps []plan.Stamp) (*plan.Plan, error) {
	req, err := engine.ForBundle(b, generation, buildinfo.Build, l.features)
	if err != nil {
		return nil, err
	}
	req.Stamps, req.Survey = stamps, l.survey
	req.NamesUsers = l.place.Path != "" && l.place.Owner == 0
	p, err := compileWith(&l.filters, req)
	if err != nil {
		return nil, err
	}
	p.AllowUsers, p.AllowGroups = b.Manifest.Allow.Users, b.Manifest.Allow.Groups
	return p, nil
}

// finishPlan binds a plan to this registry and to the command's state, and
// encodes it.
func (l *Loader) finishPlan(p *plan.Plan, c life.Command, err error) *Result {
	p.Key, p.Registries, p.Generation = l.place.Key, l.options.Registries, c.Generation
	p.Counts = !l.volatile && !l.foreign()
	if rev, ok := c.Current(); ok {
		p.Journal = p.Counts && (rev.State == life.Probation || rev.Runs == 0)
	}
	encoded, encodeErr := p.Encode()
	if encodeErr != nil {
		return &Result{Err: encodeErr}
	}
	return &Result{Plan: p, Encoded: encoded, Err: err}
}

// rebuilt tells whether a plan takes the place of one of the same revision that
// was made for a host that was other than this one is: another build of sbx,
// another program or library, other features. Another boot is no other host.
func (l *Loader) rebuilt(p *plan.Plan) bool {
	if l.volatile {
		return false // none is kept to compare with
	}
	old, err := state.Read(state.PlanPath(l.state, l.place.Key, p.Command))
	if err != nil || old.Refusal != "" || old.Revision != p.Revision || old.Key != p.Key {
		return false
	}
	host := func(p plan.Plan) []byte {
		p.BootID, p.Generation, p.Registries, p.Counts, p.Journal = "", 0, nil, false, false
		// What belongs to the registry and to the publishers is not the host.
		from := slices.IndexFunc(p.Stamps, func(s plan.Stamp) bool { return s.Path == p.Exec.Identity.Path })
		p.Stamps = p.Stamps[max(from, 0):]
		encoded, err := p.Encode()
		if err != nil {
			return nil
		}
		return encoded
	}
	return !bytes.Equal(host(*old), host(*p))
}

// refusal is the plan of a name that refuses. Its version is that of the
// newest revision that is kept away.
func (l *Loader) refusal(c life.Command, stamps []plan.Stamp) *plan.Plan {
	p := &plan.Plan{Build: buildinfo.Build, BootID: state.BootID(), Command: c.Name, Stamps: stamps, Refusal: c.Refusal}
	for _, r := range c.Revisions {
		if r.State == life.Quarantined || r.State == life.Held {
			p.Version, p.Revision = r.Version, r.Digest
			break
		}
	}
	return p
}

// store keeps the bytes of a bundle and returns it as it lies in the store.
func (l *Loader) store(b *registry.Bundle) (*registry.Bundle, error) {
	if l.chain == nil {
		return b, nil
	}
	open := func(name string) (io.ReadCloser, error) {
		dir, err := safefs.OpenTrusted(b.Dir)
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		f, _, err := safefs.OpenBeneath(dir, b.Dir, name)
		return f, err
	}
	if err := l.chain.Put(b, open, b.Signature); err != nil {
		return nil, err
	}
	raw, err := l.chain.Read(b.Manifest.Name, b.Digest)
	if err != nil {
		return nil, err
	}
	// The digest says that these are the bytes that b was parsed from.
	stored := raw.Parsed(b.Manifest)
	if len(stored.Files) == 0 {
		stored.Dir = ""
	}
	return &stored, nil
}

// stored reads a bundle from the store again. One that shipped no files is
// shown in messages by the file that it came from.
func (l *Loader) stored(name, digest string) (*registry.Bundle, error) {
	if l.chain == nil {
		return nil, errors.New("nothing is stored without a state directory")
	}
	b, err := l.chain.Load(name, digest)
	if len(b.Files) == 0 {
		b.Dir = ""
	}
	return &b, err
}

// stamps are the files on which it depends what this name means: where its
// bundle lies or would lie, here and in every place that comes earlier.
func (l *Loader) stamps(name string) (out []plan.Stamp) {
	out = slices.Clone(l.aboveStamps)
	for _, p := range l.options.Earlier {
		out = append(out, candidates(p.Path, name)...)
	}
	for _, path := range l.options.Registries {
		if s := stampOrAbsent(path); s.Absent {
			out = append(out, s)
		}
	}
	if l.place.Path != "" {
		out = append(out, candidates(l.place.Path, name)...)
	}
	return append(append(out, l.trustStamps...), l.guestStamp...)
}

// judged are the stamps of a plan whose command's state changes while nobody
// looks at the disk: those of the plan that is kept, so that what has changed
// since it was made is looked at by the next run. Where there is none, that run
// looks in any case.
func (l *Loader) judged(name string) []plan.Stamp {
	old, err := state.Read(state.PlanPath(l.state, l.place.Key, name))
	if err != nil || old.Build != buildinfo.Build || old.BootID != state.BootID() || old.Key != l.place.Key || !slices.Equal(old.Registries, l.options.Registries) {
		return l.stale(l.stamps(name))
	}
	return old.Stamps
}

// lookAbove looks at what is above the registries, before any of them is read.
func (l *Loader) lookAbove() {
	l.aboveStamps = nil
	for _, p := range append(slices.Clip(l.options.Earlier), l.place) {
		l.aboveStamps = append(l.aboveStamps, above(p.Path)...)
	}
}

// unreadDigest stands for the digest of a bundle that could not be read: it
// is the same as long as the cause is.
func unreadDigest(err error) string {
	sum := sha256.Sum256([]byte("sbx/v1 unread\x00" + err.Error()))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// older compares versions; need may leave out its last parts.
func older(have, need string) bool {
	return semver.Compare("v"+strings.TrimPrefix(have, "v"), "v"+need) < 0
}
