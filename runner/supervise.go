package runner

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/weak"
	"github.com/sbx-project/sbx/nsexec"
)

// supervise starts the run and sees it to its end.
func (r *run) supervise() {
	switch {
	case r.Control > 0:
		r.signals.from, r.signals.remote = r.Control, true
	case r.Signals:
		err := weak.Err("signals")
		if a := r.Adopt; a != nil {
			if r.signals.from = a.Signals; a.Told != 0 {
				r.signals.end, r.signals.kill = a.Told, time.Now().Add(grace)
			}
		} else if err == nil {
			err = r.signals.start()
		}
		if err != nil {
			r.refuse(StatusSetup, SetupError, "take signals", err, "")
			return
		}
	default:
		r.signals.from = -1
	}
	if r.Plan.Limits.OutputMax > 0 && !weak.Off("output") {
		if err := weak.Err("output"); err != nil {
			r.refuse(StatusSetup, SetupError, "bound the output", err, "")
			return
		}
		var err error
		if r.output, r.config.Output, err = startOutput(r.Plan.Limits.OutputMax, r.file(1), r.file(2)); err != nil {
			r.refuse(StatusSetup, SetupError, "bound the output", err, "")
			return
		}
	}
	child, err := r.begin()
	if r.output != nil {
		r.output.launched()
	}
	if err != nil {
		r.refuse(StatusSetup, SetupError, "launch", err, launchHint(err))
		return
	}
	r.child = child
	if r.Started != nil {
		r.Started(child.PID)
	}
	// All that does not touch the launch is done while the child sets the
	// sandbox up on another processor. (A place that is shared is swept by who
	// shares it.)
	if r.parent != nil && r.parent != r.Leaves {
		r.parent.Sweep()
	}
	last, killed := r.listen()
	cut := killed != "" || last.Kind == nsexec.Violation || last.Kind == nsexec.Unwatched
	if cut {
		r.kill()
	}
	ws, ru, _ := child.Wait()
	r.waited = true
	if r.output != nil {
		r.drain(cut)
		if killed == "" && r.output.passed.Load() {
			killed = OutputLimit
		}
	}
	r.report.Usage.CPUUser, r.report.Usage.CPUSys = time.Duration(ru.Utime.Nano()), time.Duration(ru.Stime.Nano())
	r.report.Usage.MaxRSS, r.report.Usage.CtxSwitches = uint64(ru.Maxrss)<<10, uint64(ru.Nvcsw+ru.Nivcsw)
	degraded := last.Degraded
	if killed != "" && lacksMDWE() {
		degraded |= nsexec.DegradedMDWE // init could not say it any more
	}
	r.report.Layers = append(r.report.Layers, r.launched(degraded)...)
	r.classify(last, killed, ws)
	if r.Usage && r.leaf != nil {
		if u, err := r.leaf.Usage(); err == nil {
			// What was killed with the namespace is in no rusage.
			r.report.Usage.CPUUser, r.report.Usage.CPUSys = max(u.CPUUser, r.report.Usage.CPUUser), max(u.CPUSys, r.report.Usage.CPUSys)
			r.report.Usage.MemPeak = max(u.MemPeak, r.report.Usage.MemPeak)
			r.report.Usage.PidsPeak, r.report.Usage.IORead, r.report.Usage.IOWrite = u.PidsPeak, u.IORead, u.IOWrite
		}
	}
}

// drain hands on what the run has written. For a run that ended by itself
// that takes as long as its reader does, but for a signal that tells this
// process to end.
func (r *run) drain(killed bool) {
	fds := [2]unix.PollFd{{Fd: int32(r.output.drained[0]), Events: unix.POLLIN}, {Fd: int32(r.signals.from), Events: unix.POLLIN}}
	deadline := time.Now().Add(drainTime)
	for {
		ms := -1
		if killed || r.signals.end != 0 {
			if ms = int(time.Until(deadline) / time.Millisecond); ms <= 0 {
				return
			}
		}
		fds[0].Revents, fds[1].Revents = 0, 0
		unix.Poll(fds[:], ms)
		if fds[0].Revents != 0 {
			return
		}
		if fds[1].Revents != 0 {
			r.signals.take(func(syscall.Signal) error { return nil })
			deadline = time.Now().Add(drainTime)
			if r.signals.gone {
				return // nobody is there to read
			}
		}
	}
}

// kill ends the whole run at once.
func (r *run) kill() {
	// The group first: where init dies alone, its listener is closed a moment
	// before its namespace is killed, and a thread that waits for the answer to
	// its call gets ENOSYS and runs until then.
	if r.leaf != nil {
		r.leaf.Kill()
	}
	r.child.Signal(unix.SIGKILL)
}

