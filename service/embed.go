package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/params"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/runner"
)

// EmbedOptions say how Embed keeps what a program registers.
type EmbedOptions struct {
	// Name tells this program's state from that of others: a segment of a
	// name. Required. One process at a time can have it.
	Name string
	// State is the directory for the state of all registries; empty: where
	// sbx has it.
	State string
}

// Embed is the pipeline of sbx itself, over what the program registers: each
// bundle is compiled, its checks are run in the sandbox, and it is stored in
// the chain of snapshots before it comes in force; runs are sandboxes of this
// process. Verdicts count as they do for sbx run: a violation in probation
// puts the last good revision back.
//
// Not for such bundles: parameters of type path, and {{cwd}}.
func Embed(o EmbedOptions) Open {
	return func(_ context.Context, memory *registry.Memory) (Pipeline, error) {
		if !policy.IsSegment(o.Name) {
			return nil, fmt.Errorf("embed: %q is not a name for the state", o.Name)
		}
		e := &embedded{memory: memory, key: "embedded-" + o.Name, state: o.State, manifests: map[string]registry.Manifest{}}
		if e.state == "" {
			e.state = state.Dir()
		}
		var err error
		e.loader, err = loader.OpenFor(loader.Place{Source: memory, Key: e.key, Owner: uint32(os.Geteuid())}, loader.Options{
			Prover: e, StateDir: e.state, InFlight: e.uses.Any,
			Notify: func(events []loader.Event) {
				for _, l := range events {
					e.events = append(e.events, Event{
						Kind: Kind(l.Kind), Name: l.Name, Version: l.Version, Digest: l.Digest, Generation: l.Generation, Code: Code(l.Code), Reason: l.Reason, Err: l.Err,
					})
					if l.Kind == loader.Reverted {
						e.back = l.InForce
					}
				}
			},
		})
		if err != nil {
			return nil, fmt.Errorf("embed %q: %w", o.Name, err)
		}
		return e, nil
	}
}

// embedded is a Pipeline over a loader.
type embedded struct {
	memory     *registry.Memory
	loader     *loader.Loader
	key, state string
	uses       loader.Uses // the revisions of runs that are going on

	// The rest belongs to whoever calls Load, Ended and Close, one after the
	// other.
	events    []Event
	back      string                       // the version of the last revert
	manifests map[string]registry.Manifest // by digest, of what is in force
}

// Load implements Pipeline.
func (e *embedded) Load(_ context.Context, names ...string) (Loading, error) {
	if len(names) == 0 {
		entries, err := e.memory.Names()
		if err != nil {
			return Loading{}, err
		}
		for _, entry := range entries {
			if !entry.Group {
				names = append(names, entry.Name)
			}
		}
	}
	if len(names) == 0 {
		return e.loading(nil), nil
	}
	results, err := e.loader.Load(names...)
	if err != nil {
		e.events = nil
		return Loading{}, err
	}
	return e.loading(results), nil
}

// loading turns what the loader says into what the service wants to know.
func (e *embedded) loading(results map[string]*loader.Result) Loading {
	l := Loading{Events: e.events, Commands: map[string]*Command{}, Rejected: map[string]error{}, Codes: map[string]Code{}}
	e.events = nil
	for _, name := range slices.Sorted(maps.Keys(results)) {
		r := results[name]
		if kind, _ := e.memory.Node(name); r.Err != nil && kind == registry.Command {
			l.Rejected[name], l.Codes[name] = r.Err, Code(loader.Code(r.Err))
		}
		l.Commands[name] = nil
		if r.Plan == nil {
			continue
		}
		m, err := e.manifest(name, r.Plan)
		if err != nil {
			l.Rejected[name] = errors.Join(r.Err, err)
			continue
		}
		l.Commands[name] = &Command{Manifest: m, Digest: r.Plan.Revision, Generation: r.Plan.Generation, Refusal: r.Plan.Refusal, Plan: r.Plan}
	}
	return l
}

