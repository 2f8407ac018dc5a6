package runner

import (
	"strconv"
	"syscall"
	"time"
)

// Outcome is how a run ended. SPEC 2 lists the words.
type Outcome string

// The outcomes. OK and Exit are the workload's own end, with status 0 and
// another one.
const (
	OK           Outcome = "ok"
	Exit         Outcome = "exit"
	Signal       Outcome = "signal"
	Violation    Outcome = "violation"
	OOM          Outcome = "oom"
	Pids         Outcome = "pids"
	Timeout      Outcome = "timeout"
	OutputLimit  Outcome = "output-limit"
	EgressDenied Outcome = "egress-denied"
	DeviceDenied Outcome = "device-denied"
	Refused      Outcome = "refused"
	SetupError   Outcome = "setup-error"
	Canceled     Outcome = "canceled"
)

// Exit statuses of sbx itself.
const (
	StatusTimeout     = 124
	StatusSetup       = 125
	StatusRefused     = 126
	StatusNotFound    = 127
	StatusOOM         = 137
	StatusOutputLimit = 153
	StatusViolation   = 159
)

// LayerState says what became of a layer.
type LayerState string

// The states of a layer.
const (
	Applied  LayerState = "applied"
	Degraded LayerState = "degraded"
	NotHeld  LayerState = "refused"
)

// Layer is one kind of protection of one run.
type Layer struct {
	Name  string
	State LayerState
	// Why is empty for a layer that is applied.
	Why string
}

// Call is a refused call.
type Call struct {
	Kind string // "syscall"
	// Syscall is the name, or "syscall_NR" for a number without one.
	Syscall string
	NR      int32
	Arch    string
	Args    [6]uint64
	// PID is the thread inside the sandbox, Comm its name; both are empty
	// when they could not be had.
	PID  uint32
	Comm string
	// Path and Address are what an argument points to, where it is a path
	// or a socket address and could be read.
	Path, Address string
	// Rule says what refused the call, AllowWith the policy line that would
	// allow it.
	Rule, AllowWith string
}

// Usage is what a run used. Times are durations, sizes bytes.
type Usage struct {
	Wall, CPUUser, CPUSys        time.Duration
	MemPeak, MaxRSS, PidsPeak    uint64
	IORead, IOWrite, CtxSwitches uint64
}

// Report is everything that is known about one run after its end.
type Report struct {
	// ExitCode is what sbx ends with.
	ExitCode int
	// Signal is what killed the workload, 0 if none did.
	Signal  syscall.Signal
	Outcome Outcome
	// Step names the step of the launch that was not possible; Err is the
	// kernel's answer to it, Hint what mends it.
	Step string
	Err  error
	Hint string

	Run, Command, Version, Revision string
	Generation                      uint64
	Via                             string
	Counted                         bool
	Layers                          []Layer
	Violations                      []Call
	Usage                           Usage
	Changes                         []string
	RevertedTo                      string
	// Stale is set when the launch met a program that is not the one the
	// plan was made for: compile again.
	Stale bool
	// Unlaunched is set for an adopted run whose launch came to an end at one of
	// its steps: launch it, to have it run or to be told why not.
	Unlaunched bool
	// Laid is the launch for the next calls, where Options.Lay asked for it and
	// it can be.
	Laid *Laid
}

// JSON is the report as one line, in the order and with the names of SPEC 2.
// Strings that are not UTF-8 are written with U+FFFD.
func (r *Report) JSON() []byte {
	w := object{}
	w.num("exit-code", int64(r.ExitCode))
	w.num("signal", int64(r.Signal))
	w.str("outcome", string(r.Outcome))
	w.str("step", r.Step)
	w.str("run", r.Run)
	w.str("command", r.Command)
	w.str("version", r.Version)
	w.str("revision", r.Revision)
	w.num("generation", int64(r.Generation))
	w.str("via", r.Via)
	w.bool("counted", r.Counted)
	w.key("layers")
	w.list(len(r.Layers), func(i int) {
		l := &r.Layers[i]
		w.open()
		w.str("name", l.Name)
		w.str("state", string(l.State))
		w.str("why", l.Why)
		w.close()
	})
	w.key("violations")
	w.list(len(r.Violations), func(i int) { r.Violations[i].json(&w) })
	w.key("usage")
	w.open()
	u := &r.Usage
	w.seconds("time", u.CPUUser+u.CPUSys)
	w.seconds("time-wall", u.Wall)
	w.seconds("cpu-user", u.CPUUser)
	w.seconds("cpu-sys", u.CPUSys)
	w.num("cg-mem-peak", int64(u.MemPeak))
	w.num("max-rss", int64(u.MaxRSS))
	w.num("pids-peak", int64(u.PidsPeak))
	w.num("io-read", int64(u.IORead))
	w.num("io-write", int64(u.IOWrite))
	w.num("csw", int64(u.CtxSwitches))
	w.close()
	w.key("changes")
	w.list(len(r.Changes), func(i int) { w.text(r.Changes[i]) })
	w.str("reverted-to", r.RevertedTo)
	return w.line()
}

func (c *Call) json(w *object) {
	w.open()
	w.str("kind", c.Kind)
	w.str("syscall", c.Syscall)
	w.num("nr", int64(c.NR))
	w.str("arch", c.Arch)
	w.key("args")
	w.list(len(c.Args), func(i int) { w.b = strconv.AppendUint(w.b, c.Args[i], 10) })
	w.num("pid", int64(c.PID))
	w.str("comm", c.Comm)
	w.str("path", c.Path)
	w.str("address", c.Address)
	w.str("rule", c.Rule)
	w.str("allow-with", c.AllowWith)
	w.close()
}
