package service

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sbx-project/sbx/runner"
)

// TestHooks: who is called, when, in which order, and what a refusal does.
func TestHooks(t *testing.T) {
	var said []string
	say := func(word string) { said = append(said, word) }
	s := started(t, func(f *fake) {
		f.run = func(_ context.Context, _ *Command, call Call) (*runner.Report, bool) {
			say("run " + strings.Join(call.Args, ","))
			return &runner.Report{Outcome: runner.OK}, false
		}
	})
	ctx := t.Context()
	ok(t, s.Register(ctx, manifest("a", "1.0.0", "")))
	ok(t, s.Register(ctx, manifest("b", "1.0.0", "")))
	no := errors.New("no")
	var refuse, invalid error
	s.After(func(_ context.Context, _ Call, r *runner.Report) { say("after1 " + string(r.Outcome)) })
	s.Before(func(_ context.Context, c Call) error {
		say("before1 " + c.Version)
		c.Args[0] = "changed" // of its own copy
		return nil
	})
	removeBefore := s.Before(func(context.Context, Call) error { say("before2"); return refuse })
	removeA := s.Validate("a", func(context.Context, Call) error { say("validate a"); return invalid })
	s.Validate("", func(context.Context, Call) error { say("validate all"); return nil })
	removeAfter := s.After(func(context.Context, Call, *runner.Report) { say("after2") })

	check := func(name string, want error, words ...string) {
		t.Helper()
		said = nil
		r, err := s.Run(ctx, name, []string{"x"}, Stdio{})
		if !errors.Is(err, want) || (r == nil) != (want != nil) {
			t.Errorf("run: %v %v, want %v", r, err, want)
		}
		if !slices.Equal(said, words) {
			t.Errorf("said %q, want %q", said, words)
		}
	}
	check("a", nil, "validate a", "validate all", "before1 1.0.0", "before2", "run x", "after2", "after1 ok")
	check("b", nil, "validate all", "before1 1.0.0", "before2", "run x", "after2", "after1 ok")
	refuse = no
	check("a", ErrRefused, "validate a", "validate all", "before1 1.0.0", "before2")
	check("a", no, "validate a", "validate all", "before1 1.0.0", "before2")
	invalid = no
	check("a", ErrArguments, "validate a")
	for range 2 { // more than once
		removeBefore()
		removeA()
		removeAfter()
	}
	check("a", nil, "validate all", "before1 1.0.0", "run x", "after1 ok")
}

// TestHooksOfARun: a run has the hooks that there were when it began.
func TestHooksOfARun(t *testing.T) {
	s := started(t)
	ctx := t.Context()
	ok(t, s.Register(ctx, manifest("a", "1.0.0", "")))
	var said []string
	remove := s.After(func(context.Context, Call, *runner.Report) { said = append(said, "old") })
	s.Before(func(context.Context, Call) error {
		remove()
		s.After(func(context.Context, Call, *runner.Report) { said = append(said, "new") })
		// Whatever needs no end of a run may be called from a hook.
		_, err := s.Get("a")
		return errors.Join(err, s.Register(ctx, manifest("b", "1.0.0", "")))
	})
	_, err := s.Run(ctx, "a", nil, Stdio{})
	ok(t, err)
	if !slices.Equal(said, []string{"old"}) {
		t.Errorf("said %q", said)
	}
}

// TestSubscribe: a queue that is full loses what is newest and says how much;
// nobody waits; several see the same.
func TestSubscribe(t *testing.T) {
	s := started(t)
	ctx := t.Context()
	small, large := s.Subscribe(2), s.Subscribe(100)
	for _, name := range []string{"a", "b", "c", "d"} {
		ok(t, s.Register(ctx, manifest(name, "1.0.0", "")))
	}
	if e, more := small.Next(ctx); !more || e.Name != "a" || e.Lost != 0 || e.Version != "1.0.0" || e.Digest == "" || e.Generation == 0 {
		t.Errorf("%+v", e)
	}
	ok(t, s.Register(ctx, manifest("e", "1.0.0", "")))
	if got, want := kinds(t, small), "registered:b registered:e(2 lost)"; got != want {
		t.Errorf("small: %q, want %q", got, want)
	}
	if got, want := kinds(t, large), "registered:a registered:b registered:c registered:d registered:e"; got != want {
		t.Errorf("large: %q, want %q", got, want)
	}
	ok(t, s.Register(ctx, manifest("f", "1.0.0", "")))
	if got := kinds(t, small); got != "" {
		t.Errorf("after Close: %q", got)
	}
}

// TestNext: it waits for an event, for Close, and for its context.
func TestNext(t *testing.T) {
	s := started(t)
	sub := s.Subscribe(0)
	got := make(chan string, 3)
	for range 3 {
		go func() {
			e, more := sub.Next(context.Background())
			if !more {
				e.Name = "closed"
			}
			got <- e.Name
		}()
	}
	ok(t, s.Register(t.Context(), manifest("a", "1.0.0", "")))
	if name := <-got; name != "a" {
		t.Errorf("%q", name)
	}
	sub.Close()
	sub.Close()
	for range 2 {
		if name := <-got; name != "closed" {
			t.Errorf("%q", name)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, more := s.Subscribe(0).Next(ctx); more {
		t.Error("an event out of nothing")
	}
}
