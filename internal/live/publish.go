package live

import (
	"errors"
	"slices"
	"time"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// publish swaps in a view with what the loader has now: of a loader that is new
// all, then what has moved and what there are results for.
func (s *source) publish(results map[string]*loader.Result) {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	view := s.set.table.View()
	changes := map[string]*Entry{}
	l := s.loader()
	// Before the snapshot: what moves in between is in this one and in the next.
	names := l.Moved()
	commands := l.Snapshot().Commands
	if s.published == l {
		if names == nil {
			names = map[string]bool{}
		}
		for name := range results {
			names[name] = true
		}
	} else {
		names = make(map[string]bool, len(commands))
		for name := range commands {
			names[name] = true
		}
		s.published = l
	}
	for name := range names {
		c, known := commands[name]
		if !known {
			continue
		}
		old, ok := view.Get(name)
		r := results[name]
		if r != nil && r.Plan != nil && !means(r.Plan, c) {
			r = nil // an operator's act came between the change and here
		}
		if ok && r == nil && old.source == s && old.loader == s.loader() && same(old.Command, c) && (old.plan.Load() == nil || means(old.plan.Load(), c)) {
			continue
		}
		if ok && old.source != s && s.after(old.source) {
			continue // an earlier registry has it
		}
		if c.InForce == "" && c.Refusal == "" && (r == nil || errors.Is(r.Err, registry.ErrNotFound)) {
			if ok && old.source == s {
				changes[name] = s.next(name)
			}
			continue
		}
		e := &Entry{Name: name, Command: c, Registry: s.place().Path, source: s, loader: s.loader(), made: time.Now()}
		if r != nil && r.Plan != nil {
			e.plan.Store(r.Plan)
		} else if r != nil {
			e.err = r.Err
		}
		changes[name] = e
	}
	if len(changes) > 0 {
		s.set.table.Swap(view.With(changes))
	}
}

// means tells whether a plan is that of what a command has in force.
func means(p *plan.Plan, c life.Command) bool {
	if p.Refusal != "" || c.Refusal != "" {
		return p.Refusal == c.Refusal
	}
	return p.Revision == c.InForce
}

// same tells whether an entry of a can stand for b, and its runs are counted
// as those of b are.
func same(a, b life.Command) bool {
	was, _ := a.Current()
	is, _ := b.Current()
	return a.Generation == b.Generation && a.InForce == b.InForce && a.Refusal == b.Refusal && a.Floor == b.Floor &&
		slices.EqualFunc(a.Revisions, b.Revisions, func(a, b life.Revision) bool { return a.Digest == b.Digest && a.State == b.State }) &&
		(was.Runs == 0) == (is.Runs == 0)
}

// after tells whether s comes later than other.
func (s *source) after(other *source) bool {
	return slices.Index(s.set.registries, s) > slices.Index(s.set.registries, other)
}

// next is the entry of a name in the registries after s; nil for none.
func (s *source) next(name string) *Entry {
	later := false
	for _, other := range s.set.registries {
		if other == s {
			later = true
			continue
		}
		if c, ok := other.loader().Snapshot().Commands[name]; later && ok && (c.InForce != "" || c.Refusal != "") {
			return &Entry{Name: name, Command: c, Registry: other.place().Path, source: other, loader: other.loader()}
		}
	}
	return nil
}