// manifest is that of the revision in force, which need not be what is
// registered.
func (e *embedded) manifest(name string, p *plan.Plan) (registry.Manifest, error) {
	if p.Refusal != "" {
		return registry.Manifest{Name: name, Version: p.Version}, nil
	}
	if m, ok := e.manifests[p.Revision]; ok {
		return m, nil
	}
	b, err := e.memory.Load(name)
	if err != nil || b.Digest != p.Revision {
		stored, err := e.loader.Stored(name, p.Revision)
		if err != nil {
			return registry.Manifest{}, fmt.Errorf("read the stored %s: %w", name, err)
		}
		b = *stored
	}
	e.manifests[p.Revision] = b.Manifest
	return b.Manifest, nil
}

// Run implements Pipeline.
func (e *embedded) Run(ctx context.Context, c *Command, call Call) (*runner.Report, bool) {
	p := c.Plan.(*plan.Plan)
	e.uses.Begin(p.Revision)
	defer e.uses.End(p.Revision)
	if why, ok := state.Fresh(p, buildinfo.Build); !ok {
		return &runner.Report{Outcome: runner.Refused, ExitCode: runner.StatusRefused, Step: why, Stale: true}, false
	}
	report := launch(ctx, p, call)
	return report, e.record(p, report)
}

// record keeps how a run ended, where that counts, and tells whether it must
// be taken into account at once. It is what internal/ctl does for sbx run.
func (e *embedded) record(p *plan.Plan, r *runner.Report) (verdict bool) {
	if !p.Counts || r.Outcome == runner.Refused || r.Outcome == runner.SetupError || r.Step == helpStep {
		return false
	}
	violated := r.Outcome == runner.Violation
	if !p.Journal && !violated {
		r.Counted = true
		return false
	}
	rec := state.Record{Time: time.Now(), Run: r.Run, Command: p.Command, Revision: p.Revision}
	if violated {
		rec.Violation = "unknown"
		if len(r.Violations) > 0 && r.Violations[0].Syscall != "" {
			rec.Violation = r.Violations[0].Syscall
		}
	}
	add := state.Append
	if violated && p.Journal {
		add = state.AppendUrgent
	}
	// What is lost where this is not possible is one verdict; Counted says so.
	size, err := add(e.state, e.key, rec)
	r.Counted = err == nil
	return r.Counted && (violated || size >= state.SettleSize)
}

// Ended implements Pipeline.
func (e *embedded) Ended(c *Command, r *runner.Report) Loading {
	e.back = ""
	results, err := e.loader.Settle()
	if err != nil {
		// The journal has it; the next Load acts upon it.
		e.events = append(e.events, Event{Kind: Damaged, Name: c.Manifest.Name, Reason: err.Error(), Err: err})
	}
	r.RevertedTo = e.back
	return e.loading(results)
}

// Close implements Pipeline.
func (e *embedded) Close() error { return e.loader.Close() }

// Prove implements loader.Prover.
func (e *embedded) Prove(p *plan.Plan, argv []string) (loader.Proof, error) {
	said := &head{}
	r := launch(context.Background(), p, Call{Name: p.Command, Args: argv, Stdio: Stdio{Err: said}})
	proof := loader.Proof{Exit: r.ExitCode, Outcome: string(r.Outcome), Said: said.line()}
	if len(r.Violations) > 0 {
		proof.Violation = r.Violations[0].Syscall
	}
	if proof.Said == "" {
		proof.Said = r.Step
	}
	return proof, nil
}

// helpStep marks the report of a call that only asked for help.
const helpStep = "help"

// arguments makes what follows the plan's Argv.
func arguments(p *plan.Plan, args []string) ([]string, error) {
	var values []params.Value
	if p.Declared {
		var err error
		if values, err = params.Parse(p.Params, args); err != nil {
			return nil, err
		}
		for i := range values {
			if p.Params[i].Type == plan.ParamPath && len(values[i].Items) > 0 {
				return nil, fmt.Errorf("--%s: a path cannot be given to a command that a program registered", p.Params[i].Name)
			}
		}
	}
	out, err := params.Expand(p.Words, p.Params, values, "")
	if err == nil && !p.Declared {
		out = append(out, args...)
	}
	return out, err
}
