package nsexec

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/weak"
)

// The watcher is a second thread of init, which does nothing but wait in
// SECCOMP_IOCTL_NOTIF_RECV. It is there for the calls that a workload withdraws
// itself, by a signal to the caller: poll(2) looks at what is pending and
// never tells of them, but the receive counts what was handed over, before
// it looks for it, and then ends with ENOENT (seccomp_notify_recv in
// kernel/seccomp.c). A thread, because nothing inside can signal or stop a
// thread of PID 1, and PID 2 must stay the workload's number; so it is made
// after PID 2, and finds what was counted before.
//
// What it cannot see: from Linux 6.11 on a process lets go of its filter when
// it ends, and the receive then ends with ENOENT for that as well. A call
// that was withdrawn passes unseen where every process of the run ends before
// this thread has run at all. Nothing of the workload is left then. And where
// the workload has filled its table before this thread could be made, a call
// that was withdrawn before init looked: the run ends for the table.

// watcher is what the thread works on.
type watcher struct {
	notif seccompNotif
	rec   Record
	fds   [1]unix.PollFd // the listener
	wait  unix.Timespec
	done  [1]unix.PollFd // an eventfd: nothing is there, and the thread ends
	one   uint64
	tid   uintptr
	stack uintptr         // its end
	act   kernelSigaction // of the signal that wakes it
	mask  uint64          // the signal that wakes it
	asked uint32          // init waits for done
}

// seccompNotif is struct seccomp_notif of linux/seccomp.h.
type seccompNotif struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

const (
	notifRecv = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	// wakeSignal interrupts the receive. Whoever else sends it has the watcher
	// go round once.
	wakeSignal = unix.SIGURG
	// watchStack is the size of its stack in bytes: a signal frame with all
	// vector registers is about 3 KiB, the frames of watch a few hundred.
	watchStack = 16 << 10
	// askAgain is how long init waits before it wakes the watcher again, in
	// nanoseconds: a signal that came just before the receive began is lost.
	// At ten times such a run ends visibly later.
	askAgain = 1_000_000
	// graceLook is how long init gives the supervisor to look at the stopped
	// processes of a violation, in seconds. Killing does not depend on it:
	// the supervisor kills as soon as it has seen enough; at a tenth a loaded
	// host would lose the program's name, at ten times a hanging supervisor
	// would keep a stopped run for seconds.
	graceLook = 1
	// countedIDs is how far init looks for tasks where it has no room for the
	// watcher. A new namespace gives ids in order, so these are what a run can
	// have made in its first milliseconds; looking at all takes some 5 ms.
	countedIDs = 32768
)

// cloneThread makes a thread that begins in watch(w).
func cloneThread(flags, stack, w uintptr) (tid, errno uintptr)

// handler gives the addresses of a signal handler that does nothing and of
// what returns from it.
func handler() (handle, restore uintptr)

// prepareWatch lays out what the watcher needs, and has init take its signal.
func (p *program) prepareWatch() {
	w := &p.world.watch
	w.mask = 1 << (wakeSignal - 1)
	w.one = 1
	p.begin("make", "", "init's watcher")
	if p.image == nil {
		w.place(addr(p.mem.alloc(watchStack)))
	}
	p.add(unix.SYS_RT_SIGACTION, uintptr(wakeSignal), uintptr(unsafe.Pointer(&w.act)), 0, 8)
	w.done[0] = unix.PollFd{Events: unix.POLLIN}
	fd := p.into(p.add(unix.SYS_EVENTFD2, 0, unix.EFD_CLOEXEC))
	p.add(opStore32, uintptr(unsafe.Pointer(&w.done[0].Fd)), 0).arg(1, fd)
}

// place gives the watcher what belongs to one process: its stack and the
// address of its signal's handler.
//
//go:nosplit
//go:norace
func (w *watcher) place(stack uintptr) {
	w.stack = (stack + watchStack) &^ 15
	const restorer = 0x04000000 // SA_RESTORER
	w.act.flags = restorer
	w.act.handler, w.act.restorer = handler()
}

// startWatch starts the thread; without it nothing may go on.
//
//go:nosplit
//go:norace
func startWatch(w *world) {
	w.watch.fds[0] = unix.PollFd{Fd: int32(w.slots[w.listener]), Events: unix.POLLIN}
	const flags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM
	if weak.Built && w.crowded {
		endUnwatched(w, uint32(unix.EAGAIN))
	}
	tid, e := cloneThread(flags, w.watch.stack, uintptr(unsafe.Pointer(w)))
	if e != 0 {
		endUnwatched(w, uint32(e))
	}
	w.watch.tid = tid
}

