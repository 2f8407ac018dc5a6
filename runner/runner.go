// Package runner carries out one plan: it launches the sandbox, supervises
// it, classifies its end and reports. Use [Run]; the result is a [Report].
//
// It prints nothing, reads nothing of a registry and decides nothing about
// revisions. The promise: when Run returns, nothing of the run is left, and
// ExitCode is never 0 for a run that sbx killed or refused. Should the
// process die in between, the kernel ends the run: init holds the other end
// of a socket that only this process has.
package runner

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/cgroup"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/weak"
	"github.com/sbx-project/sbx/nsexec"
)

// Options are one invocation of a plan. The zero value of every field but
// Plan has a meaning.
type Options struct {
	// Plan is required.
	Plan *plan.Plan
	// Args follow Plan.Argv, byte for byte.
	Args []string
	// Trees are shown beside the plan's view: what the caller names by path
	// parameters. Each has Source equal to Path, a real path, and an
	// identity; nil shows none.
	Trees []plan.Step
	// Environ is the caller's environment, of which the plan's Pass names
	// are taken; nil passes nothing.
	Environ []string
	// Cwd is the caller's working directory, absolute; needed when the plan
	// shows it.
	Cwd string
	// CwdUnfit says why Cwd must not be shown: the plan is refused with it
	// if it shows it. Who runs a plan judges his own directory, since only he
	// knows where his registries and his state are; empty: it may be shown.
	CwdUnfit string
	// Chdir overrides where the workload starts; empty: the plan's.
	Chdir string
	// Rlimits are set after the plan's, each at most as high; one of
	// processes that is wider than what pids_max makes of it does not count.
	Rlimits []plan.Rlimit
	// Timeout, when not 0, is tighter than the plan's.
	Timeout time.Duration
	// Started is called with init's pid as soon as there is one.
	Started func(pid int)
	// Usage reads the cgroup's accounting at the end, for a report.
	Usage bool
	// HostUID and HostGID are the host ids of the run, without supplementary
	// groups, of a plan whose policy says `user: caller`: of the client that a
	// daemon serves. HostUID 0: a block of ids that own nothing when root
	// launches, else the launcher's own. HostGID 0 beside another HostUID
	// stands for the group with the user's number. Only root may give others
	// than its own; inside they are nsexec.InsideID as always.
	HostUID, HostGID uint32
	// IDBase is the first host id of the blocks for runs launched by root;
	// 0 means the plan's, then DefaultIDBase.
	IDBase uint32
	// Signals makes the run end when this process is told to end, and
	// forwards the others. One Run at a time may set it.
	Signals bool
	// Control is a connected seqpacket socket of who asked for the run, in
	// place of Signals: each message is a wire.TypeSignal and taken as that
	// signal sent to this process; its end kills the run. 0: none. It stays
	// the caller's.
	Control int
	// Files are the descriptors that become the workload's 0, 1 and 2, and
	// CwdFD the caller's working directory; nil and 0: this process's own.
	// They stay the caller's.
	Files *[3]int
	CwdFD int
	// ID is the run's id, unique on the host; empty: one is made.
	ID string
	// Via is direct or daemon; empty is direct.
	Via string
	// Audited: whoever asks for the run records it.
	Audited bool
	// Lay is memory for a launch that is laid out for the next calls
	// (Report.Laid); nil: none is.
	Lay []byte
	// Adopt is a run that was launched already, of this plan and with these
	// options; nil: Run launches.
	Adopt *Adopted
	// Launcher makes what Prepare prepares; nil: this process does.
	Launcher *nsexec.Launcher
	// Leaves is where the run's control group is made; nil: it is looked for.
	Leaves *cgroup.Parent
}

// Run launches and waits. It never returns an error: the report says it.
func Run(o Options) *Report {
	r := newRun(o)
	if !r.prepare() {
		if r.Adopt != nil {
			r.release()
		}
		return r.report
	}
	defer r.release()
	r.supervise()
	r.lay()
	r.report.Usage.Wall = time.Since(r.start)
	return r.report
}

func newRun(o Options) *run {
	p := o.Plan
	r := &run{Options: o, start: time.Now(), report: &Report{
		Command: p.Command, Version: p.Version, Revision: p.Revision, Generation: p.Generation,
		Via: o.Via, Counted: false, Outcome: SetupError, ExitCode: StatusSetup, Run: o.ID,
	}}
	if r.report.Via == "" {
		r.report.Via = "direct"
	}
	if o.Adopt != nil {
		r.adopt()
		r.start, r.report.Run = r.start.Add(-o.Adopt.Elapsed), o.Adopt.ID
	} else if o.ID == "" {
		r.report.Run = strconv.FormatInt(r.start.UnixNano(), 36) + "-" + strconv.Itoa(os.Getpid())
	}
	return r
}

// run is one run under way.
type run struct {
	Options
	start  time.Time
	report *Report
	config nsexec.Config
	stub   *nsexec.Stub // nil: the run is launched whole
	child  *nsexec.Child
	parent *cgroup.Parent
	leaf   *cgroup.Leaf
	noLeaf error
	owners []owner // of the mapped trees, in order
	who    user
	// fixedUID and fixedGID are the host ids when who is fixed.
	fixedUID, fixedGID uint32
	held               []cgroup.Held
	writes             []cgroup.Write // what set the limits that are held
	waited             bool           // for child
	watch              watch
	output             *output
	signals            signals
}

