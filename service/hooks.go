package service

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sbx-project/sbx/runner"
)

// Before is called before each run. An error refuses the run (status 126); the
// hooks behind it are not called. When the host changed so that the command
// had to be compiled anew, hooks and validators are called once more, for the
// run that then takes place.
type Before func(ctx context.Context, call Call) error

// After is called with the report of each run that was not refused by a hook
// or a validator. It must not change the report.
type After func(ctx context.Context, call Call, report *runner.Report)

// Validator looks at the arguments of a call before it is run. An error is for
// the caller, as that of an argument that the command does not take (125).
type Validator func(ctx context.Context, call Call) error

// hooks are what is called around a run. A run takes one list as it begins
// and keeps it: what is added or removed meanwhile counts from the next.
type hooks struct {
	mu   sync.Mutex // of writers
	list atomic.Pointer[[]*hook]
}

// hook is one of the three.
type hook struct {
	before   Before
	after    After
	validate Validator
	command  string // of validate; empty: every command
}

func (h *hooks) now() []*hook {
	if p := h.list.Load(); p != nil {
		return *p
	}
	return nil
}

func (h *hooks) add(one *hook) (remove func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := append(slices.Clone(h.now()), one)
	h.list.Store(&next)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		next := slices.DeleteFunc(slices.Clone(h.now()), func(o *hook) bool { return o == one })
		h.list.Store(&next)
	}
}

// Before adds a hook that is called before each run, in the order of adding.
// remove takes it out; it may be called more than once, and does not wait for
// runs that have begun.
func (s *Service) Before(f Before) (remove func()) { return s.hooks.add(&hook{before: f}) }

// After adds a hook that is called after each run, in the reverse order of
// adding. remove is that of Before.
func (s *Service) After(f After) (remove func()) { return s.hooks.add(&hook{after: f}) }

// Validate adds a validator of the arguments of one command, or of every
// command when name is empty. Validators are called before the hooks, in the
// order of adding; the first error counts. remove is that of Before.
func (s *Service) Validate(name string, f Validator) (remove func()) {
	return s.hooks.add(&hook{validate: f, command: name})
}
