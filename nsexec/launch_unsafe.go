package nsexec

import (
	"errors"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/weak"
)

// Child is a running sandbox: its init, PID 1 of the run, and the supervisor's end of
// the control socket. It is not safe for concurrent use, but for Signal.
type Child struct {
	// PID is the pid of init in the supervisor's namespace. It stays valid
	// until Wait returns, because nobody else reaps it.
	PID int

	control int
	steps   []stepName
	buf     [recordSize]byte
}

// ErrClone wraps the errno of a clone3(2) that made no child.
type ErrClone struct{ Errno syscall.Errno }

func (e *ErrClone) Error() string { return "clone3: " + e.Errno.Error() }
func (e *ErrClone) Unwrap() error { return e.Errno }

// Start clones the sandbox of c. On success the caller owns the Child: it
// must read records with Next, and call Wait exactly once. Errors are *ErrClone and
// *ErrNetwork for what the kernel refused.
//
// The parent-death signal that backs up the control socket is bound to the
// calling thread. Go ends a thread only with a goroutine that was locked to
// it, so nobody needs to lock one here; locking would start another thread.
func Start(c Config) (*Child, error) {
	child, _, err := start(c, false)
	return child, err
}

func start(c Config, stub bool) (*Child, *program, error) {
	if c.Identity.Mode < OwnUser || c.Identity.Mode > NoUserNS {
		return nil, nil, errors.New("nsexec: no identity mode (this is a bug)")
	}
	if c.Plan.Capabilities != 0 && c.Identity.Mode == NoUserNS {
		return nil, nil, errors.New("nsexec: capabilities without a user namespace would count on the host (this is a bug)")
	}
	if err := weak.Err("socketpair"); err != nil {
		return nil, nil, errors.New("socketpair: " + err.Error())
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, errors.New("socketpair: " + err.Error())
	}
	p, err := assemble(c, pair, stub)
	if err != nil {
		unix.Close(pair[0])
		unix.Close(pair[1])
		return nil, nil, err
	}
	pid, errno := 0, syscall.Errno(0)
	if weak.Err("clone") != nil {
		errno = unix.EIO
	} else {
		pid, errno = clone(p, c)
	}
	if errno == 0 {
		err = p.net.give()
	}
	p.forget()
	unix.Close(pair[1])
	if errno != 0 {
		unix.Close(pair[0])
		p.unmapRegion()
		return nil, nil, &ErrClone{errno}
	}
	child := &Child{PID: pid, control: pair[0], steps: p.steps}
	if err != nil {
		child.Signal(unix.SIGKILL)
		child.Wait()
		p.unmapRegion()
		return nil, nil, err
	}
	return child, p, nil
}

// clone makes PID 1. It is a plain copy-on-write child, since it stays.
func clone(p *program, c Config) (int, syscall.Errno) {
	args := &unixCloneArgs{flags: cloneFlags(c, p.net.own >= 0), exitSignal: uint64(unix.SIGCHLD)}
	if c.CgroupFD >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(c.CgroupFD)
	}
	syscall.ForkLock.Lock()
	p.inherit(true)
	pid, errno := cloneInit(p.world, args)
	p.inherit(false)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(p)
	return int(pid), errno
}

// cloneFlags are those of PID 1, but for its control group. network: the
// supervisor makes the network namespace.
func cloneFlags(c Config, network bool) uint64 {
	flags := uint64(unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP | unix.CLONE_CLEAR_SIGHAND)
	if !network {
		flags |= unix.CLONE_NEWNET
	}
	if c.Identity.Mode == OwnUser {
		flags |= unix.CLONE_NEWUSER
	}
	return flags
}

// unixCloneArgs is struct clone_args of linux/sched.h up to cgroup (5.7).
type unixCloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// cloneInit blocks every signal of the thread, clones and, in the child,
// becomes init. The standard library does the same by
// runtime.syscall_runtime_BeforeFork; with CLONE_CLEAR_SIGHAND (Linux 5.5) in
// place of resetting handlers one by one nothing private of the runtime is
// needed.
//
//go:noinline
//go:nosplit
//go:norace
func cloneInit(w *world, args *unixCloneArgs) (uintptr, syscall.Errno) {
	var old uint64
	all := ^uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	pid, errno := cloneRaw(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	if errno == 0 && pid == 0 {
		beginInit(w)
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	return pid, syscall.Errno(errno)
}

// Next reads init's next record, waiting for it. It returns unix.EPIPE when
// init has gone.
func (c *Child) Next() (r Record, err error) {
	for {
		n, err := unix.Read(c.control, c.buf[:])
		// ECONNRESET comes once, and before the record, when init failed with
		// a message of ours unread (net/unix/af_unix.c, unix_release_sock).
		if err == unix.EINTR || err == unix.ECONNRESET {
			continue
		}
		if err != nil {
			return r, err
		}
		if n == 0 {
			return r, unix.EPIPE
		}
		r, ok := decodeRecord(c.buf[:n])
		if !ok {
			return r, errors.New("init sent a malformed record (this is a bug)")
		}
		return r, nil
	}
}

// ControlFD is the supervisor's end of the control socket: readable when there
// is a record or init has gone. It belongs to c.
func (c *Child) ControlFD() int { return c.control }

// StepName names the step of a Failed record.
func (c *Child) StepName(step uint32) string {
	if int(step) >= len(c.steps) {
		return "unknown step (this is a bug)"
	}
	return c.steps[step].String()
}

// Signal sends s to init, which forwards HUP, INT, QUIT, TERM, USR1, USR2,
// WINCH and CONT to the workload; SIGKILL ends the run. Safe for concurrent
// use until Wait is called.
func (c *Child) Signal(s syscall.Signal) error { return unix.Kill(c.PID, s) }

// Wait reaps init after its end and closes the control socket. The usage is
// that of init and of every process that it reaped.
func (c *Child) Wait() (unix.WaitStatus, unix.Rusage, error) {
	var ws unix.WaitStatus
	var ru unix.Rusage
	for {
		_, err := unix.Wait4(c.PID, &ws, 0, &ru)
		if err == unix.EINTR {
			continue
		}
		unix.Close(c.control)
		return ws, ru, err
	}
}
