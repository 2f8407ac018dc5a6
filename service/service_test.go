package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/runner"
)

// TestLife: created, running, stopped, running again; what needs a running
// service says so.
func TestLife(t *testing.T) {
	s := prepared(t)
	ctx := t.Context()
	outside := func(state State) {
		t.Helper()
		if s.State() != state {
			t.Errorf("state %v, want %v", s.State(), state)
		}
		_, err := s.Get("a")
		isA(t, err, ErrNotRunning)
		_, err = s.Commands()
		isA(t, err, ErrNotRunning)
		_, err = s.Run(ctx, "a", nil, Stdio{})
		isA(t, err, ErrNotRunning)
		isA(t, s.Reload(ctx), ErrNotRunning)
	}
	ok(t, s.Register(ctx, manifest("a", "1.0.0", "")))
	outside(Created)
	ok(t, s.Stop(ctx))
	outside(Created)
	for round := range 3 {
		ok(t, s.Start(ctx))
		isA(t, s.Start(ctx), ErrRunning)
		if s.State() != Running {
			t.Errorf("round %d: state %v", round, s.State())
		}
		c, err := s.Get("a")
		ok(t, err)
		if c.Manifest.Version != "1.0.0" {
			t.Errorf("version %q", c.Manifest.Version)
		}
		r, err := s.Run(ctx, "a", nil, Stdio{})
		ok(t, err)
		if r.Outcome != runner.OK {
			t.Errorf("outcome %s", r.Outcome)
		}
		ok(t, s.Stop(ctx))
		outside(Stopped)
	}
	// What is registered while it is stopped counts at the next start.
	ok(t, s.Unregister(ctx, "a"))
	ok(t, s.Register(ctx, manifest("b.c", "1.0.0", "")))
	ok(t, s.Start(ctx))
	if _, err := s.Get("a"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("unregistered: %v", err)
	}
	if list, err := s.Commands(); err != nil || len(list) != 1 || list[0].Manifest.Name != "b.c" {
		t.Errorf("commands %v: %v", list, err)
	}
}

// TestStartFails: a pipeline that does not open or load leaves the service as
// it was, and it may be started again.
func TestStartFails(t *testing.T) {
	broken := errors.New("broken")
	fail := true
	var last *fake
	s := prepared(t, func(f *fake) {
		last = f
		if fail {
			f.broken = broken
		}
	})
	isA(t, s.Start(t.Context()), broken)
	if s.State() != Created || !last.closed.Load() {
		t.Errorf("state %v, pipeline closed %v", s.State(), last.closed.Load())
	}
	fail = false
	ok(t, s.Start(t.Context()))
	if _, err := New(Options{}); err == nil {
		t.Error("a service without a pipeline")
	}
}

// TestRegister: again is nothing, other content is another revision, rejected
// content keeps what was, and each is one event.
func TestRegister(t *testing.T) {
	var f *fake
	s := started(t, func(one *fake) { f = one })
	ctx := t.Context()
	sub := s.Subscribe(0)
	for range 3 {
		ok(t, s.Register(ctx, manifest("a", "1.0.0", "")))
	}
	ok(t, s.Register(ctx, manifest("a", "1.1.0", "")))
	var rejected *RejectedError
	for range 3 {
		if err := s.Register(ctx, manifest("a", "1.2.0", "bad")); !errors.As(err, &rejected) || rejected.Name != "a" {
			t.Errorf("a bad bundle: %v", err)
		}
	}
	if c, err := s.Get("a"); err != nil || c.Manifest.Version != "1.1.0" {
		t.Errorf("after a bad bundle: %+v, %v", c, err)
	}
	if err := s.Register(ctx, []byte("apiVersion: sbx/v2\n")); err == nil {
		t.Error("text that is no manifest is registered")
	}
	isA(t, s.Register(ctx, manifest("a.b", "1.0.0", "")), registry.ErrTree)
	for range 3 {
		ok(t, s.Unregister(ctx, "a"))
	}
	ok(t, s.Unregister(ctx, "never-there"))
	ok(t, s.Register(ctx, manifest("a.b", "1.0.0", "")))
	if got, want := kinds(t, sub), "registered:a replaced:a rejected:a retired:a registered:a.b"; got != want {
		t.Errorf("events %q, want %q", got, want)
	}
	if f.loads != 6 { // with that of Start
		t.Errorf("%d loads, want 6: what did not change is not loaded", f.loads)
	}
}