// refuse ends the run before it began.
func (r *run) refuse(status int, outcome Outcome, step string, err error, hint string) bool {
	r.report.ExitCode, r.report.Outcome, r.report.Step, r.report.Err, r.report.Hint = status, outcome, step, err, hint
	return false
}

func (r *run) prepare() bool {
	if !r.showTrees() {
		return false
	}
	r.configure()
	if r.CwdFD > 0 {
		st, err := r.stat(".")
		if err != nil {
			return r.refuse(StatusSetup, SetupError, "stat the working directory", err, "")
		}
		r.config.CwdStamp = plan.Stamp{Dev: st.Dev, Ino: st.Ino}
	}
	r.command()
	if !r.fitStreams() || !r.chooseIdentity() || !r.chooseDir() || !r.hideMasks() || !r.mapOwners() {
		return false
	}
	return r.bound()
}

// chooseDir picks the directory that the workload starts in.
func (r *run) chooseDir() bool {
	switch {
	case r.Chdir != "":
		r.config.Chdir = r.Chdir
	case r.Plan.Chdir != "":
		r.config.Chdir = r.Plan.Chdir
	default:
		r.config.Chdir = "/tmp"
	}
	for i := range r.Plan.View {
		if r.Plan.View[i].Flags&plan.SourceCwd == 0 {
			continue
		}
		why := r.CwdUnfit
		if why == "" {
			why = unfitCwd(r.Cwd, r.Plan.View, i)
		}
		if why != "" {
			return r.refuse(StatusRefused, Refused, "show "+strconv.Quote(r.Cwd), errors.New(why), hintCwd)
		}
		if r.Chdir == "" && r.Plan.Chdir == "" {
			r.config.Chdir = r.Cwd
		}
	}
	return true
}

// unfitCwd says why the view cannot show a working directory, whosoever it is,
// by its step at.
func unfitCwd(cwd string, view []plan.Step, at int) string {
	switch {
	case !strings.HasPrefix(cwd, "/"):
		return "the working directory has no path"
	case cwd == "/" || strings.Count(cwd, "/") == 1:
		return "a top-level directory is not shown"
	}
	for i := range view {
		s := &view[i]
		switch {
		case s.Flags&plan.SourceCwd != 0:
		case s.Kind == plan.Seal && s.Path != "/" && within(cwd, s.Path):
			return "the view hides " + strconv.Quote(s.Path)
		case i < at && s.Kind != plan.Dir && s.Kind != plan.Seal && within(s.Path, cwd):
			// What comes later lies on top of it.
			return "it would cover " + strconv.Quote(s.Path) + ", which the policy shows otherwise"
		}
	}
	return ""
}

// stat follows a path of the host; "." is the caller's working directory.
func (r *run) stat(path string) (st unix.Stat_t, err error) {
	if path == "." && r.CwdFD > 0 {
		return st, unix.Fstat(r.CwdFD, &st)
	}
	return st, unix.Stat(path, &st)
}

// file is the descriptor that becomes the workload's 0, 1 or 2.
func (r *run) file(n int) int {
	if r.Files != nil {
		return r.Files[n]
	}
	return n
}

// environment makes the workload's environment; the caller's is looked at
// for the names in Pass only.
func environment(e plan.Env, caller []string) []string {
	out := append(make([]string, 0, len(e.Set)+len(e.Pass)), e.Set...)
	if weak.Off("env") {
		return append(out, caller...)
	}
	for _, kv := range caller {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || name == "" || named(e.Set, name) {
			continue
		}
		for _, pattern := range e.Pass {
			prefix, wild := strings.CutSuffix(pattern, "*")
			if name == pattern || wild && strings.HasPrefix(name, prefix) {
				out = append(out, kv)
				break
			}
		}
	}
	return out
}

func named(set []string, name string) bool {
	for _, kv := range set {
		if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			return true
		}
	}
	return false
}

// betterScheduled tells whether this process has a scheduling class or a nice
// value that a run must not inherit: real time, deadline, or below 0.
func betterScheduled() bool {
	class, _, e := unix.RawSyscall(unix.SYS_SCHED_GETSCHEDULER, 0, 0, 0)
	const resetOnFork = 0x40000000
	class &^= resetOnFork
	if e != 0 || class == unix.SCHED_FIFO || class == unix.SCHED_RR || class == unix.SCHED_DEADLINE {
		return true
	}
	// The raw call answers 20 - nice (getpriority(2)).
	n, _, e := unix.RawSyscall(unix.SYS_GETPRIORITY, unix.PRIO_PROCESS, 0, 0)
	return e != 0 || n > 20
}

// bootSeconds is how long the host runs, in whole seconds.
func bootSeconds() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	return ts.Sec
}

func (r *run) layer(name string, s LayerState, why string) {
	r.report.Layers = append(r.report.Layers, Layer{name, s, why})
}

// errno is the errno in err, or 0.
func errno(err error) syscall.Errno {
	var e syscall.Errno
	errors.As(err, &e)
	return e
}
