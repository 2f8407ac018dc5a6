// Package observe ties what the daemon does to what an operator sees: the audit
// log, the events, the admin API. Make a [Desk], give it to the daemon as its
// Observer and to the admin server as Source and Controller, and attach the
// daemon once it is there.
package observe

import (
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sbx-project/sbx/internal/admin"
	"github.com/sbx-project/sbx/internal/audit"
	"github.com/sbx-project/sbx/internal/daemon"
	"github.com/sbx-project/sbx/runner"
)

// Daemon is what a desk asks of the daemon: *daemon.Server.
type Daemon interface {
	Runs() []daemon.RunInfo
	Kill(run string) bool
	Draining() bool
	Reload() daemon.Reload
}

// Registry is what a desk asks of whoever holds the registry. Its methods are
// called by several goroutines at once and return values that nobody changes.
type Registry interface {
	// Generation is the one in force.
	Generation() uint64
	// Commands lists every command by name.
	Commands() []admin.Command
	// Generations lists those that are kept, newest first.
	Generations() ([]admin.Generation, error)
	// Operate carries out an operator's act, in the name of by. Errors are
	// those of admin.Controller.
	Operate(by string, act admin.Act, expected *uint64) (admin.Operated, error)
}

// Options of a desk. Audit, Events and Registry are required.
type Options struct {
	Version, Build string
	// Registries are the directories that are served.
	Registries []string
	// Weakened are the sentences about this host for the status.
	Weakened []string
	Audit    *audit.Log
	Events   *admin.Hub
	Registry Registry
	// Log takes what could not be recorded; nil: slog's default.
	Log *slog.Logger
}

// Desk is an Observer of the daemon and the Source and Controller of the
// admin API. Safe for concurrent use.
type Desk struct {
	opt     Options
	started time.Time

	reloading sync.Mutex // held during a reload that somebody asked for

	mu     sync.Mutex
	daemon Daemon
	reload *admin.Reload
	lastOK *time.Time
}

// New makes a desk. Before Attach it answers that the daemon is not ready.
func New(opt Options) *Desk {
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	return &Desk{opt: opt, started: time.Now().UTC()}
}

// Attach gives the desk its daemon: from here on it is ready.
func (d *Desk) Attach(daemon Daemon) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.daemon = daemon
}

func (d *Desk) attached() Daemon {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.daemon
}

// RunStarted records a run. An error refuses it.
func (d *Desk) RunStarted(i daemon.RunInfo) error {
	_, err := d.opt.Audit.Append(audit.Record{
		Event: audit.Start, Run: i.Run, Command: i.Command, Version: i.Version, Revision: i.Revision, Generation: i.Generation,
		Caller: caller(i.Caller), Args: i.Args,
	})
	if err != nil {
		return err
	}
	uid := i.Caller.UID
	d.opt.Events.Publish(admin.Event{
		Kind: admin.RunStarted, Run: i.Run, Command: i.Command, Version: i.Version, Revision: i.Revision, Generation: i.Generation, UID: &uid,
	})
	return nil
}

// RunEnded records how a run ended. What it changed is told by Changed.
func (d *Desk) RunEnded(i daemon.RunInfo, r *runner.Report) {
	status, uid := r.ExitCode, i.Caller.UID
	reason := ""
	if r.Err != nil {
		reason = r.Err.Error()
	}
	rec := audit.Record{
		Event: audit.Run, Run: i.Run, Command: i.Command, Version: i.Version, Revision: i.Revision, Generation: i.Generation, Caller: caller(i.Caller), Args: i.Args,
		Outcome: string(r.Outcome), ExitCode: &status, Signal: int(r.Signal), Step: r.Step, Wall: r.Usage.Wall.Seconds(), Reason: reason,
	}
	e := admin.Event{
		Kind: admin.RunEnded, Run: i.Run, Command: i.Command, Version: i.Version, Revision: i.Revision, Generation: i.Generation, UID: &uid,
		Outcome: string(r.Outcome), ExitCode: &status, Seconds: r.Usage.Wall.Seconds(), Reason: reason,
	}
	for _, l := range r.Layers {
		if l.State != runner.Applied {
			rec.Degraded = append(rec.Degraded, l.Name)
		}
	}
	for _, c := range r.Violations {
		rec.Violations = append(rec.Violations, audit.Violation{Kind: c.Kind, Syscall: c.Syscall, NR: c.NR, Arch: c.Arch, Comm: c.Comm, Path: c.Path, Address: c.Address, Rule: c.Rule})
		e.Violations = append(e.Violations, admin.Violation{Kind: c.Kind, Syscall: c.Syscall, Comm: c.Comm, Path: c.Path, Rule: c.Rule, AllowWith: c.AllowWith})
	}
	d.record(rec)
	d.opt.Events.Publish(e)
}