// TestLoadFails: when the pipeline cannot say, nothing has changed, and trying
// again tries again.
func TestLoadFails(t *testing.T) {
	var f *fake
	s := started(t, func(one *fake) { f = one })
	ctx := t.Context()
	ok(t, s.Register(ctx, manifest("a", "1.0.0", "")))
	f.broken = errors.New("disk full")
	for range 2 {
		isA(t, s.Register(ctx, manifest("a", "2.0.0", "")), f.broken)
		isA(t, s.Register(ctx, manifest("new", "2.0.0", "")), f.broken)
		isA(t, s.Unregister(ctx, "a"), f.broken)
		isA(t, s.Reload(ctx), f.broken)
	}
	if c, err := s.Get("a"); err != nil || c.Manifest.Version != "1.0.0" {
		t.Errorf("%+v, %v", c, err)
	}
	f.broken = nil
	ok(t, s.Register(ctx, manifest("a", "2.0.0", "")))
	if c, err := s.Get("a"); err != nil || c.Manifest.Version != "2.0.0" {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestVerdict: what the end of a run changes is in force, and told, before its
// caller has the report.
func TestVerdict(t *testing.T) {
	s := started(t, func(f *fake) {
		f.run = func(context.Context, *Command, Call) (*runner.Report, bool) {
			return &runner.Report{Outcome: runner.Violation, ExitCode: runner.StatusViolation}, true
		}
	})
	ctx := t.Context()
	ok(t, s.Register(ctx, manifest("a", "1.0.0", "")))
	sub := s.Subscribe(0)
	r, err := s.Run(ctx, "a", nil, Stdio{})
	ok(t, err)
	if r.ExitCode != runner.StatusViolation {
		t.Errorf("status %d", r.ExitCode)
	}
	c, err := s.Get("a")
	isA(t, err, ErrRefused)
	if c == nil {
		t.Error("the command that refuses is not told")
	}
	_, err = s.Run(ctx, "a", nil, Stdio{})
	isA(t, err, ErrRefused)
	if got := kinds(t, sub); got != "quarantined:a" {
		t.Errorf("events %q", got)
	}
}

// TestStale: a command whose host changed is loaded anew, and run once more.
func TestStale(t *testing.T) {
	var loads []int
	var f *fake
	s := started(t, func(one *fake) {
		f = one
		f.run = func(context.Context, *Command, Call) (*runner.Report, bool) {
			loads = append(loads, f.loads)
			return &runner.Report{Outcome: runner.Refused, Stale: len(loads) == 1}, false
		}
	})
	ok(t, s.Register(t.Context(), manifest("a", "1.0.0", "")))
	r, err := s.Run(t.Context(), "a", nil, Stdio{})
	ok(t, err)
	if r.Stale || len(loads) != 2 || loads[1] != loads[0]+1 {
		t.Errorf("stale %v after %d runs, loads %v", r.Stale, len(loads), loads)
	}
}

// TestExpect: a run that names a revision gets that one or none.
func TestExpect(t *testing.T) {
	s := started(t)
	ctx := t.Context()
	ok(t, s.Register(ctx, manifest("a", "1.0.0", "")))
	c, err := s.Get("a")
	ok(t, err)
	_, err = s.Do(ctx, Call{Name: "a", Version: "1.0.0", Digest: c.Digest})
	ok(t, err)
	_, err = s.Do(ctx, Call{Name: "a", Version: "1.0.1"})
	isA(t, err, ErrRefused)
	_, err = s.Do(ctx, Call{Name: "a", Digest: "sha256:00"})
	isA(t, err, ErrRefused)
	_, err = s.Do(ctx, Call{Name: "b"})
	isA(t, err, registry.ErrNotFound)
}

// TestStopWaits: Stop lets runs end; when it waits no longer they are killed,
// and it returns when they are gone.
func TestStopWaits(t *testing.T) {
	begun := make(chan struct{}, 2)
	release := make(chan struct{})
	s := started(t, func(f *fake) {
		f.run = func(ctx context.Context, _ *Command, call Call) (*runner.Report, bool) {
			begun <- struct{}{}
			select {
			case <-release:
				return &runner.Report{Outcome: runner.OK}, false
			case <-ctx.Done():
				if !errors.Is(context.Cause(ctx), ErrStopped) {
					t.Errorf("cause %v", context.Cause(ctx))
				}
				return &runner.Report{Outcome: runner.Canceled}, true
			}
		}
	})
	ctx := t.Context()
	ok(t, s.Register(ctx, manifest("a", "1.0.0", "")))
	run := func() <-chan runner.Outcome {
		out := make(chan runner.Outcome, 1)
		go func() {
			r, err := s.Run(ctx, "a", nil, Stdio{})
			if err != nil {
				t.Error(err)
				r = &runner.Report{}
			}
			out <- r.Outcome
		}()
		<-begun
		return out
	}
	ended := run()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop(ctx) }()
	for s.State() == Running {
		time.Sleep(time.Millisecond)
	}
	if _, err := s.Run(ctx, "a", nil, Stdio{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a run while it stops: %v", err)
	}
	select {
	case <-stopped:
		t.Error("Stop did not wait")
	default:
	}
	close(release)
	ok(t, <-stopped)
	if got := <-ended; got != runner.OK {
		t.Errorf("outcome %s", got)
	}

	release = make(chan struct{})
	ok(t, s.Start(ctx))
	ended = run()
	now, cancel := context.WithCancel(ctx)
	cancel()
	isA(t, s.Stop(now), context.Canceled)
	if got := <-ended; got != runner.Canceled {
		t.Errorf("outcome %s", got)
	}
}

// TestStopDuringLoad: what is loaded while the service stops does not come in
// force any more.
func TestStopDuringLoad(t *testing.T) {
	var f *fake
	s := started(t, func(one *fake) { f = one })
	ctx := t.Context()
	f.gate = make(chan struct{})
	registered, stopped := make(chan error, 1), make(chan error, 1)
	go func() { registered <- s.Register(ctx, manifest("a", "1.0.0", "")) }()
	f.gate <- struct{}{} // Load goes on
	go func() { stopped <- s.Stop(ctx) }()
	for s.State() == Running {
		time.Sleep(time.Millisecond)
	}
	f.gate <- struct{}{}
	ok(t, <-registered)
	ok(t, <-stopped)
	if c, err := s.Get("a"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("in force after Stop: %+v, %v", c, err)
	}
}

// TestCanceled: the end of the caller's context reaches the run.
func TestCanceled(t *testing.T) {
	begun := make(chan struct{})
	s := started(t, func(f *fake) {
		f.run = func(ctx context.Context, _ *Command, _ Call) (*runner.Report, bool) {
			close(begun)
			<-ctx.Done()
			return &runner.Report{Outcome: runner.Canceled}, false
		}
	})
	ok(t, s.Register(t.Context(), manifest("a", "1.0.0", "")))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	r, err := s.Run(ctx, "a", nil, Stdio{})
	ok(t, err)
	if r.Outcome != runner.Canceled {
		t.Errorf("outcome %s", r.Outcome)
	}
}

// TestStorm: everything at once, under the race detector. No run fails that
// should not, and none sees a command that is not whole.
func TestStorm(t *testing.T) {
	s := prepared(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	ok(t, s.Register(ctx, manifest("always", "1.0.0", "")))
	ok(t, s.Start(ctx))
	var wg sync.WaitGroup
	var runs, restarts atomic.Int64
	forever := func(f func(i int)) {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				f(i)
			}
		})
	}
	stopping := func(err error) bool { return errors.Is(err, ErrNotRunning) || errors.Is(err, context.DeadlineExceeded) }
	for range 8 {
		forever(func(i int) {
			if r, err := s.Run(context.Background(), "always", []string{"x"}, Stdio{}); err == nil {
				runs.Add(1)
				if r.Revision == "" {
					t.Error("a run without a revision")
				}
			} else if !stopping(err) {
				t.Error(err)
			}
		})
	}
	for k := range 3 {
		forever(func(i int) {
			name := fmt.Sprintf("c%d", k)
			if err := s.Register(context.Background(), manifest(name, fmt.Sprintf("1.0.%d", i), "")); err != nil {
				t.Error(err)
			}
			if i%3 == 0 {
				if err := s.Unregister(context.Background(), name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	forever(func(i int) {
		if err := s.Register(context.Background(), manifest("always", fmt.Sprintf("1.1.%d", i), "")); err != nil {
			t.Error(err)
		}
	})
	forever(func(int) {
		defer s.Before(func(context.Context, Call) error { return nil })()
		defer s.After(func(context.Context, Call, *runner.Report) {})()
		defer s.Validate("always", func(context.Context, Call) error { return nil })()
	})
	forever(func(int) {
		sub := s.Subscribe(4)
		defer sub.Close()
		short, done := context.WithTimeout(ctx, time.Millisecond)
		defer done()
		sub.Next(short)
	})
	forever(func(int) {
		if list, err := s.Commands(); err == nil {
			for i := 1; i < len(list); i++ {
				if list[i-1].Manifest.Name >= list[i].Manifest.Name {
					t.Error("commands twice, or out of order")
				}
			}
		}
	})
	forever(func(int) {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := s.Start(context.Background()); err != nil {
			t.Error(err)
		}
		restarts.Add(1)
		select { // the others have their turn
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	})
	wg.Wait()
	if runs.Load() == 0 || restarts.Load() == 0 {
		t.Errorf("%d runs, %d restarts", runs.Load(), restarts.Load())
	}
}
