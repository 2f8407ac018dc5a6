package main

import (
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/sbx-project/sbx/internal/daemon"
	"github.com/sbx-project/sbx/internal/live"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/runner"
)

// commands are what the daemon serves: a registry that is kept in force, and
// the built-in one behind it.
type commands struct {
	set *live.Set
	// uses are the revisions of calls that are going on: their stored bundles
	// are shown to runs and stay.
	uses loader.Uses
	// hear is told of every change that came in force or was refused; it is
	// set before the daemon listens.
	mu   sync.Mutex
	hear func([]loader.Event)
	// early are the events before anybody heard.
	early []loader.Event
}

// openCommands loads the registry, "" for the built-in one alone, and keeps it
// in force until Close of the set.
func openCommands(dir string, list []string) (*commands, error) {
	var places []loader.Place
	if dir != "" {
		p, err := loader.OpenPlace(dir)
		if err != nil {
			return nil, err
		}
		places = append(places, p)
	}
	places = append(places, loader.BuiltinPlace())
	c := &commands{}
	o := loader.Options{Prover: loader.Subprocess{}, Registries: list, Notify: c.notify, InFlight: c.uses.Any}
	set, err := live.Start(places, live.Options{Loader: o})
	if errors.Is(err, loader.ErrHeld) {
		return nil, &statusError{125, err, "sbx status; one daemon serves a registry"}
	}
	if err != nil {
		return nil, err
	}
	c.set = set
	return c, nil
}

// notify hands events of the loader on.
func (c *commands) notify(events []loader.Event) {
	sayEvents(events)
	c.mu.Lock()
	hear := c.hear
	if hear == nil {
		c.early = append(c.early, events...)
	}
	c.mu.Unlock()
	if hear != nil {
		hear(events)
	}
}

// listen tells f of every event, those that were before it first.
func (c *commands) listen(f func([]loader.Event)) {
	c.mu.Lock()
	c.hear = f
	early := c.early
	c.early = nil
	c.mu.Unlock()
	if len(early) > 0 {
		f(early)
	}
}

// Lookup finds the command that the words begin with.
func (c *commands) Lookup(words []string) (daemon.Command, error) {
	e, used, err := c.set.Find(words)
	if err != nil {
		// Another registry of the caller's may have it; his own sbx knows.
		return daemon.Command{}, daemon.ErrElsewhere
	}
	p, err := c.set.Plan(e)
	if err == nil && !hostFresh(p) {
		// A program or a library was replaced: a watch of the registry does
		// not see that.
		p, err = c.set.Renew(e.Name)
	}
	if err != nil {
		status, hints := statusOf(err)
		hint := ""
		for _, h := range hints {
			if h != "" {
				hint += h + "\n"
			}
		}
		return daemon.Command{}, &daemon.RefusedError{Status: status, Err: err, Hint: hint}
	}
	c.uses.Begin(p.Revision)
	return daemon.Command{
		Plan: p, Used: used, Builtin: p.Key == state.BuiltinKey, Users: p.AllowUsers, Groups: p.AllowGroups, Done: func() { c.uses.End(p.Revision) },
	}, nil
}

// hostFresh tells whether the program, and what it is linked with, are those
// of the plan. What belongs to the registry is the loader's to watch.
func hostFresh(p *plan.Plan) bool {
	for i := range p.Stamps {
		s := &p.Stamps[i]
		if loader.AsksAgain(s) {
			continue
		}
		if slices.ContainsFunc(p.Registries, func(dir string) bool { return within(dir, s.Path) }) {
			continue
		}
		if !state.Matches(s) {
			return false
		}
	}
	return true
}

// within tells whether path is dir or below it; both are absolute and clean.
func within(dir, path string) bool {
	return path == dir || len(path) > len(dir) && path[:len(dir)] == dir && path[len(dir)] == '/'
}

// Ended counts how the run ended, and has a violation in probation acted on.
func (c *commands) Ended(cmd daemon.Command, r *runner.Report) {
	if !cmd.Plan.Counts || r.Outcome == runner.Refused || r.Outcome == runner.SetupError {
		return
	}
	violation := ""
	if r.Outcome == runner.Violation {
		violation = "unknown"
		if len(r.Violations) > 0 && r.Violations[0].Syscall != "" {
			violation = r.Violations[0].Syscall
		}
	}
	back, err := c.set.Ended(cmd.Plan, r.Run, violation)
	r.Counted, r.RevertedTo = err == nil, back
	if err != nil {
		c.notify([]loader.Event{{Kind: loader.Damaged, Name: cmd.Plan.Command, Reason: err.Error(), Err: err}})
	}
}

// Reload looks at everything now.
func (c *commands) Reload() daemon.Reload {
	before := c.generation()
	results, err := c.set.Reload()
	r := daemon.Reload{Generation: c.generation(), Rejected: map[string]string{}, Verdicts: map[string]int{}, Err: err, Time: time.Now()}
	for name, one := range results {
		if one.Err != nil && !errors.Is(one.Err, fs.ErrNotExist) && !errors.Is(one.Err, registry.ErrNotFound) {
			r.Rejected[name] = one.Err.Error()
			if code := loader.Code(one.Err); code != 0 {
				r.Verdicts[name] = int(code)
			}
		}
	}
	for name, e := range c.set.View().All() {
		if e.Registry != "" && e.Command.Generation > before {
			r.Changed = append(r.Changed, name)
		}
	}
	slices.Sort(r.Changed)
	return r
}

// generation is the number in force in the served registry.
func (c *commands) generation() uint64 { return c.set.First().Snapshot().Generation }
