package nsexec

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is what runs in PID 1 and PID 2 of a sandbox between clone3(2)
// and execveat(2). It is a copy of a Go process of which only one thread was
// cloned, so here hold the rules of the standard library's own fork path
// (syscall.forkAndExecInChild): nosplit functions only, no allocation, no
// write of a pointer, nothing that may call the scheduler; raw system calls
// on memory that was laid out before. All signals are blocked from before
// the clone on, so no Go signal handler can run here.

// world is all that a child works on.
type world struct {
	init, work []op
	slots      []uintptr
	rec        Record
	// say is the descriptor of init's end of the control socket: control, as
	// soon as it is there.
	say      uint32
	listener uintptr // slot
	// shared is the address of a page that both children write to.
	shared uintptr
	// secret is the region with the path, argv and envp of the one
	// permitted execveat; init forgets it.
	secret [3][2]uintptr
	// region is the address and length of the memory in which a stub finds the
	// rest of its launch; length 0 for a launch that is whole.
	region [2]uintptr
	fds    [2]unix.PollFd
	info   unix.SignalfdSiginfo
	wait   unix.Timespec
	status uintptr
	ended  childInfo
	watch  watcher
	// capHeader and capNone are the arguments of the capset(2) that takes
	// from init what it has kept for PID 2; 0: nothing.
	capHeader, capNone uintptr
	// linger has init stay until everybody has ended; tests alone set it.
	linger bool
	// crowded has the watcher not be made; tests alone set it.
	crowded bool
}

// sharedWords is what the page holds.
type sharedWords struct {
	degraded    uint64
	step, errno uint32 // of PID 2's failure
}

//go:nosplit
//go:norace
func (w *world) words() *sharedWords { return (*sharedWords)(pointer(w.shared)) }

const (
	// control is the descriptor number of init's end of the control socket.
	control = 3
	// statusOrphan is init's exit status when its supervisor has gone;
	// nobody is there to read it.
	statusOrphan = 137
	statusFailed = 125
)

// unset is the value of a slot that nothing was saved in.
const unset = ^uintptr(0)

// The first slots hold what a launch takes of the process that makes it.
const (
	slotControl  = iota // init's end of the control socket
	slotArea            // where the supervisor's arguments and environment are
	slotAreaSize        // and how many bytes
	givenSlots
)

// begin readies the slots for a clone by this process.
//
//go:nosplit
//go:norace
func (w *world) begin(childEnd, area, size uintptr) {
	for i := range w.slots {
		w.slots[i] = unset
	}
	w.say = uint32(childEnd)
	w.slots[slotControl], w.slots[slotArea], w.slots[slotAreaSize] = childEnd, area, size
}

func cloneRaw(nr, a0, a1 uintptr) (r1, errno uintptr)

// exit ends the calling process without running anything else.
//
//go:nosplit
//go:norace
func exit(status uintptr) {
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, status, 0, 0)
	}
}

// tolerated tells whether a failure is one that the operation allows.
//
//go:nosplit
//go:norace
func tolerated(f fault, e syscall.Errno) bool {
	switch f {
	case mayMissing:
		return e == unix.ENOENT || e == unix.ENOTDIR
	case mayNotPermitted:
		return e == unix.EPERM || e == unix.EACCES || e == unix.ENOENT
	case mayBadFile:
		return e == unix.EBADFD || e == unix.EINVAL || e == unix.ENOMSG
	case mayBeLower:
		return e == unix.EPERM
	case mayExist:
		return e == unix.EEXIST
	case mayLack:
		return e == unix.ENOSYS || e == unix.EINVAL || e == unix.EOPNOTSUPP || e == unix.ENOENT || e == unix.ENOSPC
	}
	return false
}

