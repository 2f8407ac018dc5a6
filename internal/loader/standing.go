package loader

import (
	"errors"
	"io/fs"
	"time"

	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry/chain"
	"github.com/sbx-project/sbx/registry/life"
)

// standing compiles the revision in force of a command from what is stored,
// without the lock: another loader is at work, and no plan that is kept can be
// used. What lies on disk now is for that one to judge, and nothing is
// written. Verdicts that are not settled yet are taken into account, as the
// other loader will. The error matches state.ErrNone when nothing is in force.
func standing(place Place, name string, o Options) (*Result, error) {
	l := &Loader{place: place, options: o, state: o.StateDir}
	if l.state == "" {
		l.state = state.Dir()
	}
	defer l.Close()
	if err := l.openGuest(); err != nil {
		return nil, err
	}
	l.features = feature.Probe()
	l.lookAbove()
	if err := l.readTrust(); err != nil {
		return nil, err
	}
	b := &batch{l: l, now: time.Now(), changed: map[string]life.Command{}, results: map[string]*Result{}}
	if r, decided := b.follow(name); decided {
		return r, nil
	}
	var err error
	if l.chain, l.snap, err = newest(l.state, place); err != nil {
		return nil, err
	}
	b.generation = l.snap.Generation + 1
	j, err := state.Peek(l.state, place.Key)
	if err != nil {
		return nil, err
	}
	for _, r := range j.Records {
		if r.Command == name {
			b.ended(r)
		}
	}
	if c, _ := b.command(name); c.InForce == "" && c.Refusal == "" {
		return nil, state.ErrNone
	}
	return b.keep(name, l.stamps(name), nil), nil
}

// newest opens the chain of a place to read, and its newest snapshot. The
// caller closes it. The error is state.ErrNone where there is none.
func newest(dir string, place Place) (*chain.Chain, *chain.Snapshot, error) {
	c, err := chain.Open(dir+"/"+place.Key, chain.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, state.ErrNone
	}
	if err != nil {
		return nil, nil, err
	}
	snap, _, err := c.Newest()
	if err == nil {
		return c, snap, nil
	}
	c.Close()
	if errors.Is(err, chain.ErrEmpty) {
		err = state.ErrNone
	}
	return nil, nil, err
}

// stands tells whether the state of a place has a command in force, or has its
// name refuse.
func stands(place Place, name string) bool {
	c, snap, err := newest(state.Dir(), place)
	if err != nil {
		return false
	}
	defer c.Close()
	command := snap.Commands[name]
	return command.InForce != "" || command.Refusal != ""
}