// Refused records a request that became no run.
func (d *Desk) Refused(r daemon.Refusal) {
	status, uid := r.Status, r.Caller.UID
	d.record(audit.Record{Event: audit.Refusal, Command: r.Command, Caller: caller(r.Caller), ExitCode: &status, Outcome: string(runner.Refused), Reason: r.Reason})
	d.opt.Events.Publish(admin.Event{Kind: admin.RunRefused, Command: r.Command, UID: &uid, ExitCode: &status, Reason: r.Reason, Time: r.Time})
}

// Reloaded records what came of a reload.
func (d *Desk) Reloaded(r daemon.Reload) {
	res := d.keep(r)
	rec := audit.Record{Event: audit.Reload, Generation: r.Generation, Verdict: 200, Reason: res.Error}
	if !res.Loaded {
		rec.Verdict = 0
	}
	records := []audit.Record{rec}
	// What changed is told by Changed; what was rejected before, and still is,
	// by nobody else.
	for _, c := range res.Rejected {
		records = append(records, audit.Record{Event: audit.Change, Command: c.Command, Generation: r.Generation, Outcome: string(admin.NotTaken), Reason: c.Reason, Verdict: c.Verdict})
	}
	d.record(records...)
	d.opt.Events.Publish(admin.Event{Kind: admin.Reloaded, Generation: r.Generation, Reload: &res, Time: r.Time})
}

// Change is what happened to one command, by a change on disk, a violation or
// an operator.
type Change struct {
	Kind admin.Kind
	// Version and Revision are what the change is about: what was put in
	// force, refused, or taken out. Run is the run that led to it, if any.
	Command, Run, Version, Revision string
	// InForce is the version in force afterwards, To its digest after a
	// Reverted; Generation the number.
	InForce, To string
	Generation  uint64
	// Operator is set for what a person did, which has a record of its own.
	Operator bool
	// Verdict is 200, 409, 412, or 0 where none was asked; Reason says why.
	Verdict int
	Reason  string
}

// Changed records what happened to commands at once. A change on disk counts as
// a reload of its own in the status.
func (d *Desk) Changed(changes ...Change) {
	records := make([]audit.Record, len(changes))
	for i, c := range changes {
		records[i] = d.change(c)
	}
	d.record(records...)
	for _, c := range changes {
		d.opt.Events.Publish(admin.Event{
			Kind: c.Kind, Command: c.Command, Run: c.Run, Version: c.Version, Revision: c.Revision, InForce: c.InForce, Generation: c.Generation, Verdict: c.Verdict, Reason: c.Reason,
		})
	}
}

// change is the record of one change, which the status has from here on.
func (d *Desk) change(c Change) audit.Record {
	event := audit.Change
	switch c.Kind {
	case admin.Reverted:
		if !c.Operator {
			event = audit.Revert
		}
	case admin.Quarantine:
		event = audit.Quarantine
	case admin.NotTaken, admin.Distrusted:
		d.keep(daemon.Reload{Generation: c.Generation, Rejected: map[string]string{c.Command: c.Reason}, Verdicts: map[string]int{c.Command: c.Verdict}, Time: time.Now()})
	case admin.Registered, admin.Replaced, admin.Rebuilt, admin.RetiredKind:
		d.keep(daemon.Reload{Generation: c.Generation, Changed: []string{c.Command}, Time: time.Now()})
	}
	return audit.Record{
		Event: event, Command: c.Command, Run: c.Run, Version: c.Version, Revision: c.Revision, Generation: c.Generation, Outcome: string(c.Kind), Verdict: c.Verdict, Reason: c.Reason, RevertedTo: c.To,
	}
}

// keep remembers a reload, in the API's form.
func (d *Desk) keep(r daemon.Reload) admin.Reload {
	res := view(r)
	d.mu.Lock()
	defer d.mu.Unlock()
	if res.Loaded {
		d.lastOK = &res.Time
	}
	res.LastSuccess = d.lastOK
	d.reload = &res
	return res
}

