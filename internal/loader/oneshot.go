package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/chain"
)

// heldWait bounds how long a one-shot run waits for another loader when
// nothing is in force for its command, so that two first runs at once both
// succeed. With a revision in force it never waits. A load takes some 50 ms
// and the time of its checks; twenty first runs at once on one slow processor
// have taken 8 s.
const heldWait = 20 * time.Second

// settleWait bounds how long a verdict waits for another loader; beyond it,
// that one or the next start acts on the journal. sbx must be gone within 4 s.
const settleWait = 2 * time.Second

// Run answers for the command that the words begin with: its bundle, and what
// it requires, goes through the pipeline when this process can be the loader;
// else the revision in force is what counts. used is how many words name the
// command.
func Run(flag string, words []string, o Options) (p *plan.Plan, encoded []byte, used int, err error) {
	places, o, err := open(flag, o)
	if err != nil {
		return nil, nil, 0, err
	}
	name, place, used, err := Find(places, words)
	if err != nil {
		if r, n := retire(places, words, o); r != nil && r.Plan != nil {
			return r.Plan, r.Encoded, n, nil // the tree without it is not legal
		}
		if fallback, n, ok := inForce(places, words); ok && errors.Is(err, registry.ErrTree) {
			// The tree is refused whole; what was in force stays, unless a
			// verdict says otherwise.
			settleFor(fallback.place, places, o)
			o.Earlier = before(places, fallback.place)
			r, fallErr := kept(fallback.place, fallback.name, o)
			if fallErr == nil && r.Plan != nil {
				p := r.Plan
				o.notify(Event{Kind: Rejected, Name: fallback.name, InForce: p.Version, Generation: p.Generation, Reason: err.Error(), Err: err})
				return p, r.Encoded, n, nil
			}
		}
		return nil, nil, 0, err
	}
	o.Earlier = before(places, place)
	r, err := provide(place, name, o)
	if err != nil {
		return nil, nil, 0, err
	}
	if r.Plan == nil {
		return nil, nil, 0, r.Err
	}
	return r.Plan, r.Encoded, used, nil
}

// open opens the places of a flag and completes the options for them.
func open(flag string, o Options) ([]Place, Options, error) {
	cwd, err := unix.Getwd() // not os.Getwd: the name that sbx takes, not PWD's
	if err != nil {
		cwd = ""
	}
	places, err := Open(flag)
	o.Registries = ctl.RegistryList(flag, cwd)
	return places, o, err
}

// before lists the places that come before one.
func before(places []Place, place Place) []Place {
	for i, p := range places {
		if p.Key == place.Key {
			return places[:i]
		}
	}
	return places
}

// provide loads one command, or takes what is in force when another loader is
// at work.
func provide(place Place, name string, o Options) (*Result, error) {
	pause := 5 * time.Millisecond
	for deadline := time.Now().Add(heldWait); ; {
		if p, encoded, err := made(place, name, o); err == nil {
			return &Result{Plan: p, Encoded: encoded}, nil
		}
		l, err := OpenFor(place, o)
		if err == nil {
			defer l.Close()
			results, err := l.Load(name)
			if err == nil {
				return results[name], nil
			}
			r, keptErr := l.Kept(name, err)
			if keptErr == nil {
				o.notify(Event{Kind: Damaged, Name: name, Version: r.Plan.Version, InForce: r.Plan.Version, Generation: r.Plan.Generation, Reason: err.Error(), Err: err})
			}
			return r, keptErr
		}
		if !errors.Is(err, ErrHeld) {
			return nil, err
		}
		if r, err := kept(place, name, o); !errors.Is(err, state.ErrNone) {
			return r, err
		}
		if time.Now().After(deadline) {
			return nil, &RejectedError{fmt.Errorf("%s is not in force, and %w", name, ErrHeld)}
		}
		time.Sleep(pause) // there is no event for a lock; its holder may be gone at once
		pause = min(2*pause, 100*time.Millisecond)
	}
}

// made is the plan of a command that another loader made since sbx looked: of
// many first runs at once, one compiles.
func made(place Place, name string, o Options) (*plan.Plan, []byte, error) {
	p, err := state.Read(state.PlanPath(state.Dir(), place.Key, name))
	if err != nil {
		return nil, nil, err
	}
	_, fresh := state.Fresh(p, buildinfo.Build)
	if !fresh || p.Command != name || p.Key != place.Key || !slices.Equal(p.Registries, o.Registries) || state.Unfinished(state.Dir(), place.Key) {
		return nil, nil, state.ErrNone
	}
	encoded, err := p.Encode()
	return p, encoded, err
}

// kept is what is in force for a command, by its plan or else by the chain.
func kept(place Place, name string, o Options) (*Result, error) {
	if p, encoded, err := held(place, name); err == nil {
		return &Result{Plan: p, Encoded: encoded}, nil
	}
	return standing(place, name, o)
}

