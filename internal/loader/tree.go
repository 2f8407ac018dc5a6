package loader

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// candidate is what lies on disk under one name: verified before it was
// parsed, and not yet judged.
type candidate struct {
	// decided: there is nothing to judge, as where the registry's owner has
	// said what is in force.
	decided *Result
	// exposed says that somebody who is not believed may write it.
	exposed error
	// absent says that there is no such command.
	absent error
	// err says why the bundle cannot come in force whatever else there is.
	err error

	rev    life.Revision
	bundle *registry.Bundle
	stamps []plan.Stamp
	// dropped: bundle was too much to keep, and is to be read again.
	dropped bool
}

// maxHeld bounds the manifests that a batch keeps from the look at its tree to
// the load of each: 10,000 of 6 KiB. What is beyond is read twice.
const maxHeld = 64 << 20

// read reads what lies on disk, once in a batch.
func (b *batch) read(name string) *candidate {
	c, ok := b.candidates[name]
	if !ok {
		c = b.examine(name)
		b.candidates[name] = c
		if c.bundle != nil {
			b.held += len(c.bundle.Source)
			if b.held > maxHeld {
				c.bundle, c.dropped = nil, true
			}
		}
	}
	return c
}

func (b *batch) examine(name string) *candidate {
	l := b.l
	if r, decided := b.follow(name); decided {
		return &candidate{decided: r}
	}
	raw, stamps, err := l.read(name)
	c := &candidate{stamps: stamps}
	if errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrGroup) {
		c.absent = err
		return c
	}
	if owner := (*safefs.OwnerError)(nil); errors.As(err, &owner) {
		// Who else may write there could have put anything in force before:
		// the name refuses (126) until the component is mended.
		c.exposed = err
		return c
	}
	if err != nil {
		c.rev, c.err = life.Revision{Digest: unreadDigest(err)}, err
		return c
	}
	c.stamps = append(c.stamps, raw.Stamps...)
	c.rev = life.Revision{Digest: raw.Digest}
	if c.rev.KeyID, err = l.verify(name, &raw); err != nil {
		// The publishers may change: this lies not with the content.
		c.rev.Host, c.rev.HostCause, c.rev.Verdict = fingerprint(l.features, "", l.trustStamps), true, life.Untrusted
		c.err = err
		return c
	}
	bundle, err := raw.Parse()
	if err != nil {
		c.err = err
		return c
	}
	describe(&c.rev, &bundle.Manifest)
	c.rev.Host = fingerprint(l.features, bundle.Manifest.Exec.Path, l.trustStamps)
	c.bundle = &bundle
	return c
}

// stale adds a stamp that never matches (that there is no "/"), so that the next run asks again: the
// plan is that of what is in force, and what keeps another one away can change
// without a trace in the plan's other stamps. A registry that is no directory
// has no runs that look.
func (l *Loader) stale(stamps []plan.Stamp) []plan.Stamp {
	if l.place.Path == "" {
		return stamps
	}
	return append(slices.Clip(stamps), plan.Stamp{Path: "/", Absent: true})
}

// AsksAgain tells whether a stamp is there only to make a plan stale: who is
// told of changes, as a daemon, need not look.
func AsksAgain(s *plan.Stamp) bool { return s.Absent && s.Path == "/" }

// present tells whether a command has a place in the tree, and what it
// requires there, as it stands in the batch.
func (b *batch) present(name string) (requires []string, ok bool) {
	c, _ := b.command(name)
	if rev, ok := c.Current(); ok {
		return rev.Requires, true
	}
	return nil, c.Refusal != ""
}

// proposed is present with what lies on disk in place of what is in force,
// where it was read. A bundle that is bad in itself keeps its command as it is,
// and so does one that is not to be put in force; it is there all the same.
func (b *batch) proposed(name string) (requires []string, ok bool) {
	requires, ok = b.present(name)
	c := b.candidates[name]
	switch {
	case c == nil:
		return requires, ok
	case c.absent != nil:
		return nil, false
	case b.accepted(name, c):
		return c.rev.Requires, true
	}
	return requires, true
}

// accepted tells whether a candidate may come in force as far as it alone
// decides.
func (b *batch) accepted(name string, c *candidate) bool {
	if c.exposed != nil || c.decided != nil || c.absent != nil || c.err != nil {
		return false
	}
	cur, _ := b.command(name)
	if _, returns := cur.Return(c.rev.Digest, b.generation, b.now, b.l.revoked); returns {
		return true
	}
	return cur.Offer(c.rev, b.l.revoked).Accepted()
}

// nodes is the tree of everything that is known, by one of the two.
func (b *batch) nodes(of func(name string) ([]string, bool)) []registry.Node {
	names := map[string]bool{}
	for name := range b.l.snap.Commands {
		names[name] = true
	}
	for name := range b.changed {
		names[name] = true
	}
	for name := range b.candidates {
		names[name] = true
	}
	out := make([]registry.Node, 0, len(names))
	for name := range names {
		if requires, ok := of(name); ok {
			out = append(out, registry.Node{Name: name, Requires: requires})
		}
	}
	return out
}

