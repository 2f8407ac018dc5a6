package daemon

import (
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/runner"
)

// idle is a pool without a worker: what it would make can be looked at.
func idle(b Bounds) *pool {
	return &pool{bounds: b, shelf: map[poolKey]*shelf{}, want: make(chan struct{}, 1), done: make(chan struct{})}
}

// TestPoolKeys: a sandbox is for one revision and one caller's ids, and an
// older revision's shelf goes when the next is asked for.
func TestPoolKeys(t *testing.T) {
	p := idle(Bounds{Warm: 8})
	old, now, other := &plan.Plan{Command: "a"}, &plan.Plan{Command: "a"}, &plan.Plan{Command: "b"}
	for _, key := range []poolKey{{old, 1, 1}, {old, 2, 2}, {other, 1, 1}} {
		if p.get(key, &runner.Options{Plan: key.plan}) != nil {
			t.Error("an empty shelf gives something")
		}
		p.refill(key)
	}
	if len(p.shelf) != 3 {
		t.Fatalf("%d shelves, want one for each plan and user: 3", len(p.shelf))
	}
	p.take(poolKey{now, 1, 1})
	if _, ok := p.shelf[poolKey{old, 1, 1}]; ok || len(p.shelf) != 2 {
		t.Errorf("%d shelves; those of the old revision must have gone", len(p.shelf))
	}
	for key, s := range p.shelf {
		s.used = time.Now().Add(-2 * maxAge)
		if key.plan == now {
			s.used = time.Now()
		}
	}
	if p.sweep(); len(p.shelf) != 1 {
		t.Errorf("%d shelves after the sweep; what nobody asks for must go", len(p.shelf))
	}
	if got, want := p.stats(), (PoolStats{Most: 8, Missed: 4}); got != want {
		t.Errorf("%+v, want %+v: nothing was ready for four calls", got, want)
	}
	if p.retire(); len(p.shelf) != 0 {
		t.Errorf("%d shelves after a reload", len(p.shelf))
	}
}

// TestPoolWants: only what was asked for is made, within the budget, and
// nothing that depends on the call.
func TestPoolWants(t *testing.T) {
	p := idle(Bounds{Warm: 1})
	a := poolKey{&plan.Plan{Command: "a"}, 0, 0}
	p.take(a)
	if _, s := p.next(); s != nil {
		t.Error("something is made before the first answer")
	}
	p.refill(a)
	if key, s := p.next(); s == nil || key != a || p.count != 1 {
		t.Errorf("key %v, %d counted; want one for a", key, p.count)
	}
	if _, s := p.next(); s != nil {
		t.Error("more is made than the budget holds")
	}
	here := poolKey{&plan.Plan{Command: "here", View: []plan.Step{{Kind: plan.Tree, Flags: plan.SourceCwd}}}, 0, 0}
	p.get(here, &runner.Options{Plan: here.plan})
	p.refill(here)
	if _, ok := p.shelf[here]; ok {
		t.Error("a view of the caller's directory has a shelf")
	}
	tighter := *a.plan
	tighter.Limits.PidsMax = 3
	if runner.Fits(a.plan, &runner.Options{Plan: &tighter}) {
		t.Error("a tighter limit of the control group fits")
	}
	if runner.Fits(a.plan, &runner.Options{Plan: a.plan, Args: []string{string(make([]byte, 1<<20))}}) {
		t.Error("a megabyte of arguments fits")
	}
}
