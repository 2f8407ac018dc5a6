package early

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/nsexec"
)

// fits tells whether the image is that of the call, and everything that it
// depends on is as it was when it was made.
//
//go:nosplit
//go:norace
func (c *call) fits() bool {
	img := theImage()
	build := buildinfo.Build
	if img.build.n != uintptr(len(build)) || !same(img.build.at, uintptr(unsafe.Pointer(unsafe.StringData(build))), img.build.n) ||
		img.key.n != c.key.n || !same(img.key.at, c.key.at, c.key.n) || !c.named() {
		return false
	}
	return holds("/proc/sys/kernel/random/boot_id", &img.boot) && holds("/proc/self/cgroup", &img.group) &&
		img.unchanged() && img.here() && img.settled()
}

// usual tells whether this process is one that an image can be used by: about
// others only the long way knows.
//
//go:nosplit
//go:norace
func usual() bool { return usualSignals() && usualScheduling() && fitStreams() }

// named compares the rest of a name of several words.
//
//go:nosplit
//go:norace
func (c *call) named() bool {
	words := &theImage().words
	if words.N > c.args.N {
		return false
	}
	for i := range words.N {
		a, b := words.String(i), c.args.String(i)
		if n := length(a); n != length(b) || !same(a, b, n) {
			return false
		}
	}
	return true
}

// holds tells whether a small file begins with t; no text: it is not looked at.
//
//go:nosplit
//go:norace
func holds(path string, t *text) bool {
	if t.n == 0 {
		return true
	}
	name := line{at: uintptr(unsafe.Pointer(&nameMemory)), size: unsafe.Sizeof(nameMemory)}
	name.addString(path)
	return reads(atCwd, name.at, t)
}

// reads tells whether a file's text is t.
//
//go:nosplit
//go:norace
func reads(dir, name uintptr, t *text) bool {
	fd := open(dir, name, unix.O_RDONLY)
	if fd == none {
		return false
	}
	n, _, e := syscall.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&textMemory)), unsafe.Sizeof(textMemory))
	shut(fd)
	return e == 0 && n == t.n && same(uintptr(unsafe.Pointer(&textMemory)), t.at, n)
}

// unchanged is state.Matches for all stamps.
//
//go:nosplit
//go:norace
func (img *image) unchanged() bool {
	for i := range img.nstamps {
		s := (*stamp)(pointer(img.stamps + i*unsafe.Sizeof(stamp{})))
		_, _, e := syscall.RawSyscall6(sysFstatat, atCwd, s.path, uintptr(unsafe.Pointer(&status)), 0, 0, 0)
		if s.absent {
			if e != unix.ENOENT && e != unix.ENOTDIR {
				return false
			}
			continue
		}
		if e != 0 || status.Dev != s.dev || status.Ino != s.ino {
			return false
		}
		if s.passage {
			if status.Mode != s.mode || status.Uid != s.uid {
				return false
			}
		} else if status.Size != s.size || status.Mtim.Sec != s.mtimeSec || status.Mtim.Nsec != s.mtimeNs || status.Ctim.Sec != s.ctimeSec || status.Ctim.Nsec != s.ctimeNs {
			return false
		}
	}
	return true
}

// here compares the working directory.
//
//go:nosplit
//go:norace
func (img *image) here() bool {
	if img.hereIno == 0 {
		return true
	}
	dot := [2]byte{'.'}
	_, _, e := syscall.RawSyscall6(sysFstatat, atCwd, uintptr(unsafe.Pointer(&dot)), uintptr(unsafe.Pointer(&status)), 0, 0, 0)
	return e == 0 && status.Dev == img.hereDev && status.Ino == img.hereIno
}

const (
	signals = 64 // the last one's number
	sigDfl  = 0
	sigIgn  = 1
)

// usualSignals: nothing is blocked, and ends of children are told. It notes what
// is ignored, which stays so across execve(2) (nohup(1), a service manager).
//
//go:nosplit
//go:norace
func usualSignals() bool {
	s := &theState
	s.mask = 0
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, uintptr(unsafe.Pointer(&s.mask)), 8, 0, 0)
	for sig := uintptr(1); sig <= signals; sig++ {
		_, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&action)), 8, 0, 0)
		if e != 0 || action[0] > sigIgn {
			return false
		}
		if action[0] == sigIgn {
			s.ignored |= 1 << (sig - 1)
		}
	}
	return s.mask == 0 && s.ignored&(1<<(unix.SIGCHLD-1)) == 0
}

