package loader

import (
	"fmt"

	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry/life"
)

// Settle takes the journal into account: what one-shot runs and sbx's own
// death left to be done. The results have an entry for every command that a
// record is about.
func (l *Loader) Settle() (map[string]*Result, error) {
	return l.change(func(*batch) error { return nil })
}

// settle applies the records of the journal to the batch.
func (b *batch) settle() error {
	l := b.l
	if l.chain == nil {
		return nil
	}
	j, err := state.Take(l.state, l.place.Key)
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	b.journal = j
	if j.Bad > 0 {
		b.events = append(b.events, Event{Kind: Damaged, Reason: fmt.Sprintf("ignoring %d lines of the journal that are no records", j.Bad)})
	}
	verdicts := map[string]bool{}
	for _, r := range j.Records {
		if b.ended(r) {
			verdicts[r.Command] = true
		}
	}
	// Runs that are only counted make no generation of their own: until
	// something else does, the journal has them.
	b.countsOnly = len(verdicts) == 0 && !j.Full
	for name := range verdicts {
		// What lies on disk is for the next load to judge.
		b.results[name] = b.keep(name, l.stamps(name), nil)
	}
	return nil
}

// ended applies the end of one run and tells whether it changed more than a
// count. A record of what is not known changes nothing.
func (b *batch) ended(r state.Record) (changed bool) {
	cur, known := b.command(r.Command)
	if !known {
		return false
	}
	next, action := cur.Ended(r.Revision, r.Violation, b.generation, r.Time, b.l.revoked)
	b.verdict(cur, next, action)
	return action.Kind != life.ActionNone
}

// verdict stages what a verdict led to, and reports it. before is the command
// as it was.
func (b *batch) verdict(before, after life.Command, a life.Action) life.Command {
	b.stage(after)
	rev, _ := before.Current()
	e := Event{Name: after.Name, Version: rev.Version, Digest: rev.Digest, Reason: a.Reason}
	if to, ok := after.Current(); ok {
		e.InForce = to.Version
	}
	switch a.Kind {
	case life.ActionRevert:
		e.Kind = Reverted
	case life.ActionQuarantine:
		e.Kind = Quarantined
	case life.ActionAlert:
		e.Kind = Violated
	default:
		return after
	}
	b.event(e, string(e.Kind)+" "+after.Name+" "+rev.Version+": "+a.Reason)
	return after
}
