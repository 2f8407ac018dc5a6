package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/runner"
)

// ErrRefused says that a command was found and is refused (status 126): it is
// quarantined, or a hook said no.
var ErrRefused = errors.New("refused")

// ErrArguments says that the arguments are not those of the command (125).
var ErrArguments = errors.New("wrong arguments")

// Get returns a command in force. The error matches ErrNotRunning,
// registry.ErrNotFound or, for a name that refuses, ErrRefused; then the
// command is returned too.
func (s *Service) Get(name string) (*Command, error) {
	c, ok := s.table.Get(name)
	if !ok {
		if s.State() != Running {
			return nil, s.notRunning("get " + name)
		}
		return nil, fmt.Errorf("get %q: %w", name, registry.ErrNotFound)
	}
	if c.Refusal != "" {
		return c, fmt.Errorf("get %q: %w: %s", name, ErrRefused, c.Refusal)
	}
	return c, nil
}

// Commands returns every command in force, sorted by name, as of one moment.
// The error is ErrNotRunning.
func (s *Service) Commands() ([]*Command, error) {
	view := s.table.View()
	if s.State() != Running {
		return nil, s.notRunning("commands")
	}
	out := make([]*Command, 0, view.Len())
	for _, c := range view.All() {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *Command) int { return strings.Compare(a.Manifest.Name, b.Manifest.Name) })
	return out, nil
}

// Run runs a command and waits for its end. The report is nil when the command
// was not run: the error then matches ErrNotRunning, registry.ErrNotFound,
// ErrRefused or ErrArguments. A run that failed is a report without an error.
// The end of ctx kills the run.
func (s *Service) Run(ctx context.Context, name string, args []string, io Stdio) (*runner.Report, error) {
	return s.Do(ctx, Call{Name: name, Args: args, Stdio: io})
}

// Do is Run with everything that a Call can say. Its Version and Digest, when
// they are not empty, must be those in force.
func (s *Service) Do(ctx context.Context, call Call) (*runner.Report, error) {
	p, all, err := s.begin()
	if err != nil {
		return nil, err
	}
	defer s.done()
	// Both the caller's end and a Stop that waits no longer end the run.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(all, func() { cancel(context.Cause(all)) })()

	report, err := s.once(ctx, p, call)
	if err == nil && report.Stale {
		// The host is not what the plan was made for: another plan, and once
		// more.
		if err := s.Reload(ctx, call.Name); err != nil {
			return nil, err
		}
		report, err = s.once(ctx, p, call)
	}
	return report, err
}

// once asks validators and hooks, and runs.
func (s *Service) once(ctx context.Context, p Pipeline, call Call) (*runner.Report, error) {
	c, err := s.Get(call.Name)
	if err != nil {
		return nil, err
	}
	version, digest := c.Manifest.Version, c.Digest
	if call.Version != "" && call.Version != version || call.Digest != "" && call.Digest != digest {
		return nil, fmt.Errorf("run %q: %w: in force is %s %s", call.Name, ErrRefused, version, digest)
	}
	call.Version, call.Digest, call.Args = version, digest, slices.Clone(call.Args)
	hooks := s.hooks.now()
	for _, h := range hooks {
		if h.validate == nil || h.command != "" && h.command != call.Name {
			continue
		}
		if err := h.validate(ctx, call.clone()); err != nil {
			return nil, fmt.Errorf("run %q: %w: %w", call.Name, ErrArguments, err)
		}
	}
	for _, h := range hooks {
		if h.before == nil {
			continue
		}
		if err := h.before(ctx, call.clone()); err != nil {
			return nil, fmt.Errorf("run %q: %w: %w", call.Name, ErrRefused, err)
		}
	}
	report, verdict := p.Run(ctx, c, call)
	if verdict {
		s.change.Lock()
		s.apply(p.Ended(c, report))
		s.change.Unlock()
	}
	for _, h := range slices.Backward(hooks) {
		if h.after != nil {
			h.after(ctx, call.clone(), report)
		}
	}
	return report, nil
}

// clone keeps hooks from changing what the run gets.
func (c Call) clone() Call {
	c.Args, c.Environ = slices.Clone(c.Args), slices.Clone(c.Environ)
	return c
}