// ignore gives every signal that this process was started to ignore a
// disposition: the default one while it clones, since a child has what its
// parent has, then its own again. Preconditions: they are blocked.
//
//go:nosplit
//go:norace
func (s *runState) ignore(how uintptr) {
	for sig := uintptr(1); s.ignored != 0 && sig <= signals; sig++ {
		if s.ignored>>(sig-1)&1 != 0 {
			action = [4]uintptr{how}
			syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
		}
	}
}

// usualScheduling is runner.betterScheduled, the other way round.
//
//go:nosplit
//go:norace
func usualScheduling() bool {
	class, _, e := syscall.RawSyscall(unix.SYS_SCHED_GETSCHEDULER, 0, 0, 0)
	if e != 0 || class != unix.SCHED_NORMAL && class != unix.SCHED_BATCH && class != unix.SCHED_IDLE {
		return false
	}
	n, _, e := syscall.RawSyscall(unix.SYS_GETPRIORITY, unix.PRIO_PROCESS, 0, 0)
	return e == 0 && n <= 20 // 20 - nice
}

// fitStreams accepts what most often is 0, 1 and 2: a file of a disk, a
// character device, a pipe. About the rest the long way decides.
//
//go:nosplit
//go:norace
func fitStreams() bool {
	const pidfs, nsfs = 0x50494446, 0x6e736673 // linux/magic.h
	for fd := range uintptr(3) {
		flags, _, e := syscall.RawSyscall(unix.SYS_FCNTL, fd, unix.F_GETFL, 0)
		if e != 0 || flags&unix.O_PATH != 0 || !fstat(fd) {
			return false
		}
		switch status.Mode & unix.S_IFMT {
		case unix.S_IFCHR, unix.S_IFIFO:
		case unix.S_IFREG:
			_, _, e := syscall.RawSyscall(unix.SYS_FSTATFS, fd, uintptr(unsafe.Pointer(&statfs)), 0)
			if e != 0 || statfs.Type == pidfs || statfs.Type == nsfs {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// passes collects the caller's variables that the policy passes. false:
// there are too many.
//
//go:nosplit
//go:norace
func (c *call) passes() bool {
	img := theImage()
	to := &launched.Env
	to.At, to.N = uintptr(unsafe.Pointer(&envMemory)), 0
	for i := range c.envp.N {
		e := c.envp.String(i)
		n := nameLength(e)
		if n == 0 || byteAt(e+n) != '=' || img.sets(e, n) || !img.wants(e, n) || listed(to, e, n) {
			continue
		}
		if to.N == uintptr(len(envMemory)) {
			return false
		}
		envMemory[to.N] = e
		to.N++
	}
	return true
}

// nameLength is that of the name in a NAME=value.
//
//go:nosplit
//go:norace
func nameLength(e uintptr) (n uintptr) {
	for byteAt(e+n) != 0 && byteAt(e+n) != '=' {
		n++
	}
	return n
}

// sets tells whether the policy sets the variable itself.
//
//go:nosplit
//go:norace
func (img *image) sets(e, n uintptr) bool { return listed(&img.set, e, n) }

// listed tells whether a list of NAME=value has that name.
//
//go:nosplit
//go:norace
func listed(list *nsexec.Strings, e, n uintptr) bool {
	for i := range list.N {
		if s := list.String(i); nameLength(s) == n && byteAt(s+n) == '=' && same(s, e, n) {
			return true
		}
	}
	return false
}

// wants tells whether a pattern of the policy passes the variable.
//
//go:nosplit
//go:norace
func (img *image) wants(e, n uintptr) bool {
	for i := range img.pass.N {
		p := img.pass.String(i)
		m := length(p)
		if m > 0 && byteAt(p+m-1) == '*' {
			if m-1 <= n && same(p, e, m-1) {
				return true
			}
		} else if m == n && same(p, e, n) {
			return true
		}
	}
	return false
}
