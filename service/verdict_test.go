package service

import (
	"context"
	"errors"
	"testing"

	"github.com/sbx-project/sbx/registry"
)

// TestVerdicts: events and errors carry the verdict, as the daemon's API and
// audit log do.
func TestVerdicts(t *testing.T) {
	s, _ := sandboxed(t)
	ctx := t.Context()
	sub := s.Subscribe(0)
	next := func(kind Kind, code Code) {
		t.Helper()
		e, open := sub.Next(ctx)
		if !open || e.Kind != kind || e.Code != code {
			t.Errorf("%+v, want %s %d", e, kind, code)
		}
	}
	rejected := func(err error, code Code) {
		t.Helper()
		var r *RejectedError
		if !errors.As(err, &r) || r.Code != code {
			t.Errorf("%v, want verdict %d", err, code)
		}
	}
	ok(t, s.Register(ctx, shell("sh", "2.0.0", "")))
	next(Registered, OK)
	rejected(s.Register(ctx, shell("sh", "1.0.0", "")), Conflict)
	next(Rejected, Conflict)
	rejected(s.Register(ctx, shell("sh", "3.0.0", "requires: {features: [landlock]}\nchecks: [{argv: [\"exit 1\"], expect: {exit: 0}}]\n")), 0)
	next(Rejected, 0)
	ok(t, s.Register(ctx, shell("sh", "4.0.0", "")))
	next(Replaced, OK)
}

// TestIllegalRegistrations: what requires itself by way of another is not put
// in force, at a registration and at a start, and the rest waits with it.
func TestIllegalRegistrations(t *testing.T) {
	s := embed(t, stateDir(t))
	ctx := t.Context()
	ok(t, s.Register(ctx, shell("a", "1.0.0", "requires: {commands: [b]}\n")))
	ok(t, s.Register(ctx, shell("b", "1.0.0", "requires: {commands: [a]}\n")))
	ok(t, s.Register(ctx, shell("c", "1.0.0", "")))
	ok(t, s.Start(ctx))
	for _, name := range []string{"a", "b", "c"} {
		if _, err := s.Get(name); err == nil {
			t.Errorf("%s is in force", name)
		}
	}
	if err := s.Register(ctx, shell("c", "1.0.0", "")); !errors.Is(err, registry.ErrCycle) {
		t.Errorf("%v", err)
	}
	ok(t, s.Register(ctx, shell("b", "2.0.0", "")))
	ok(t, s.Reload(context.Background()))
	for _, name := range []string{"a", "b", "c"} {
		if _, err := s.Get(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
