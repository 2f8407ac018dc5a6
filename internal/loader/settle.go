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
	b.counts = len(verdicts) == 0
	for name := range verdicts {
		// What lies on disk is for the next load to judge.
		b.results[name] = b.keep(name, l.judged(name), nil)
	}
	return nil
}

// ended applies the end of one run and tells whether it changed more than a
// count. A record of what is not known changes nothing, and a violation after
// probation changes nothing but counts: who causes violations must not make
// generations, which would push the history out.
func (b *batch) ended(r state.Record) (changed bool) {
	cur, known := b.command(r.Command)
	if !known {
		return false
	}
	next, action := cur.Ended(r.Revision, r.Violation, b.generation, r.Time, b.l.revoked)
	b.verdict(cur, next, action, r.Run, 0)
	if action.Kind == life.ActionAlert {
		b.alert(next, r, action)
		was, _ := cur.Revision(r.Revision)
		is, _ := next.Revision(r.Revision)
		if was.State == is.State {
			return false
		}
		b.reasons = append(b.reasons, r.Command+" "+is.Version+": probation is over") // it was the last run of one
		return true
	}
	return action.Kind != life.ActionNone
}

// alert tells of a violation that changes nothing, once: the journal has its
// record until something changes. Those before this loader's time were told by
// who was there.
func (b *batch) alert(c life.Command, r state.Record, a life.Action) {
	if b.l.told[r.Run] || r.Time.Before(b.l.opened) {
		return
	}
	rev, _ := c.Revision(r.Revision)
	e := Event{Kind: Violated, Name: c.Name, Version: rev.Version, Digest: rev.Digest, Run: r.Run, Reason: a.Reason}
	if to, ok := c.Current(); ok {
		e.InForce = to.Version
	}
	b.alerts, b.events = append(b.alerts, r.Run), append(b.events, e)
}

// verdict stages what a verdict led to, and reports it. before is the command
// as it was, run the one that led to it, if any, code what was decided about its
// trust.
func (b *batch) verdict(before, after life.Command, a life.Action, run string, code life.Code) life.Command {
	b.stage(after)
	rev, _ := before.Current()
	e := Event{Name: after.Name, Version: rev.Version, Digest: rev.Digest, Run: run, Code: code, Reason: a.Reason}
	if to, ok := after.Current(); ok {
		e.InForce = to.Version
	}
	switch a.Kind {
	case life.ActionRevert:
		e.Kind, e.To = Reverted, a.To
	case life.ActionQuarantine:
		e.Kind = Quarantined
	case life.ActionEndProbation:
		b.reasons = append(b.reasons, after.Name+" "+rev.Version+": "+a.Reason)
		return after
	default:
		return after
	}
	b.event(e, string(e.Kind)+" "+after.Name+" "+rev.Version+": "+a.Reason)
	return after
}
