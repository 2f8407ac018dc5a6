package loader

import (
	"errors"

	"golang.org/x/sys/unix"
)

// full tells whether an error means that there is no room.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// Kept is the result for a command where cause kept a Load from being made
// durable for want of room: what was in force before still is, unless the
// journal or the publishers say otherwise, which fails closed with cause.
func (l *Loader) Kept(name string, cause error) (*Result, error) {
	if !full(cause) {
		return nil, cause
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b, err := l.newBatch()
	if err != nil {
		return nil, errors.Join(cause, err)
	}
	r := b.keep(name, l.stamps(name), cause)
	if c := l.snap.Commands[name]; r.Plan == nil || r.Plan.Refusal != "" || c.Refusal != "" || r.Plan.Revision != c.InForce {
		return nil, cause
	}
	return r, nil
}
