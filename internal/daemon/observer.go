package daemon

import (
	"time"

	"github.com/sbx-project/sbx/runner"
)

// Caller is who asked for a run, as the kernel says (SO_PEERCRED and
// SO_PEERGROUPS of unix(7)): ids in the daemon's own user namespace at the
// time of his connect(2).
type Caller struct {
	UID, GID uint32
	// PID is his process; it may have ended since.
	PID int32
	// Groups are his supplementary groups; nil where the kernel does not say.
	Groups []uint32
}

// RunInfo is one run that the daemon carries out. It is a value; nothing in
// it changes after RunStarted.
type RunInfo struct {
	// Run is its id, unique on the host: Report.Run is the same.
	Run string
	// Command, Version, Revision and Generation are those of the plan.
	Command, Version, Revision string
	Generation                 uint64
	Caller                     Caller
	// Start is when the request was accepted.
	Start time.Time
	// Args is the number of arguments that the caller gave. Their text is
	// his own and is told to nobody.
	Args int
}

// Refusal is a request that led to no run.
type Refusal struct {
	Caller Caller
	// Command is the name that was asked for, as far as it is known: at most
	// 300 bytes of letters, digits, dots and dashes.
	Command string
	// Status is the exit status that the caller was told, Reason why.
	Status int
	Reason string
	Time   time.Time
}

// Reload is one change of what is in force, or an attempt at one.
type Reload struct {
	// Generation is the number that is in force afterwards.
	Generation uint64
	// Changed names the commands that differ from before; Rejected those
	// whose candidate was not taken, with the reason.
	Changed  []string
	Rejected map[string]string
	// Verdicts are the codes of those of Rejected that have one: 409 or 412.
	Verdicts map[string]int
	// Err is set when nothing was loaded and the old generation stays.
	Err  error
	Time time.Time
}

// Observer is told what the daemon does: the audit log, metrics, events. Its
// methods are called by several goroutines at once, and the caller of a run
// waits for them.
type Observer interface {
	// RunStarted is called before anything is launched. An error refuses the
	// run: what cannot be recorded does not start.
	RunStarted(RunInfo) error
	// RunEnded follows every RunStarted that returned nil, once, after the
	// run has gone. The report is not to be changed.
	RunEnded(RunInfo, *runner.Report)
	// Refused is called for a request that is turned down before RunStarted,
	// or by it.
	Refused(Refusal)
	// Reloaded is called after a reload.
	Reloaded(Reload)
}

// LaunchObserver is an Observer who wants to know how long launches take.
type LaunchObserver interface {
	// RunLaunched is called when the workload runs, took after the request
	// was accepted.
	RunLaunched(i RunInfo, took time.Duration)
}

// Observers tells several observers, in order.
type Observers []Observer

// RunStarted asks them all. When one of them refuses, those before it are told
// by RunEnded that the run did not come about.
func (all Observers) RunStarted(i RunInfo) error {
	for n, o := range all {
		err := o.RunStarted(i)
		if err == nil {
			continue
		}
		r := unstarted(i, err)
		for _, told := range all[:n] {
			told.RunEnded(i, r)
		}
		return err
	}
	return nil
}

// RunLaunched tells those who want to know.
func (all Observers) RunLaunched(i RunInfo, took time.Duration) {
	for _, o := range all {
		if l, ok := o.(LaunchObserver); ok {
			l.RunLaunched(i, took)
		}
	}
}

// RunEnded tells them all.
func (all Observers) RunEnded(i RunInfo, r *runner.Report) {
	for _, o := range all {
		o.RunEnded(i, r)
	}
}

// Refused tells them all.
func (all Observers) Refused(r Refusal) {
	for _, o := range all {
		o.Refused(r)
	}
}

// Reloaded tells them all.
func (all Observers) Reloaded(r Reload) {
	for _, o := range all {
		o.Reloaded(r)
	}
}

// unstarted is the report of a run that could not be recorded.
func unstarted(i RunInfo, err error) *runner.Report {
	return &runner.Report{
		ExitCode: runner.StatusSetup, Outcome: runner.Refused, Step: "record the run", Err: err, Run: i.Run, Command: i.Command, Version: i.Version, Revision: i.Revision,
		Generation: i.Generation, Via: "daemon",
	}
}
