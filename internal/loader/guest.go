package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/registry/chain"
)

// systemState is where root keeps the state of its registries.
const systemState = "/var/lib/sbx"

// openGuest opens the state of a registry's owner, to follow his verdicts. A
// user's own verdicts on a system registry count nowhere (SPEC 2).
func (l *Loader) openGuest() error {
	if !l.foreign() || l.place.Path == "" || os.Getenv("SBX_STATE") != "" {
		return nil
	}
	// Where there is none yet, that there is none is what a plan rests on.
	l.guestStamp = []plan.Stamp{stampOrAbsent(systemState + "/" + l.place.Key + "/current")}
	if l.guest != nil {
		return nil
	}
	c, err := chain.Open(systemState+"/"+l.place.Key, chain.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the owner has never loaded it
	}
	if err != nil {
		return fmt.Errorf("open the state of the registry's owner: %w", err)
	}
	l.guest = c
	return nil
}

// follow answers with what the registry's owner has in force, where he has an
// opinion: his verdicts hold for everybody, and nobody else's count.
func (b *batch) follow(name string) (r *Result, decided bool) {
	l := b.l
	if l.guest == nil {
		return nil, false
	}
	stamps := l.stamps(name)
	snap, _, err := l.guest.Newest()
	if errors.Is(err, chain.ErrEmpty) && !l.sealed {
		return nil, false
	}
	if err != nil {
		return &Result{Err: fmt.Errorf("read the state of the registry's owner: %w", err)}, true
	}
	c, ok := snap.Commands[name]
	if !ok || c.InForce == "" && c.Refusal == "" {
		if l.sealed {
			err = fmt.Errorf("%s is not in force, and nothing new can be: the state in %q cannot be written", name, l.state)
			return &Result{Err: err}, true
		}
		return nil, false
	}
	if c.Refusal != "" {
		return l.finishPlan(l.refusal(c, stamps), c, nil), true
	}
	bundle, err := l.guest.Load(name, c.InForce)
	if err != nil {
		return &Result{Err: &RejectedError{fmt.Errorf("read the stored %s: %w", name, err)}}, true
	}
	if len(bundle.Files) == 0 {
		bundle.Dir = ""
	}
	p, err := l.compile(&bundle, c.Generation, stamps)
	if err != nil {
		return &Result{Err: located(bundle.File, bundle.Source, err)}, true
	}
	return l.finishPlan(p, c, nil), true
}