// moves tells whether the candidates make another tree than the one in force:
// most changes are new content under an old name.
func (b *batch) moves() bool {
	for name := range b.candidates {
		was, there := b.present(name)
		is, stays := b.proposed(name)
		if there != stays || !slices.Equal(was, is) {
			return true
		}
	}
	return false
}

// illegal reads the named commands and what they require, and returns what
// speaks against the tree with them: "a tree that is not legal is refused
// whole" (SPEC 3, Loading). What was so before, as after a revert to a revision
// that requires what has gone since, is not of this change's doing and refuses
// nothing.
func (b *batch) illegal(names []string) []*registry.TreeError {
	for len(names) > 0 {
		for len(names) > 0 {
			name := names[len(names)-1]
			names = names[:len(names)-1]
			if _, ok := b.candidates[name]; ok {
				continue
			}
			names = append(names, b.read(name).rev.Requires...)
		}
		if !b.moves() {
			return b.clashes()
		}
		errs := append(b.clashes(), registry.TreeErrors(b.nodes(b.proposed))...)
		if len(errs) == 0 {
			return nil
		}
		before := map[string]bool{}
		for _, e := range registry.TreeErrors(b.nodes(b.present)) {
			before[e.Error()] = true
		}
		errs = slices.DeleteFunc(errs, func(e *registry.TreeError) bool { return before[e.Error()] })
		if len(errs) == 0 {
			return nil
		}
		// A one-shot run was asked for one name; others that have a part in
		// it may lie otherwise on disk than they are in force.
		for _, e := range errs {
			for _, name := range append([]string{e.Name}, e.Others...) {
				if b.candidates[name] == nil {
					names = append(names, name)
				}
			}
		}
		if len(names) == 0 {
			return errs
		}
	}
	return nil
}

// clashes are the candidates that are a command and a group at once on disk.
func (b *batch) clashes() (errs []*registry.TreeError) {
	for _, name := range slices.Sorted(maps.Keys(b.candidates)) {
		if errors.Is(b.candidates[name].err, registry.ErrTree) {
			errs = append(errs, &registry.TreeError{Name: name, Others: []string{name}, Err: registry.ErrTree})
		}
	}
	return errs
}

// refuse keeps everything in force as it is, and says why of all that was to
// change. The commands that are at fault are told once.
func (b *batch) refuse(errs []*registry.TreeError) {
	cause := registry.JoinTree(errs)
	if b.l.place.Path != "" {
		cause = fmt.Errorf("nothing of %q is loaded: %w", b.l.place.Path, cause)
	}
	fault := map[string]bool{}
	for _, e := range errs {
		fault[e.Name] = true
		if e.Err == registry.ErrCycle {
			for _, name := range e.Others {
				fault[name] = true
			}
		}
	}
	told := false
	for _, name := range slices.Sorted(maps.Keys(b.candidates)) {
		c := b.candidates[name]
		b.loaded[name] = true
		_, there := b.present(name)
		switch {
		case c.absent != nil && there:
			b.results[name] = b.keep(name, b.l.stale(b.l.stamps(name)), &RejectedError{cause})
		case !b.accepted(name, c):
			told = told || fault[name] && c.err != nil
			b.results[name] = b.consider(name) // it changes nothing of the tree
		case fault[name]:
			told = true
			c.rev.HostCause, c.rev.Host = true, "" // see offer
			b.results[name] = b.reject(name, c.rev, b.l.stale(c.stamps), &RejectedError{cause})
		default:
			b.results[name] = b.keep(name, b.l.stale(c.stamps), &RejectedError{cause})
		}
	}
	if !told && b.l.illegal != cause.Error() {
		// What is at fault is in force as it lies on disk: something that it
		// requires is gone.
		cur, _ := b.command(errs[0].Name)
		e := Event{Kind: Rejected, Name: errs[0].Name, Generation: b.l.snap.Generation, Reason: cause.Error(), Err: &RejectedError{cause}}
		if rev, ok := cur.Current(); ok {
			e.InForce = rev.Version
		}
		b.events = append(b.events, e)
	}
	b.l.illegal = cause.Error()
}

// Illegal lists the names of a Load whose tree was refused: what lies on disk
// is to be looked at again when anything changes.
func Illegal(results map[string]*Result) (names []string) {
	for name, r := range results {
		var tree *registry.TreeError
		if errors.As(r.Err, &tree) {
			names = append(names, name)
		}
	}
	return names
}

// circle is the way from what a command requires back to it, nil for none.
func (b *batch) circle(name string, requires []string, seen map[string]bool) []string {
	for _, need := range requires {
		if need == name {
			return []string{}
		}
		if seen[need] {
			continue
		}
		seen[need] = true
		c, _ := b.command(need)
		rev, _ := c.Current()
		if way := b.circle(name, rev.Requires, seen); way != nil {
			return append([]string{need}, way...)
		}
	}
	return nil
}

// userOf is a command in force that requires another one, "" for none.
func (b *batch) userOf(name string) string {
	least := ""
	look := func(user string, c life.Command) {
		if rev, ok := c.Current(); ok && user != name && slices.Contains(rev.Requires, name) && (least == "" || user < least) {
			least = user
		}
	}
	for user, c := range b.l.snap.Commands {
		if _, staged := b.changed[user]; !staged {
			look(user, c)
		}
	}
	for user, c := range b.changed {
		look(user, c)
	}
	return least
}
