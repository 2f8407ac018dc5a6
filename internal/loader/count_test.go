package loader

import (
	"fmt"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry/chain"
)

// settled is a shop with "tool" active: its probation is over.
func (s *shop) settled() *plan.Plan {
	s.t.Helper()
	s.put("tool", "1.0.0")
	p := s.load("tool")
	for n := range p5 {
		s.ended(p, fmt.Sprintf("good-%d", n), "")
	}
	l := s.open()
	defer l.Close()
	_, err := l.Settle()
	s.must(err)
	if r, _ := l.Snapshot().Commands["tool"].Current(); r.State.String() != "active" {
		s.t.Fatalf("%+v", r)
	}
	return p
}

// p5 is the default of probation.runs.
const p5 = 5

func (s *shop) ended(p *plan.Plan, run, violation string) {
	s.t.Helper()
	_, err := state.Append(s.base+"/state", s.place.Key, state.Record{Time: time.Now(), Run: run, Command: "tool", Revision: p.Revision, Violation: violation})
	s.must(err)
}

// TestViolationsAfterProbationMakeNoGeneration: they are counted and told, each
// once, and push nothing out of the history, however many they are.
func TestViolationsAfterProbationMakeNoGeneration(t *testing.T) {
	s := newShop(t)
	p := s.settled()
	told := map[string]int{}
	l, err := OpenFor(s.place, Options{Registries: []string{s.place.Path}, Notify: func(events []Event) {
		for _, e := range events {
			if e.Kind != Violated || e.Name != "tool" || e.Version != "1.0.0" || e.InForce != "1.0.0" || e.Reason != "ptrace" {
				t.Errorf("%+v", e)
			}
			told[e.Run]++
		}
	}})
	s.must(err)
	defer l.Close()
	before := l.Snapshot()
	history, err := l.History()
	s.must(err)
	violate := func(from, to int) {
		t.Helper()
		for n := from; n < to; n++ {
			s.ended(p, fmt.Sprint("bad-", n), "ptrace")
			_, err := l.Settle()
			s.must(err)
		}
		if len(told) != to {
			t.Errorf("%d violations told, want %d", len(told), to)
		}
		for run, n := range told {
			if n != 1 {
				t.Errorf("%s told %d times", run, n)
			}
		}
		v, err := Look(s.place, Options{})
		s.must(err)
		for where, c := range map[string]chain.Snapshot{"history": *v.Snapshot} {
			if r, _ := c.Commands["tool"].Current(); r.Violations != uint64(to) || r.LastViolation != "ptrace" || r.State.String() != "active" {
				t.Errorf("%s: %+v, want %d violations", where, r, to)
			}
		}
		if r, _ := l.Counted(l.Snapshot().Commands["tool"]).Current(); r.Violations != uint64(to) {
			t.Errorf("counted %d, want %d", r.Violations, to)
		}
	}
	violate(0, 20)
	if l.Snapshot() != before {
		t.Errorf("generation %d became %d by %d violations", before.Generation, l.Snapshot().Generation, 20)
	}
	// The journal is emptied now and then; that takes one place, of its own.
	violate(20, 1000)
	now, err := l.History()
	s.must(err)
	if len(now) != len(history)+1 || len(now[0].Changed) != 0 {
		t.Errorf("%d generations, want %d and one of counts\n%+v", len(now), len(history), now)
	}
	for i, g := range history {
		if now[i+1].Generation != g.Generation {
			t.Errorf("generation %d was pushed out", g.Generation)
		}
	}
}
