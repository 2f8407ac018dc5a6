package loader

import (
	"errors"
	"io/fs"
	"os"

	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry/chain"
	"github.com/sbx-project/sbx/registry/life"
)

// View is what the state of one registry says, for people and programs that
// ask. The zero value of its Snapshot is that of a registry never loaded.
type View struct {
	Place    Place
	Snapshot *chain.Snapshot
	// History has the kept generations, newest first.
	History []chain.Info
	// Damaged are generations that do not verify.
	Damaged []error
}

// Look reads the state of a registry. Where this process can be the loader it
// first takes the journal into account; a loader at work is not waited for.
func Look(place Place, o Options) (View, error) {
	v := View{Place: place, Snapshot: &chain.Snapshot{}}
	dir := lookedAt(place)
	if dir == "" {
		return v, nil
	}
	if state.Unfinished(dir, place.Key) && dir == state.Dir() {
		l, err := OpenFor(place, o)
		if err == nil {
			_, err = l.Settle()
			err = errors.Join(err, l.Close())
		}
		if err != nil && !errors.Is(err, ErrHeld) {
			return v, err
		}
	}
	c, err := chain.Open(dir+"/"+place.Key, chain.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	defer c.Close()
	snap, damaged, err := c.Newest()
	if err != nil && !errors.Is(err, chain.ErrEmpty) {
		return v, err
	}
	if snap != nil {
		v.Snapshot = snap
	}
	v.Damaged = damaged
	if err := v.count(dir); err != nil {
		return v, err
	}
	v.History, err = c.List()
	return v, err
}

// lookedAt is the state directory whose verdicts count for a registry.
func lookedAt(place Place) string {
	if place.Owner != uint32(os.Geteuid()) && place.Path != "" && os.Getenv("SBX_STATE") == "" {
		if _, err := os.Stat(systemState + "/" + place.Key); err == nil {
			return systemState // the owner's
		}
	}
	return state.Dir()
}

// count adds the runs that only the journal has yet.
func (v *View) count(dir string) error {
	j, err := state.Peek(dir, v.Place.Key)
	if errors.Is(err, fs.ErrPermission) {
		return nil // another user's: his to read
	}
	if err != nil {
		return err
	}
	for _, r := range j.Records {
		c, ok := v.Snapshot.Commands[r.Command]
		if !ok {
			continue
		}
		next, a := c.Ended(r.Revision, r.Violation, c.Generation, r.Time, nil)
		if a.Kind != life.ActionRevert && a.Kind != life.ActionQuarantine { // which is for a loader to decide
			v.Snapshot.Commands[r.Command] = next
		}
	}
	return nil
}
