package runner

import (
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/weak"
	"github.com/sbx-project/sbx/nsexec"
)

// Prepared is a sandbox that waits for a call: control group, namespaces,
// view and ids are there, and nothing of any caller. It is for one call of one
// plan with the ids that it was prepared for, and not safe for concurrent use.
type Prepared struct {
	r    *run
	made time.Time
}

// ErrNotPreparable says that a plan's sandbox depends on the call.
var ErrNotPreparable = errors.New("the sandbox depends on the call")

// Preparable tells whether a sandbox of the plan can be made before its call:
// what it shows does not depend on who calls, nor from where.
func Preparable(p *plan.Plan) bool {
	for i := range p.View {
		if p.View[i].Flags&(plan.SourceCwd|plan.Mapped) != 0 {
			return false
		}
	}
	return p.Refusal == ""
}

// Prepare makes a sandbox for a call to come. Of the options Plan, HostUID,
// HostGID, IDBase, ID, Via, Audited, Leaves and Launcher count. null is a descriptor
// that tells nothing, of /dev/null; it stays the caller's. The caller must
// call Run or Discard.
func Prepare(o Options, null int) (*Prepared, error) {
	if !Preparable(o.Plan) {
		return nil, ErrNotPreparable
	}
	r := newRun(Options{
		Plan: o.Plan, HostUID: o.HostUID, HostGID: o.HostGID, IDBase: o.IDBase, ID: o.ID, Via: o.Via, Audited: o.Audited, Leaves: o.Leaves,
		Files: &[3]int{null, null, null},
	})
	r.configure()
	if !r.chooseIdentity() || !r.mapOwners() || !r.bound() {
		return nil, r.report.Err
	}
	var err error
	prepare := nsexec.Prepare
	if o.Launcher != nil {
		prepare = o.Launcher.Prepare
	}
	if r.stub, err = prepare(r.config); err != nil {
		r.release()
		return nil, err
	}
	p := &Prepared{r: r, made: time.Now()}
	if r.config.Identity.Mode == nsexec.LateUserNS {
		if err := p.identify(); err != nil {
			p.Discard()
			return nil, err
		}
	}
	return p, nil
}

// identify gives the sandbox's user namespace its ids.
func (p *Prepared) identify() error {
	stub := p.r.stub
	fds := []unix.PollFd{{Fd: int32(stub.ControlFD()), Events: unix.POLLIN}}
	const patience = 5 * time.Second // init has some hundred calls to make before
	for end := time.Now().Add(patience); ; {
		n, err := unix.Poll(fds, int(max(0, time.Until(end))/time.Millisecond))
		if err == unix.EINTR { // the runtime's own signals, or a launcher's end
			continue
		}
		if err != nil || n == 0 {
			return errors.New("init does not ask for its ids")
		}
		break
	}
	rec, err := stub.Next()
	if err != nil {
		return err
	}
	if rec.Kind != nsexec.NeedMaps {
		return errors.New(stub.StepName(rec.Step) + ": " + unix.Errno(rec.Errno).Error())
	}
	if err := stub.WriteMaps(p.r.hostIDs(stub.PID)); err != nil {
		return err
	}
	return stub.Proceed()
}

// ID is the run's id.
func (p *Prepared) ID() string { return p.r.report.Run }

// Made is when the sandbox was made.
func (p *Prepared) Made() time.Time { return p.made }

// Ready tells whether the sandbox still waits: one whose init has failed or
// was killed does not.
func (p *Prepared) Ready() bool {
	fds := []unix.PollFd{{Fd: int32(p.r.stub.ControlFD()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 0
}

// Discard ends a sandbox that is not used.
func (p *Prepared) Discard() {
	p.r.stub.Discard()
	p.r.release()
}

// Fits tells whether a call can be carried out by a sandbox that was prepared
// for p: limits that a control group holds are as they were then, nothing is
// shown besides, and arguments and environment are not too many.
func Fits(p *plan.Plan, o *Options) bool {
	a, b := p.Limits, o.Plan.Limits
	if a.MemoryMax != b.MemoryMax || a.PidsMax != b.PidsMax || a.CPUQuota != b.CPUQuota || a.CPUPeriod != b.CPUPeriod || a.CPUWeight != b.CPUWeight ||
		a.SwapSet != b.SwapSet || a.MemorySwapMax != b.MemorySwapMax || len(a.Required) != len(b.Required) || len(o.Rlimits) > 0 {
		return false
	}
	// Of the region that a call is handed over in, three quarters are left
	// for its filter, its operations and the rounding of its pages.
	const most = 256 << 10
	size := 0
	for _, list := range [...][]string{o.Args, o.Environ} {
		for _, s := range list {
			size += len(s) + 16
		}
	}
	return len(o.Trees) == 0 && size < most
}

// Run carries out a call, as the function Run would launch one. The options'
// plan is the one that the sandbox was prepared for, or a copy of it with
// tighter limits of time and output (Fits).
func (p *Prepared) Run(o Options) *Report {
	r := p.r
	was := r.Options
	r.Options = o
	r.HostUID, r.HostGID, r.IDBase, r.Leaves, r.ID, r.Via, r.Audited = was.HostUID, was.HostGID, was.IDBase, was.Leaves, was.ID, was.Via, was.Audited
	r.start = time.Now()
	r.config.Plan, r.config.Files = o.Plan, o.Files
	r.command()
	if !r.fitStreams() || !r.chooseDir() {
		r.report.Layers = nil // as of a run that was refused before there was any
		p.Discard()
		return r.report
	}
	defer r.release()
	r.boundTime()
	r.supervise()
	if r.child == nil { // it did not come to a launch
		r.stub.Discard()
	}
	r.report.Usage.Wall = time.Since(r.start)
	return r.report
}

// begin launches the run, or hands it over to the sandbox that was prepared.
func (r *run) begin() (*nsexec.Child, error) {
	if r.Adopt != nil {
		return r.child, nil
	}
	if r.stub == nil {
		return nsexec.Start(r.config)
	}
	if err := r.stub.Launch(r.config); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) { // then its record says why
		return nil, err
	}
	return r.stub.Child, nil
}

// configure begins the launch's configuration with what does not depend on
// the call.
func (r *run) configure() {
	r.config = nsexec.Config{Plan: r.Plan, CgroupFD: -1, Cwd: r.Cwd, TimeOffset: bootSeconds(), Files: r.Files}
	r.config.MakeNodes = os.Geteuid() == 0
	r.config.ResetSched = betterScheduled()
}

// command is what the workload is executed with.
func (r *run) command() {
	p := r.Plan
	r.config.Argv = append(append(make([]string, 0, len(p.Argv)+len(r.Args)), p.Argv...), r.Args...)
	if weak.Off("args") {
		r.config.Argv = slices.DeleteFunc(r.config.Argv, func(s string) bool { return s == "" })
	}
	r.config.Env = environment(p.Env, r.Environ)
}

// boundTime takes the tighter of the policy's timeout and the caller's.
func (r *run) boundTime() {
	if t := r.Plan.Limits.Timeout; r.Timeout == 0 || t > 0 && t < r.Timeout {
		r.Timeout = t
	}
}