// carryOut runs a list up to its end or to an opSpawn. It returns the step
// and the errno of the operation that failed, or errno 0.
//
//go:nosplit
//go:norace
func carryOut(w *world, ops []op) (step uint32, errno syscall.Errno) {
	for i := 0; i < len(ops); i++ {
		o := &ops[i]
		a := o.a
		if o.from[0] != 0 {
			a[o.to[0]] = w.slots[o.from[0]-1]
		}
		if o.from[1] != 0 {
			a[o.to[1]] = w.slots[o.from[1]-1]
		}
		var r uintptr
		var e syscall.Errno
		switch o.nr {
		case opVerify:
			if !sameFile((*unix.Stat_t)(pointer(a[0])), (*unix.Stat_t)(pointer(a[1]))) {
				e = unix.ESTALE
			}
		case opLoad32:
			r = uintptr(uint32(*(*int32)(pointer(a[0]))))
		case opStore32:
			*(*uint32)(pointer(a[0])) = uint32(a[1])
		case opNeed:
			if a[0] == unset {
				e = unix.ENOENT
			}
		case opNeedNot:
			if a[0] != unset {
				e = unix.EEXIST
			}
		case opSame:
			if a[0] == unset {
				e = unix.ENOENT
			} else if a[0] != a[1] {
				e = unix.EBADF
			}
		case opZero:
			for p := uintptr(0); p < a[1]; p++ {
				*(*byte)(pointer(a[0] + p)) = 0
			}
		case opCopy:
			for p := uintptr(0); p < a[2]; p++ {
				*(*byte)(pointer(a[0] + p)) = *(*byte)(pointer(a[1] + p))
			}
		case opDropBounding:
			for c := uintptr(0); ; c++ {
				if c < 64 && a[0]>>c&1 != 0 {
					continue
				}
				_, _, e = syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0)
				if e != 0 {
					break
				}
			}
			if e == unix.EINVAL { // past the last capability of this kernel
				e = 0
			}
		case opSpawn:
			return 0, 0
		default:
			r, _, e = syscall.RawSyscall6(uintptr(o.nr), a[0], a[1], a[2], a[3], a[4], a[5])
		}
		if e != 0 {
			if !tolerated(o.may, e) {
				return uint32(o.step), e
			}
			if o.degrade != 0 {
				w.words().degraded |= 1 << (o.degrade - 1)
			}
			i += int(o.skip)
			continue
		}
		if o.save != 0 {
			w.slots[o.save-1] = r
		}
	}
	return 0, 0
}

// lateOps is a list of operations that the supervisor laid out after the
// clone: 0 is init's, 1 the workload's.
//
//go:nosplit
//go:norace
func lateOps(w *world, which uintptr) []op {
	l := (*lateList)(pointer(w.region[0] + which*unsafe.Sizeof(lateList{})))
	return (*[maxLate]op)(pointer(l.at))[:l.n]
}

// sameFile compares what identifies the content of a file: device, inode,
// size, modification and change time.
//
//go:nosplit
//go:norace
func sameFile(a, b *unix.Stat_t) bool {
	return a.Dev == b.Dev && a.Ino == b.Ino && a.Size == b.Size && a.Mtim == b.Mtim && a.Ctim == b.Ctim
}

// say sends the record; the supervisor takes the first that is an end.
//
//go:nosplit
//go:norace
func say(w *world, rec *Record) {
	rec.Degraded = w.words().degraded
	syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(w.say), uintptr(unsafe.Pointer(rec)), recordSize, unix.MSG_NOSIGNAL, 0, 0)
}

//go:nosplit
//go:norace
func fail(w *world, step uint32, e uint32) {
	w.rec.Kind, w.rec.Step, w.rec.Errno = Failed, step, e
	say(w, &w.rec)
	exit(statusFailed)
}

// beginInit is PID 1: it sets the sandbox up, starts PID 2 and stays as its
// init. It never returns.
//
//go:nosplit
//go:norace
func beginInit(w *world) {
	if step, e := carryOut(w, w.init); e != 0 {
		fail(w, step, uint32(e))
	}
	if w.region[1] != 0 {
		if step, e := carryOut(w, lateOps(w, 0)); e != 0 {
			fail(w, step, uint32(e))
		}
	}
	pid := spawn(w)
	if e := w.words().errno; e != 0 {
		fail(w, w.words().step, e)
	}
	if w.capHeader != 0 {
		if _, _, e := syscall.RawSyscall(unix.SYS_CAPSET, w.capHeader, w.capNone, 0); e != 0 {
			exit(statusFailed)
		}
	}
	startWatch(w) // a thread has the capabilities of its maker
	// The addresses that the filter lets pass must not be found here.
	for i := range w.secret {
		if w.secret[i][1] != 0 {
			syscall.RawSyscall(unix.SYS_MUNMAP, w.secret[i][0], w.secret[i][1], 0)
		}
	}
	if w.region[1] != 0 {
		syscall.RawSyscall(unix.SYS_MUNMAP, w.region[0], w.region[1], 0)
	}
	// The caller's streams end with the workload, not with init.
	syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 0, 2, 0)
	serve(w, pid)
}

// spawn clones PID 2. The child shares memory, stack and descriptors with
// init, which is stopped until the child executes the program or ends;
// therefore the child never returns from this frame, and the parent returns
// from it at once.
//
// What the child has to say is in the shared page, since the filter may leave
// it no call to send it with.
//
//go:noinline
//go:nosplit
//go:norace
func spawn(w *world) uintptr {
	pid, e := cloneRaw(unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_VFORK|unix.CLONE_FILES|uintptr(unix.SIGCHLD), 0)
	if e != 0 {
		fail(w, stepSpawn, uint32(e))
	}
	if pid != 0 {
		return pid
	}
	// Past this point we are PID 2.
	work := w.work
	if w.region[1] != 0 {
		work = lateOps(w, 1)
	}
	step, errno := carryOut(w, work)
	w.words().step, w.words().errno = step, uint32(errno)
	exit(statusFailed)
	return 0
}