// listen waits for init's last word, or kills for a reason of its own.
func (r *run) listen() (last nsexec.Record, killed Outcome) {
	var deadline time.Time
	if r.Timeout > 0 {
		deadline = r.start.Add(r.Timeout)
	}
	if len(r.owners) > 0 {
		// EPIPE: init has failed before; its record says why.
		if err := r.sendMaps(); err != nil && !errors.Is(err, unix.EPIPE) {
			r.refuse(StatusSetup, SetupError, "map a writable tree", err, "")
			return last, SetupError
		}
	}
	for {
		if r.wait(deadline) {
			rec, err := r.child.Next()
			if err != nil {
				return last, "" // init has gone
			}
			switch rec.Kind {
			case nsexec.NeedMaps:
				err := r.child.WriteMaps(r.hostIDs(r.child.PID))
				if err == nil {
					err = r.child.Proceed()
				}
				if err != nil {
					r.refuse(StatusSetup, SetupError, "map the run's ids", err, "")
					return last, SetupError
				}
				continue
			case nsexec.Violation:
				r.report.Violations = []Call{describe(rec, r.child.PID, &r.Plan.Filter)}
			}
			return rec, ""
		}
		now := time.Now()
		switch {
		case r.output != nil && r.output.passed.Load():
			return last, OutputLimit
		case !deadline.IsZero() && !now.Before(deadline):
			return last, Timeout
		case r.signals.end != 0 && !weak.Off("grace") && !now.Before(r.signals.kill):
			return last, Canceled
		}
		if r.watch != (watch{}) {
			if o, passed := r.watch.passed(r); passed {
				return last, o
			}
		}
	}
}

// wait waits until init has something to say (true) or something else has to
// be looked at. Signals are forwarded here.
func (r *run) wait(deadline time.Time) bool {
	d := time.Duration(-1)
	sooner := func(t time.Time) {
		if left := max(0, time.Until(t)); d < 0 || left < d {
			d = left
		}
	}
	if !deadline.IsZero() {
		sooner(deadline)
	}
	if r.signals.end != 0 && !weak.Off("grace") {
		sooner(r.signals.kill)
	}
	if r.watch != (watch{}) && (d < 0 || d > watchInterval) {
		d = watchInterval
	}
	ms := -1
	if d >= 0 {
		ms = int(min((d+time.Millisecond-1)/time.Millisecond, 1<<30))
	}
	fds := [3]unix.PollFd{{Fd: int32(r.child.ControlFD()), Events: unix.POLLIN}, {Fd: int32(r.signals.from), Events: unix.POLLIN}, {Fd: -1, Events: unix.POLLIN}}
	if r.output != nil {
		fds[2].Fd = int32(r.output.wake[0])
	}
	if n, err := unix.Poll(fds[:], ms); err != nil || n == 0 {
		return false
	}
	if fds[1].Revents != 0 {
		r.signals.take(r.child.Signal)
	}
	return fds[0].Revents != 0
}

// sendMaps gives init a user namespace for each mapped tree.
func (r *run) sendMaps() error {
	fds := make([]int, 0, len(r.owners))
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, o := range r.owners {
		fd, err := nsexec.MapNamespace(o, r.hostIDs(r.child.PID))
		if err != nil {
			return err
		}
		fds = append(fds, fd)
	}
	return r.child.Proceed(fds...)
}

// classify turns what is known into the outcome and the exit status.
func (r *run) classify(last nsexec.Record, killed Outcome, init unix.WaitStatus) {
	rep := r.report
	end := func(o Outcome, status int) { rep.Outcome, rep.ExitCode = o, status }
	switch {
	case killed == SetupError: // said already
		return
	case last.Kind == nsexec.Violation:
		end(Violation, StatusViolation)
		return
	case last.Kind == nsexec.Failed:
		r.failed(last)
		return
	case last.Kind == nsexec.Unwatched:
		r.unwatched(last)
		return
	case killed == Timeout:
		end(Timeout, StatusTimeout)
		return
	case killed == OutputLimit:
		end(OutputLimit, StatusOutputLimit)
		return
	case killed == OOM || r.oomKilled(last):
		end(OOM, StatusOOM)
		rep.Signal = unix.SIGKILL
		return
	case killed == Pids:
		end(Pids, 128+int(unix.SIGKILL))
		rep.Signal = unix.SIGKILL
		return
	}
	if s := r.signals.end; s != 0 {
		end(Canceled, 128+int(s))
		rep.Signal = s
		return
	}
	ws := unix.WaitStatus(last.Status)
	if last.Kind != nsexec.Exited {
		// init died without a word: something outside killed it.
		ws = unix.WaitStatus(unix.SIGKILL)
		if init.Signaled() {
			ws = unix.WaitStatus(init.Signal())
		}
	}
	if weak.Off("status") {
		ws = 0
	}
	switch {
	case ws.Signaled():
		end(Signal, 128+int(ws.Signal()))
		rep.Signal = ws.Signal()
	case ws.ExitStatus() == 0:
		end(OK, 0)
	default:
		end(Exit, ws.ExitStatus())
		if r.metPidsMax() {
			rep.Outcome = Pids
		}
	}
}

