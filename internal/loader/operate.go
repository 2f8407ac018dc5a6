package loader

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// Rollback puts a command on an older revision: to is a version, a digest, or
// empty for the last good one. What it displaces is held. Without a name in
// act it is Options.By who acts, here and in the other acts.
func (l *Loader) Rollback(name, to string, act life.Act) error {
	return l.operate(name, act, func(b *batch, c life.Command, act life.Act) (life.Command, string, error) {
		if b.gone(name) {
			return c, "", fmt.Errorf("roll back %q: its bundle is gone, and what has none is not in force", name)
		}
		next, err := c.Rollback(to, b.generation, b.now, act, b.l.revoked)
		return next, "roll back " + name, err
	})
}

// Release lets what is quarantined or held of a command be offered again.
func (l *Loader) Release(name string, act life.Act) error {
	return l.operate(name, act, func(b *batch, c life.Command, act life.Act) (life.Command, string, error) {
		next, released := c.Release(b.now, act)
		if len(released) == 0 {
			return c, "", fmt.Errorf("%s: nothing is quarantined or held", name)
		}
		return next, "release " + name, nil
	})
}

// SetFloor raises the oldest version that a command may return to.
func (l *Loader) SetFloor(name, version string, act life.Act) error {
	return l.operate(name, act, func(_ *batch, c life.Command, _ life.Act) (life.Command, string, error) {
		next, err := c.SetFloor(version)
		return next, "floor " + version + " of " + name, err
	})
}

// RollbackAll puts every command on what was in force in an older generation,
// as one new generation. One that may not return there (floor, revocation,
// quarantine) refuses the whole.
func (l *Loader) RollbackAll(generation uint64, act life.Act) error {
	_, err := l.change(func(b *batch) error {
		act := b.actBy(act)
		if l.chain == nil {
			return errNoState
		}
		old, err := l.chain.At(generation)
		if err != nil {
			return &refusedError{err}
		}
		moved := false
		for _, name := range slices.Sorted(maps.Keys(l.snap.Commands)) {
			cur, _ := b.command(name)
			then := old.Commands[name]
			if then.InForce == cur.InForce || then.InForce == "" || b.gone(name) {
				continue // what came later stays: a bundle of it lies on disk
			}
			next, err := cur.Rollback(then.InForce, b.generation, b.now, act, l.revoked)
			if err != nil {
				return &refusedError{err}
			}
			b.displaced(cur, next, reason("roll back to generation "+fmt.Sprint(generation), act.Why))
			moved = true
		}
		if !moved {
			return &refusedError{fmt.Errorf("generation %d: every command is on what it was then", generation)}
		}
		return nil
	})
	return err
}

// gone tells whether nothing lies on disk under a name and nothing keeps it: the
// next look would retire what is put in force.
func (b *batch) gone(name string) bool {
	kind, err := b.l.place.Node(name)
	return err == nil && kind != registry.Command && b.userOf(name) == ""
}

// ErrRefused says that what is known of a command, or what is kept of it, does
// not let an operator's act be done.
var ErrRefused = errors.New("refused")

// refusedError is ErrRefused with its cause's text.
type refusedError struct{ error }

func (e *refusedError) Is(target error) bool { return target == ErrRefused }

func (e *refusedError) Unwrap() error { return e.error }

var errNoState = errors.New("there is no state directory to write to")

// operate applies an operator's act to one command.
func (l *Loader) operate(name string, act life.Act, f func(*batch, life.Command, life.Act) (life.Command, string, error)) error {
	_, err := l.change(func(b *batch) error {
		act := b.actBy(act)
		if l.chain == nil {
			return errNoState
		}
		cur, known := b.command(name)
		if !known {
			return &refusedError{fmt.Errorf("%s: no revision of it was ever in force", name)}
		}
		next, what, err := f(b, cur, act)
		if err != nil {
			return &refusedError{err}
		}
		b.displaced(cur, next, reason(what, act.Why))
		return nil
	})
	return err
}

// displaced stages and reports an operator's act.
func (b *batch) displaced(cur, next life.Command, why string) {
	b.stage(next)
	b.reasons = append(b.reasons, why)
	if cur.InForce != next.InForce {
		e := Event{Kind: Reverted, Name: next.Name, Generation: b.generation, Operator: true, Reason: why}
		if r, ok := cur.Current(); ok {
			e.Version, e.Digest = r.Version, r.Digest
		}
		if r, ok := next.Current(); ok {
			e.InForce, e.To = r.Version, r.Digest
		}
		b.events = append(b.events, e)
	}
	// No plan: what lies on disk is to be judged anew at the next run.
	b.results[next.Name] = &Result{}
}

// actBy has the history name who acts, and returns the act with the name.
func (b *batch) actBy(act life.Act) life.Act {
	if act.Who == "" {
		act.Who = b.by
	}
	b.by = act.Who
	return act
}

func reason(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

// Operate opens the registry that a name belongs to, the first that applies
// when there is no name, and lets f act on it. It waits a little for another
// loader.
func Operate(flag, name string, o Options, f func(*Loader) error) error {
	places, o, err := open(flag, o)
	if err != nil {
		return err
	}
	place, err := operated(places, name)
	if err != nil {
		return err
	}
	o.Earlier = before(places, place)
	l, err := OpenWaiting(place, o)
	if err != nil {
		return err
	}
	defer l.Close()
	return f(l)
}

// Operated is the registry on which [Operate] would act for a name.
func Operated(flag, name string) (Place, error) {
	places, err := Open(flag)
	if err != nil {
		return Place{}, err
	}
	return operated(places, name)
}

func operated(places []Place, name string) (Place, error) {
	if name == "" {
		return places[0], nil
	}
	return known(places, name)
}

// known finds the first registry that has, or had, a command.
func known(places []Place, name string) (Place, error) {
	if registry.CheckName(name) != nil {
		return Place{}, &registry.UnknownError{Word: name}
	}
	for _, p := range places {
		v, err := Look(p, Options{})
		if err != nil {
			return p, err
		}
		if _, ok := v.Snapshot.Commands[name]; ok {
			return p, nil
		}
	}
	for _, p := range places {
		if kind, err := p.Node(name); err != nil || kind == registry.Command {
			return p, err
		}
	}
	return Place{}, &registry.UnknownError{Word: name}
}
