package nsexec

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/weak"
)

// perRound is how many signals and ended processes init takes before it looks
// at the supervisor again.
const perRound = 64

// serve is init's loop: it reaps, forwards signals, and ends the namespace
// with PID 2 or with the supervisor. Violations are taken by watch.
//
//go:nosplit
//go:norace
func serve(w *world, workload uintptr) {
	const (
		fromSupervisor = iota
		signals
	)
	for {
		w.fds[0].Revents, w.fds[1].Revents = 0, 0
		if _, _, e := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&w.fds)), 2, 0, 0, 0, 0); e != 0 && e != unix.EINTR {
			exit(statusFailed)
		}
		if w.fds[fromSupervisor].Revents != 0 {
			exit(statusOrphan)
		}
		// Bounded, here and below: whoever sends faster than this reads must
		// not keep it from the supervisor.
		for range perRound {
			n, _, _ := syscall.RawSyscall(unix.SYS_READ, uintptr(w.fds[signals].Fd), uintptr(unsafe.Pointer(&w.info)), unsafe.Sizeof(w.info))
			if n != unsafe.Sizeof(w.info) {
				break
			}
			// Only what comes from outside the namespace is forwarded: for
			// that the sender's pid reads 0.
			if w.info.Signo != uint32(unix.SIGCHLD) && w.info.Pid == 0 {
				syscall.RawSyscall(unix.SYS_KILL, workload, uintptr(w.info.Signo), 0)
			}
		}
		// The one place that reaps: a second one would lose PID 2's status.
		for range perRound {
			// First a look. Up to Linux 6.10 a process holds its filter until
			// it is reaped, and the watcher tells by that whether the
			// listener has hung up because a call was withdrawn or because
			// everybody is gone: PID 2 is reaped when the watcher has said
			// that there is nothing.
			_, _, e := syscall.RawSyscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&w.ended)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
			pid := uintptr(uint32(w.ended.pid))
			if weak.Built && workload == unset && e == unix.ECHILD {
				exit(0)
			}
			if e != 0 || pid == 0 {
				break
			}
			w.ended.pid = 0
			if pid == workload {
				// A call that was refused before this end is a violation.
				settleWatch(w)
			}
			w.status = 0
			syscall.RawSyscall6(unix.SYS_WAIT4, pid, uintptr(unsafe.Pointer(&w.status)), 0, 0, 0, 0)
			if pid == workload {
				w.rec.Kind, w.rec.Status = Exited, uint32(w.status)
				say(w, &w.rec)
				if weak.Built && w.linger {
					workload = unset
					continue
				}
				// The kernel kills and waits for whatever is left of the
				// namespace before the supervisor can reap us.
				exit(0)
			}
		}
	}
}

// childInfo is siginfo_t as waitid(2) fills it.
type childInfo struct {
	signo, errno, code, _ int32
	pid                   int32
	_                     [108]byte
}

var _ [128]byte = [unsafe.Sizeof(childInfo{})]byte{}
