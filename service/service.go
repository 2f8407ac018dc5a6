// Package service is sbx for embedding: commands are registered while the
// program runs, looked up without a lock, and run in their sandboxes. Use
// [New], [Service.Register] and [Service.Run].
//
// What is registered goes through a [Pipeline], which verifies, compiles,
// proves and keeps it; the service adds what a program that embeds sbx needs
// around it: a lifecycle, hooks before and after a run, validators of
// arguments, and events.
//
// The promise: a registration that is not accepted leaves in force what was;
// who looks up sees a change whole or not at all; a run keeps the revision
// that it began with; nothing that a subscriber does or does not do holds up
// anybody. It does not protect from the program that embeds it: hooks and
// validators are believed.
package service

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/snapshot"
)

// State is where a Service is in its life.
type State uint8

// The states. A Service begins as Created and goes between Running and Stopped
// as often as one likes.
const (
	Created State = iota
	Running
	Stopped
)

// String is the lower-case name.
func (s State) String() string {
	switch s {
	case Created:
		return "created"
	case Running:
		return "running"
	case Stopped:
		return "stopped"
	}
	return "unknown"
}

// ErrNotRunning says that a call needs a running service. Its message names
// the state.
var ErrNotRunning = errors.New("the service is not running")

// ErrRunning is what Start returns when there is nothing to start.
var ErrRunning = errors.New("the service is running")

// Options of New.
type Options struct {
	// Open makes the pipeline at each Start. Required.
	Open Open
}

// Service is a registry of commands in a program. It is safe for concurrent
// use. Its methods may be called from hooks, validators and subscribers,
// except Start and Stop from hooks and validators: Stop waits for runs.
type Service struct {
	options Options
	memory  registry.Memory
	table   snapshot.Table[Command] // empty unless running
	hooks   hooks
	events  events

	// life is held by Start and Stop, and by nobody else.
	life sync.Mutex

	// change is held while something is loaded: what is in force, and the
	// events of it, have one order.
	change   sync.Mutex
	pipeline Pipeline                  // nil unless running; written with change and mu held
	rejected map[string]*RejectedError // by name, of what is registered now

	mu      sync.Mutex
	state   State
	drained chan struct{} // closed when stopping and runs is 0
	runs    int
	cancel  context.CancelCauseFunc // of all runs
	ctx     context.Context
}

// New returns a service that is Created. It opens nothing.
func New(o Options) (*Service, error) {
	if o.Open == nil {
		return nil, errors.New("service: no way to open a pipeline")
	}
	return &Service{options: o}, nil
}

// State returns the state now.
func (s *Service) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// notRunning is the error of a call that came too early or too late.
func (s *Service) notRunning(op string) error {
	return fmt.Errorf("%s: %w: it is %s", op, ErrNotRunning, s.State())
}

// Start opens the pipeline and loads everything that was registered. A bundle
// that is not accepted is an event and no error: the others run. The error is
// ErrRunning, or says why nothing can run; then the state is as before.
func (s *Service) Start(ctx context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.State() == Running {
		return fmt.Errorf("start: %w", ErrRunning)
	}
	s.change.Lock()
	defer s.change.Unlock()
	p, err := s.options.Open(ctx, &s.memory)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	loading, err := p.Load(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("start: %w", err), p.Close())
	}
	s.mu.Lock()
	s.pipeline, s.state = p, Running
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.drained = nil
	s.table.Swap(s.table.View().With(loading.Commands)) // from nothing: Stop left it so
	s.mu.Unlock()
	s.rejected = map[string]*RejectedError{}
	s.tell(loading)
	return nil
}

// ErrStopped is the cause with which runs end that a Stop did not wait for.
var ErrStopped = errors.New("the service was stopped")

// Stop ends the service: no run begins any more; those under way may end until
// ctx does, then they are killed. When it returns none is left and the
// pipeline is closed, whatever the error says. It does nothing when the
// service is not running.
func (s *Service) Stop(ctx context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	s.mu.Lock()
	if s.state != Running {
		s.mu.Unlock()
		return nil
	}
	s.state = Stopped
	drained := make(chan struct{})
	s.drained = drained
	if s.runs == 0 {
		close(drained)
	}
	cancel := s.cancel
	s.table.Swap(nil)
	s.mu.Unlock()

	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = fmt.Errorf("stop: runs were killed: %w", context.Cause(ctx))
		cancel(ErrStopped)
		<-drained
	}
	cancel(ErrStopped)

	s.change.Lock()
	defer s.change.Unlock()
	s.mu.Lock()
	p := s.pipeline
	s.pipeline = nil
	s.mu.Unlock()
	return errors.Join(err, p.Close())
}

// begin counts a run in; its end is done.
func (s *Service) begin() (p Pipeline, all context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != Running {
		return nil, nil, fmt.Errorf("run: %w: it is %s", ErrNotRunning, s.state)
	}
	s.runs++
	return s.pipeline, s.ctx, nil
}

func (s *Service) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs--; s.runs == 0 && s.drained != nil {
		close(s.drained)
	}
}

// apply puts what was loaded in force, unless the service was stopped
// meanwhile, then tells of it. Preconditions: change is held.
func (s *Service) apply(l Loading) {
	s.mu.Lock()
	if s.state == Running && len(l.Commands) > 0 {
		s.table.Swap(s.table.View().With(l.Commands))
	}
	s.mu.Unlock()
	s.tell(l)
}

// tell notes what was rejected and gives the events to subscribers.
// Preconditions: change is held.
func (s *Service) tell(l Loading) {
	for name := range l.Commands {
		delete(s.rejected, name)
	}
	for name, err := range l.Rejected {
		s.rejected[name] = &RejectedError{Name: name, Code: l.Codes[name], Err: err}
	}
	s.events.publish(l.Events)
}