// endUnwatched ends the namespace where the thread cannot be made. The program
// has been executed, and may have filled its table: a call that was refused by
// now is a violation all the same, withdrawn since or not.
//
//go:noinline
//go:nosplit
//go:norace
func endUnwatched(w *world, errno uint32) {
	// While they live: whoever has as many as it may is who took the room.
	w.rec.Tasks = 1
	for id := uintptr(2); id <= countedIDs; id++ {
		if _, _, e := syscall.RawSyscall(unix.SYS_KILL, id, 0, 0); e != unix.ESRCH {
			w.rec.Tasks++
		}
	}
	w.watch.wait = unix.Timespec{}
	syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&w.watch.fds)), 1, uintptr(unsafe.Pointer(&w.watch.wait)), 0, 0, 0)
	if w.watch.fds[0].Revents&unix.POLLIN != 0 {
		// This does not wait: poll has seen what it counts.
		_, _, e := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(w.watch.fds[0].Fd), notifRecv, uintptr(unsafe.Pointer(&w.watch.notif)))
		takeViolation(w, e == 0)
	}
	// Before the listener closes with init: who waits for the answer to a call
	// would get ENOSYS, and run on until the namespace is killed.
	syscall.RawSyscall(unix.SYS_KILL, ^uintptr(0), uintptr(unix.SIGKILL), 0)
	w.rec.Kind, w.rec.Errno = Unwatched, errno
	say(w, &w.rec)
	exit(statusFailed)
}

// settleWatch returns when no refused call is there that the watcher has not
// seen. When one is it does not return: the watcher ends the namespace.
//
//go:nosplit
//go:norace
func settleWatch(w *world) {
	w.watch.asked = 1
	for {
		syscall.RawSyscall(unix.SYS_TGKILL, 1, w.watch.tid, uintptr(wakeSignal))
		w.wait.Sec, w.wait.Nsec = 0, askAgain
		w.watch.done[0].Revents = 0
		n, _, _ := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&w.watch.done)), 1, uintptr(unsafe.Pointer(&w.wait)), 0, 0, 0)
		if n == 1 {
			return
		}
	}
}

// watch is the thread.
//
//lint:ignore U1000 clone_*.s calls it
//go:nosplit
//go:norace
func watch(at uintptr) {
	w := (*world)(pointer(at))
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_UNBLOCK, uintptr(unsafe.Pointer(&w.watch.mask)), 0, 8, 0, 0)
	for {
		_, _, e := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(w.watch.fds[0].Fd), notifRecv, uintptr(unsafe.Pointer(&w.watch.notif)))
		switch e {
		case 0:
			takeViolation(w, true)
		case unix.EINTR:
			if w.watch.asked != 0 {
				endWatch(w)
			}
		case unix.ENOENT:
			w.watch.fds[0].Revents, w.watch.wait = 0, unix.Timespec{}
			syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&w.watch.fds)), 1, uintptr(unsafe.Pointer(&w.watch.wait)), 0, 0, 0)
			if w.watch.fds[0].Revents&unix.POLLHUP == 0 {
				takeViolation(w, false)
			}
			endWatch(w)
		default:
			exit(statusFailed)
		}
	}
}

// endWatch says that there is nothing, and ends the thread.
//
//go:nosplit
//go:norace
func endWatch(w *world) {
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(w.watch.done[0].Fd), uintptr(unsafe.Pointer(&w.watch.one)), 8)
	for {
		syscall.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	}
}

// takeViolation stops the run, reports the refused call, if it is known, and
// ends the namespace. The call is never answered, so it never executes.
//
//go:nosplit
//go:norace
func takeViolation(w *world, known bool) {
	rec, notif := &w.watch.rec, &w.watch.notif
	rec.Kind = Violation
	// Not known: a signal withdrew the call. It did not run, and it is a
	// violation all the same.
	if known {
		rec.Known = 1
		rec.NR, rec.Arch, rec.IP, rec.PID = notif.nr, notif.arch, notif.ip, notif.pid
		rec.Args = notif.args
	}
	// After the receive: a signal before it would withdraw the notification.
	syscall.RawSyscall(unix.SYS_KILL, ^uintptr(0), uintptr(unix.SIGSTOP), 0)
	say(w, rec)
	w.watch.fds[0] = unix.PollFd{Fd: control, Events: unix.POLLIN}
	w.watch.wait.Sec = graceLook
	syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&w.watch.fds)), 1, uintptr(unsafe.Pointer(&w.watch.wait)), 0, 0, 0)
	exit(159)
}
