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
// empty for the last good one. What it displaces is held.
func (l *Loader) Rollback(name, to, why string) error {
	return l.operate(name, why, func(b *batch, c life.Command) (life.Command, string, error) {
		next, err := c.Rollback(to, b.generation, b.now, l.act(why), b.l.revoked)
		return next, "roll back " + name, err
	})
}

// Release lets what is quarantined or held of a command be offered again.
func (l *Loader) Release(name, why string) error {
	return l.operate(name, why, func(b *batch, c life.Command) (life.Command, string, error) {
		next, released := c.Release(b.now, l.act(why))
		if len(released) == 0 {
			return c, "", fmt.Errorf("%s: nothing is quarantined or held", name)
		}
		return next, "release " + name, nil
	})
}

// SetFloor raises the oldest version that a command may return to.
func (l *Loader) SetFloor(name, version, why string) error {
	return l.operate(name, why, func(b *batch, c life.Command) (life.Command, string, error) {
		next, err := c.SetFloor(version)
		return next, "floor " + version + " of " + name, err
	})
}

// RollbackAll puts every command on what was in force in an older generation,
// as one new generation. One that may not return there (floor, revocation,
// quarantine) refuses the whole.
func (l *Loader) RollbackAll(generation uint64, why string) error {
	_, err := l.change(func(b *batch) error {
		if l.chain == nil {
			return errNoState
		}
		old, err := l.chain.At(generation)
		if err != nil {
			return fmt.Errorf("generation %d: %w", generation, err)
		}
		moved := false
		for _, name := range slices.Sorted(maps.Keys(l.snap.Commands)) {
			cur, _ := b.command(name)
			then := old.Commands[name]
			if then.InForce == cur.InForce || then.InForce == "" {
				continue // what came later stays: a bundle of it lies on disk
			}
			next, err := cur.Rollback(then.InForce, b.generation, b.now, l.act(why), l.revoked)
			if err != nil {
				return err
			}
			b.displaced(cur, next, reason("roll back to generation "+fmt.Sprint(generation), why))
			moved = true
		}
		if !moved {
			return fmt.Errorf("generation %d: every command is on what it was then", generation)
		}
		return nil
	})
	return err
}

var errNoState = errors.New("there is no state directory to write to")

// operate applies an operator's act to one command.
func (l *Loader) operate(name, why string, f func(*batch, life.Command) (life.Command, string, error)) error {
	_, err := l.change(func(b *batch) error {
		if l.chain == nil {
			return errNoState
		}
		cur, known := b.command(name)
		if !known {
			return fmt.Errorf("%s: no revision of it was ever in force", name)
		}
		next, what, err := f(b, cur)
		if err != nil {
			return err
		}
		b.displaced(cur, next, reason(what, why))
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
			e.InForce = r.Version
		}
		b.events = append(b.events, e)
	}
	// No plan: what lies on disk is to be judged anew at the next run.
	b.results[next.Name] = &Result{}
}

func (l *Loader) act(why string) life.Act { return life.Act{Who: l.options.By, Why: why} }

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
	place := places[0]
	if name != "" {
		if place, err = known(places, name); err != nil {
			return err
		}
	}
	o.Earlier = before(places, place)
	l, err := waitFor(place, o)
	if err != nil {
		return err
	}
	defer l.Close()
	return f(l)
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
