package early

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/nsexec"
)

// patience is how long a run may go on before the runtime is started to watch
// over it, in nanoseconds: for its timeout, for bounds that the supervisor
// holds by looking (runner.watchInterval), and for signals, which wait for as
// long. At a tenth of it every second program would start the runtime; at ten
// times a bound of memory would be passed by 2 GB before it is seen.
const patience = 20_000_000

// taken are the signals that the runner takes (runner.taken). They are blocked
// while the run is this package's; what has come is handed over with it. (They
// cannot stay blocked until the runner takes them: the runtime unblocks what
// would kill a process at once.)
const taken = 1<<(unix.SIGHUP-1) | 1<<(unix.SIGINT-1) | 1<<(unix.SIGQUIT-1) | 1<<(unix.SIGTERM-1) |
	1<<(unix.SIGUSR1-1) | 1<<(unix.SIGUSR2-1) | 1<<(unix.SIGWINCH-1) | 1<<(unix.SIGCONT-1)

// runState is one early run.
type runState struct {
	// wanted: an image of this call would be of use. handed: the run goes on,
	// and is for the runtime to end.
	wanted, handed bool
	// mapped is the size of what is at base; 0: nothing.
	mapped uintptr
	mask   uint64
	// ignored are the signals that this process ignores.
	ignored uint64
	// Descriptors, none for none: the control group's parent, the group, the
	// journal.
	parent, leaf, journal uintptr
	unrecorded            bool
	// told is the first signal that told this process to end; 0: none. came are
	// all that came, by bits.
	told uintptr
	came uint64
	// name is the group's name, which ends with the run's id.
	name [128]byte
	// started is CLOCK_MONOTONIC at the run's begin.
	startedSec, startedNs int64
}

// begin is called by Entry, with the stack that the process was given. It comes
// back when the runtime is to go on.
//
//lint:ignore U1000 entry_*.s calls it
//go:nosplit
//go:norace
func begin(sp uintptr) {
	c, s := &theCall, &theState
	s.parent, s.leaf, s.journal = none, none, none
	if isLauncher(sp) {
		c.launchStub(sp)
		return
	}
	if !c.read(sp) || !usual() || c.served() {
		return
	}
	s.wanted = true
	if c.load() && c.fits() && c.passes() && s.number() {
		s.block(^uint64(0)) // before there is anything to leave behind
		if theImage().makeLeaf() && c.launch() == handOver {
			s.takeSignals()
			s.block(0)
			s.handed = true
			return
		}
		s.dropLeaf()
		shut(s.journal)
		s.journal = none
		s.block(0)
	}
	if s.mapped != 0 {
		syscall.RawSyscall(unix.SYS_MUNMAP, base, s.mapped, 0)
		s.mapped = 0
	}
}

// number gives the run its id, as runner.newRun does, and its beginning.
//
//go:nosplit
//go:norace
func (s *runState) number() bool {
	const second = 1_000_000_000
	syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&clock)), 0)
	s.startedSec, s.startedNs = clock.Sec, clock.Nsec
	syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&clock)), 0)
	pid, _, _ := syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
	name := line{at: s.leafName(), size: unsafe.Sizeof(s.name)}
	name.addString(leafPrefix)
	name.addNumber(uint64(clock.Sec)*second+uint64(clock.Nsec), 36)
	name.addString("-")
	name.addNumber(uint64(pid), 10)
	return !name.full
}

// block sets which signals are blocked.
//
//go:nosplit
//go:norace
func (s *runState) block(mask uint64) {
	s.mask = mask
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&s.mask)), 0, 8, 0, 0)
}

// takeSignals forwards what has come while signals were blocked.
//
//go:nosplit
//go:norace
func (s *runState) takeSignals() {
	for {
		s.mask, clock.Sec, clock.Nsec = s.taken(), 0, 0
		sig, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&s.mask)), 0, uintptr(unsafe.Pointer(&clock)), 8, 0, 0)
		if e != 0 {
			return
		}
		s.came |= 1 << (sig - 1)
		if launched.PID != 0 {
			syscall.RawSyscall(unix.SYS_KILL, launched.PID, sig, 0)
		}
		if s.told == 0 && (sig == uintptr(unix.SIGHUP) || sig == uintptr(unix.SIGINT) || sig == uintptr(unix.SIGQUIT) || sig == uintptr(unix.SIGTERM)) {
			s.told = sig
		}
	}
}