// oomKilled: the kernel's memory killer ended the run. With
// memory.oom.group init goes as well, so its word may be missing.
func (r *run) oomKilled(last nsexec.Record) bool {
	ws := unix.WaitStatus(last.Status)
	if last.Kind == nsexec.Exited && !(ws.Signaled() && ws.Signal() == unix.SIGKILL) {
		return false
	}
	if r.leaf == nil || r.Plan.Limits.MemoryMax == 0 {
		return false
	}
	e, err := r.leaf.Events()
	return err == nil && e.OOMKill+e.OOMGroupKill > 0
}

// metPidsMax: a fork or clone of the run was refused for pids.max.
func (r *run) metPidsMax() bool {
	if r.leaf == nil || r.Plan.Limits.PidsMax == 0 {
		return false
	}
	e, err := r.leaf.Events()
	return err == nil && e.PidsMax > 0
}

// unwatched: the program was executed, and then there was no room for init's
// own thread (clone(2)): the run has taken what it may have, or the host has
// none.
func (r *run) unwatched(rec nsexec.Record) {
	rep, e := r.report, syscall.Errno(rec.Errno)
	// Without a group of its own EAGAIN is what the run has taken, or the host.
	took := r.watch.pids > 0 && uint64(rec.Tasks) >= r.watch.pids
	switch {
	case e == unix.EAGAIN && (took || r.metPidsMax()):
		rep.Outcome, rep.ExitCode, rep.Signal = Pids, 128+int(unix.SIGKILL), unix.SIGKILL
	case e == unix.ENOMEM && r.Plan.Limits.MemoryMax > 0:
		rep.Outcome, rep.ExitCode, rep.Signal = OOM, StatusOOM, unix.SIGKILL
	default:
		r.refuse(StatusSetup, SetupError, "make \"init's watcher\"", e, launchHint(e))
	}
}

// failed explains a launch that came to an end at one of its steps.
func (r *run) failed(rec nsexec.Record) {
	if r.Adopt != nil {
		// Nothing of the workload has run, and only a launch by this process
		// knows its steps.
		r.report.Unlaunched = true
		return
	}
	step, e := r.child.StepName(rec.Step), syscall.Errno(rec.Errno)
	var err error = e
	status, outcome, hint := StatusSetup, SetupError, ""
	switch {
	case e == unix.ESTALE:
		r.report.Stale = true
		err = errors.New("the file is not the one that was registered")
		status, outcome = StatusRefused, Refused
	case len(step) > 8 && step[:8] == "execute ":
		switch e {
		case unix.ENOENT:
			// The program was opened and verified; what is missing is its
			// interpreter inside the view.
			err = errors.New("its interpreter is not in the view")
			status, outcome = StatusRefused, Refused
		case unix.EACCES, unix.EPERM, unix.ENOEXEC, unix.ELIBBAD, unix.EISDIR, unix.ETXTBSY:
			status, outcome = StatusRefused, Refused
			if e == unix.EACCES && r.config.Identity.Mode != nsexec.OwnUser {
				hint = "the run has an id of its own: others need the right to execute the program"
			}
		}
	case len(step) > 7 && step[:7] == "change " && e == unix.ENOENT:
		hint = "the directory is not in the view"
	case step == `load "the filter"` && e == unix.EBUSY:
		err = errors.New("another seccomp listener watches over this process tree, and without one of its own sbx cannot kill a whole run for a refused call")
		hint = "run sbx outside the container or sandbox whose manager listens"
	case e == unix.EPERM && r.config.Identity.Mode == nsexec.OwnUser:
		hint = "user namespaces may be restricted here: see sbx doctor"
	}
	r.refuse(status, outcome, step, err, hint)
}

// launchHint says what mends a launch for which the kernel made no child or no
// network.
func launchHint(err error) string {
	if e := (*nsexec.ErrNetwork)(nil); errors.As(err, &e) && e.Errno == unix.ENOSPC {
		return "sysctl user.max_net_namespaces=10000"
	}
	switch errno(err) {
	case unix.EPERM:
		return "feature userns: user namespaces are not allowed here; see sbx doctor"
	case unix.ENOSPC, unix.EUSERS:
		return "feature userns: sysctl user.max_user_namespaces=10000"
	case unix.EAGAIN:
		return "too many processes: see ulimit -u and pids.max"
	case unix.ENOSYS:
		return "Linux 5.12 or newer is needed"
	}
	return ""
}
