package loader

import (
	"github.com/sbx-project/sbx/registry/life"
)

// distrust is the result of a command of which nothing is believed, and tells of
// it once: a command that ran and now refuses is news to whoever watches, though
// its state is as it was.
func (b *batch) distrust(cur life.Command, err error) *Result {
	err = &RejectedError{err}
	rev, inForce := cur.Current()
	why := rev.Digest + " " + err.Error()
	kind := Distrusted
	if !inForce {
		kind = Rejected
	}
	if b.l.distrusted[cur.Name] != why && b.distrusted[cur.Name] != why {
		b.note(cur.Name, why)
		b.events = append(b.events, Event{
			Kind: kind, Name: cur.Name, Version: rev.Version, Digest: rev.Digest, Code: life.Untrusted, Reason: err.Error(), Err: err,
		})
	}
	return &Result{Err: err}
}

// believe notes that what is in force is believed, so that the next doubt is news
// again.
func (b *batch) believe(name string) {
	if b.l.distrusted[name] != "" || b.distrusted[name] != "" {
		b.note(name, "")
	}
}

func (b *batch) note(name, why string) {
	if b.distrusted == nil {
		b.distrusted = map[string]string{}
	}
	b.distrusted[name] = why
}