// held is the plan in force of a command while another loader holds the
// state: what lies on disk now is for that one to judge. Its program must
// still be the identified one, which is checked at launch.
func held(place Place, name string) (*plan.Plan, []byte, error) {
	p, err := state.Read(state.PlanPath(state.Dir(), place.Key, name))
	if err != nil {
		return nil, nil, err
	}
	if p.Build != buildinfo.Build || p.BootID != state.BootID() || p.Command != name || p.Key != place.Key {
		return nil, nil, state.ErrNone
	}
	if state.Unfinished(state.Dir(), place.Key) && !believed(place, p) {
		return nil, nil, state.ErrNone
	}
	encoded, err := p.Encode()
	return p, encoded, err
}

// believed tells whether a kept plan is that of what is in force, while a
// change goes on or was cut off: the plan may be older than the newest
// generation, and a violation in the journal may take its revision out as soon
// as the other loader looks.
func believed(place Place, p *plan.Plan) bool {
	c, err := chain.Open(state.Dir()+"/"+place.Key, chain.ReadOnly)
	if err != nil {
		return false
	}
	defer c.Close()
	snap, _, err := c.Newest()
	if err != nil {
		return false
	}
	command := snap.Commands[p.Command]
	j, err := state.Peek(state.Dir(), place.Key)
	if err != nil {
		return false
	}
	for _, r := range j.Records {
		if r.Command == p.Command {
			command, _ = command.Ended(r.Revision, r.Violation, snap.Generation+1, r.Time, nil)
		}
	}
	return command.InForce == p.Revision && p.Refusal == "" || p.Refusal != "" && command.Refusal != ""
}

// settleFor takes the journal of a place into account where a verdict waits
// and no other loader is at work. What cannot be done is for held to notice.
func settleFor(place Place, places []Place, o Options) {
	if !state.Unfinished(state.Dir(), place.Key) {
		return
	}
	o.Earlier = before(places, place)
	if l, err := OpenFor(place, o); err == nil {
		_, _ = l.Settle()
		l.Close()
	}
}

// found is a command that a state knows.
type found struct {
	place Place
	name  string
}

// inForce looks for a command by the plans that are kept, and by the chains:
// where a tree is not legal it cannot be found by looking at it.
func inForce(places []Place, words []string) (f found, used int, ok bool) {
	for i := range words {
		name := strings.Join(words[:i+1], ".")
		if registry.CheckName(name) != nil {
			break
		}
		for _, p := range places {
			if _, err := os.Lstat(state.PlanPath(state.Dir(), p.Key, name)); err == nil || stands(p, name) {
				return found{p, name}, i + 1, true
			}
		}
	}
	return found{}, 0, false
}

// Settle takes the journal of the registry with that key into account, and
// returns the version that the command was put back on; "" for none.
func Settle(flag, key, name string, o Options) (version string, err error) {
	places, o, err := open(flag, o)
	if err != nil {
		return "", err
	}
	for _, place := range places {
		if place.Key != key {
			continue
		}
		notify := o.Notify
		o.Notify = func(events []Event) {
			for _, e := range events {
				if e.Name == name && e.Kind == Reverted {
					version = e.InForce
				}
			}
			if notify != nil {
				notify(events)
			}
		}
		o.Earlier = before(places, place)
		l, err := OpenWaiting(place, o)
		if err != nil {
			return "", err
		}
		defer l.Close()
		_, err = l.Settle()
		return version, err
	}
	return "", fmt.Errorf("no registry has the state %q", key)
}

// OpenWaiting is OpenFor when another loader may be about to end: a one-shot
// run's, or a daemon's that was killed and whose children still hold copies of
// the lock. It waits for 2 s.
func OpenWaiting(place Place, o Options) (*Loader, error) {
	for deadline := time.Now().Add(settleWait); ; {
		l, err := OpenFor(place, o)
		if !errors.Is(err, ErrHeld) || time.Now().After(deadline) {
			return l, err
		}
		time.Sleep(5 * time.Millisecond) // see provide
	}
}

// retire lets the states know of a command that is gone from the disk, and
// returns what came of it, nil where nothing could be done.
func retire(places []Place, words []string, o Options) (r *Result, used int) {
	f, used, ok := inForce(places, words)
	if !ok {
		return nil, 0
	}
	if kind, err := f.place.Node(f.name); err != nil || kind != registry.Missing {
		return nil, 0
	}
	o.Earlier = before(places, f.place)
	l, err := OpenFor(f.place, o)
	if err != nil {
		return nil, 0
	}
	defer l.Close()
	results, err := l.Load(f.name)
	if err != nil {
		return nil, 0 // it is gone either way; the history has it at the next load
	}
	return results[f.name], used
}

func (o *Options) notify(events ...Event) {
	if o.Notify != nil && len(events) > 0 {
		o.Notify(events)
	}
}