// view turns a reload into the API's form.
func view(r daemon.Reload) admin.Reload {
	at := r.Time.UTC()
	res := admin.Reload{Time: at, Generation: r.Generation, Changed: slices.Clone(r.Changed), Rejected: []admin.Rejection{}, Loaded: r.Err == nil && len(r.Rejected) == 0}
	if res.Changed == nil {
		res.Changed = []string{}
	}
	slices.Sort(res.Changed)
	if r.Err != nil {
		res.Error = r.Err.Error()
	}
	for name, why := range r.Rejected {
		res.Rejected = append(res.Rejected, admin.Rejection{Command: name, Reason: why, Verdict: r.Verdicts[name]})
	}
	slices.SortFunc(res.Rejected, func(a, b admin.Rejection) int {
		if a.Command < b.Command {
			return -1
		}
		return 1
	})
	return res
}

// record writes what has happened already. When it cannot be written no
// further run starts (RunStarted), and the log of the daemon has it.
func (d *Desk) record(records ...audit.Record) {
	_, err := d.opt.Audit.Append(records...)
	if err == nil {
		return
	}
	for _, r := range records { // which of them are there is not known
		d.opt.Log.Error("not in the audit log", "event", r.Event, "run", r.Run, "command", r.Command, "error", err)
	}
}

// Writable is for audit.Options: it tells whoever reads the events or the log
// that no run starts, and that runs start again.
func Writable(events *admin.Hub, to *slog.Logger) func(error) {
	return func(err error) {
		if err != nil {
			to.Error("the audit log cannot be written: no run starts", "error", err)
			events.Publish(admin.Event{Kind: admin.AuditLog, Reason: "no run starts: " + err.Error()})
			return
		}
		to.Info("the audit log can be written again")
		events.Publish(admin.Event{Kind: admin.AuditLog, Reason: "it can be written again"})
	}
}

func caller(c daemon.Caller) *audit.Caller {
	return &audit.Caller{UID: c.UID, GID: c.GID, PID: c.PID}
}

// Status is everything at a glance.
func (d *Desk) Status() admin.Status {
	server := d.attached()
	s := admin.Status{
		Version: d.opt.Version, Build: d.opt.Build, PID: os.Getpid(), Started: d.started, Registries: orEmpty(d.opt.Registries), Generation: d.opt.Registry.Generation(),
		Weakened: orEmpty(d.opt.Weakened), Commands: orEmpty(d.opt.Registry.Commands()),
	}
	if server != nil {
		s.InFlight, s.Draining = len(server.Runs()), server.Draining()
	}
	d.mu.Lock()
	s.Reload = d.reload
	d.mu.Unlock()
	seq, head := d.opt.Audit.Head()
	s.Audit = admin.Audit{Sequence: seq, Head: head.String()}
	if err := d.opt.Audit.Err(); err != nil {
		s.Audit.Error, s.Audit.Lasting = err.Error(), d.opt.Audit.Lasting()
	}
	s.Ready = server != nil && s.Audit.Error == ""
	return s
}

// Commands lists the commands.
func (d *Desk) Commands() admin.Commands {
	return admin.Commands{Generation: d.opt.Registry.Generation(), Commands: orEmpty(d.opt.Registry.Commands())}
}

// Generations lists the generations that are kept.
func (d *Desk) Generations() (admin.Generations, error) {
	list, err := d.opt.Registry.Generations()
	for i := range list {
		list[i].Changed = orEmpty(list[i].Changed)
	}
	return admin.Generations{Generation: d.opt.Registry.Generation(), Generations: orEmpty(list)}, err
}

// Runs lists the runs that are going, oldest first.
func (d *Desk) Runs() admin.Runs {
	res := admin.Runs{Runs: []admin.Run{}}
	server := d.attached()
	if server == nil {
		return res
	}
	for _, i := range server.Runs() {
		res.Runs = append(res.Runs, admin.Run{
			Run: i.Run, Command: i.Command, Version: i.Version, Revision: i.Revision, Generation: i.Generation,
			UID: i.Caller.UID, GID: i.Caller.GID, PID: i.Caller.PID, Args: i.Args, Started: i.Start.UTC(),
		})
	}
	slices.SortFunc(res.Runs, func(a, b admin.Run) int {
		if c := a.Started.Compare(b.Started); c != 0 {
			return c
		}
		if a.Run < b.Run {
			return -1
		}
		return 1
	})
	return res
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