// signaled tells whether one of the signals has come.
//
//go:nosplit
//go:norace
func (s *runState) signaled() bool {
	s.mask = 0
	syscall.RawSyscall(unix.SYS_RT_SIGPENDING, uintptr(unsafe.Pointer(&s.mask)), 8, 0)
	return s.mask&s.taken() != 0
}

// taken are the signals that the runtime would take from this process: it leaves
// HUP and INT ignored where they are.
//
//go:nosplit
//go:norace
func (s *runState) taken() uint64 {
	const respected = 1<<(unix.SIGHUP-1) | 1<<(unix.SIGINT-1)
	return taken &^ (s.ignored & respected)
}

// verdict is what becomes of a launch.
type verdict uint8

const (
	// elsewhere: nothing has run; sbx takes the long way.
	elsewhere verdict = iota
	// handOver: the run is for the runtime to see to its end.
	handOver
)

// launch starts the run and waits for it; it does not come back from a run that
// ends by itself.
//
//go:nosplit
//go:norace
func (c *call) launch() verdict {
	img, s, l := theImage(), &theState, &launched
	l.Fixed, l.Args, l.Set = img.fixed, c.args, img.set
	l.Args.At += img.words.N * unsafe.Sizeof(c.uid) // they are the name's
	l.Args.N -= img.words.N
	l.Area, l.AreaSize = c.area, c.areaSize
	l.Cgroup = -1
	if s.leaf != none {
		l.Cgroup = int(s.leaf)
	}
	l.Uptime = uint64(s.startedSec)
	l.Stack = uintptr(unsafe.Pointer(&stack))
	s.ignore(sigDfl)
	failed := img.launch.Start(l)
	if s.ignore(sigIgn); failed != 0 {
		return elsewhere
	}
	if c.reports {
		return handOver // the runtime starts while init puts the sandbox together
	}
	s.unrecorded = !s.openJournal(c.uid)
	s.sweep()
	for {
		switch kind := next(l); kind {
		case nsexec.NeedMaps:
			if img.answer(l) != 0 {
				l.End()
				shut(l.Control)
				return elsewhere
			}
		case nsexec.Failed:
			// Nothing of the workload has run, and the long way tells why.
			l.End()
			shut(l.Control)
			return elsewhere
		case nsexec.Exited:
			// Of what was not ok a report is kept, and a bound may have been met.
			if record.Status != 0 || s.unrecorded || s.signaled() || !s.note() {
				return handOver
			}
			syscall.RawSyscall6(unix.SYS_WAIT4, l.PID, 0, 0, 0, 0, 0)
			s.dropLeaf()
			exit(0)
		default:
			return handOver
		}
	}
}

// next waits for init's next record and takes it if it is for launch to answer.
// 0: something else has happened, or nothing for too long.
//
//go:nosplit
//go:norace
func next(l *nsexec.ImageCall) nsexec.Kind {
	pollfd[0] = unix.PollFd{Fd: int32(l.Control), Events: unix.POLLIN}
	clock.Sec, clock.Nsec = 0, patience
	if n, _, e := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&pollfd)), 1, uintptr(unsafe.Pointer(&clock)), 0, 0, 0); e != 0 || n == 0 {
		return 0
	}
	// A look first: what the runtime is to act on, it has to find.
	if !receive(l, unix.MSG_PEEK) {
		return 0
	}
	if record.Kind == nsexec.NeedMaps {
		receive(l, 0)
	}
	return record.Kind
}

//go:nosplit
//go:norace
func receive(l *nsexec.ImageCall, flags uintptr) bool {
	n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, l.Control, uintptr(unsafe.Pointer(&record)), unsafe.Sizeof(record), flags|unix.MSG_DONTWAIT, 0, 0)
	return e == 0 && n == unsafe.Sizeof(record)
}

// answer gives the run its ids, as runner.hostIDs numbers them.
//
//go:nosplit
//go:norace
func (img *image) answer(l *nsexec.ImageCall) syscall.Errno {
	uid, gid := img.uid, img.gid
	if img.idBase != 0 {
		uid = img.idBase + nsexec.IDsPerRun*uint32(l.PID)
		gid = uid
	}
	return img.launch.Answer(l, uid, gid)
}
