package nsexec

import (
	"errors"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// workload lays out what PID 2 does: the last steps, then the program. From
// the clone on it shares memory and descriptors with init, so nothing here
// may move or really close a descriptor; execveat closes its own copies.
func (p *program) workload(c Config) error {
	// A session of its own, before anything of the workload runs: with the
	// caller's it could push input into the caller's terminal (TIOCSTI,
	// CVE-2017-5226).
	p.begin("make", "", "a session")
	p.add(unix.SYS_SETSID)
	p.begin("make", "", "a session keyring")
	p.add(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0).tolerate(mayLack).degrade = 2
	p.defaultSignals(c.Ignored)
	p.begin("reset", "", "personality, scheduling and timer slack")
	p.add(unix.SYS_PERSONALITY, 0) // ADDR_NO_RANDOMIZE and its like
	// 0 would mean the launching thread's; the kernel's default is 50,000 ns.
	p.add(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, 50_000, 0, 0, 0)
	if c.ResetSched {
		p.add(unix.SYS_SCHED_SETSCHEDULER, 0, 0, put(&p.mem, uint64(0)))
		p.add(unix.SYS_SETPRIORITY, 0, 0, 0)
	}
	p.begin("set", "", "umask")
	p.add(unix.SYS_UMASK, 0o022)
	p.begin("set", "", "resource limits")
	for _, limits := range [...][]plan.Rlimit{c.Plan.Rlimits, c.Rlimits} {
		for _, l := range limits {
			o := p.add(unix.SYS_PRLIMIT64, 0, uintptr(l.Resource), put(&p.mem, [2]uint64{l.Value, l.Value}), 0)
			if !l.Required {
				// Without CAP_SYS_RESOURCE EPERM says that the hard limit is
				// below this one, which it then holds (setrlimit(2)). A security
				// module answers EACCES.
				o.tolerate(mayBeLower)
			}
		}
	}
	p.begin("change directory", "", c.Chdir)
	p.add(unix.SYS_CHDIR, p.mem.str(c.Chdir))
	if c.Plan.DenyWriteExecute {
		p.begin("deny", "", "writable and executable memory")
		p.add(unix.SYS_PRCTL, unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0).tolerate(mayLack).degrade = 3
	}
	p.ambient(c.Plan.Capabilities)
	p.landlock(c)
	// Everything but 0, 1, 2 goes at the exec, without an upper bound.
	p.begin("close", "", "descriptors")
	p.add(unix.SYS_CLOSE_RANGE, 3, uintptr(^uint32(0)), unix.CLOSE_RANGE_CLOEXEC)
	p.begin("unblock", "", "signals")
	p.add(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, put(&p.mem, uint64(0)), 0, 8)

	if p.world.region[1] != 0 {
		// A stub has looked at the program when it was made, up to a minute
		// ago: what was written to it since must not run.
		p.verifyAgain(c.Plan.Exec.Identity)
	}
	insns, path, argv, envp, err := p.secrets(c)
	if err != nil {
		return err
	}
	// The filter comes last: whatever came later would have to be allowed
	// to the workload as well. It needs no_new_privs, set by init.
	p.begin("load", "", "the filter")
	// Without a listener a refused call would kill only the process that made
	// it, and a parent could end with 0: then the launch fails. EBUSY: another
	// listener watches over this process tree.
	got := p.into(p.add(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, p.program(insns)))
	p.add(opSame).arg(0, got).arg(1, int(p.world.listener))

	p.begin("execute", "", c.Plan.Exec.Path)
	p.add(unix.SYS_EXECVEAT, programFD, path, argv, envp, emptyPath)
	return nil
}

// ambient makes the policy's capabilities survive the exec, the only way for
// an id that is not 0 (capabilities(7)). They are over the run's own user
// namespace: the launch refuses them where it has none.
func (p *program) ambient(caps uint64) {
	for i := range 64 {
		if caps>>i&1 != 0 {
			p.begin("raise", "", "capability "+strconv.Itoa(i))
			p.add(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(i), 0, 0)
		}
	}
}

// leftAlone are the signals whose disposition Go leaves as it found it
// (runtime/sigtab_linux_generic.go); all others it handles from its start on.
var leftAlone = [...]syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGCHLD, unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, 32, 33, 34}

// defaultSignals gives every signal its default disposition. Handlers were
// reset by CLONE_CLEAR_SIGHAND, but an ignored signal stays ignored across
// clone and exec. (os/signal.Ignore in this process is not looked for:
// Config.Ignored is for who uses it.)
func (p *program) defaultSignals(ignored []syscall.Signal) {
	p.begin("reset", "", "signals")
	act := put(&p.mem, kernelSigaction{})
	for _, s := range leftAlone {
		var old kernelSigaction
		_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), 0, uintptr(unsafe.Pointer(&old)), 8, 0, 0)
		const sigIgn = 1
		if e != 0 || old.handler == sigIgn {
			p.add(unix.SYS_RT_SIGACTION, uintptr(s), act, 0, 8)
		}
	}
	for _, s := range ignored {
		p.add(unix.SYS_RT_SIGACTION, uintptr(s), act, 0, 8)
	}
}

// kernelSigaction is struct sigaction as rt_sigaction(2) takes it.
type kernelSigaction struct{ handler, flags, restorer, mask uintptr }

// program lays out struct sock_fprog for insns, which are in the arena.
func (p *program) program(insns []byte) uintptr {
	return put(&p.mem, [2]uintptr{uintptr(len(insns) / insnSize), addr(insns)})
}

// secrets lays out the path, argv and envp of the execveat. Where the filter
// lets only one execveat pass, these three are at random addresses and the
// filter compares them: 43 random bits each, which nothing inside can learn,
// since the address space is gone once the program runs.
func (p *program) secrets(c Config) (insns []byte, path, argv, envp uintptr, err error) {
	na, ne := uintptr(len(c.Argv)+1)*wordSize, uintptr(len(c.Env)+1)*wordSize
	once := c.Plan.Filter.ExecOnce
	insns = p.mem.alloc(len(c.Plan.Filter.Insns))[:len(c.Plan.Filter.Insns)]
	copy(insns, c.Plan.Filter.Insns)
	if p.image != nil {
		return insns, 0, 0, 0, p.image.hold(insns, once)
	}
	if len(once) == 0 {
		path, argv, envp = p.mem.str(""), addr(p.mem.alloc(int(na))), addr(p.mem.alloc(int(ne)))
	} else {
		if len(once) != 6 {
			return nil, 0, 0, 0, errors.New("plan has a malformed filter (this is a bug)")
		}
		at := [3]uintptr{}
		for i, n := range [3]uintptr{1, na, ne} {
			if at[i], err = p.secret(i, n); err != nil {
				return nil, 0, 0, 0, err
			}
		}
		path, argv, envp = at[0], at[1], at[2]
		for i, x := range at {
			for half, v := range [2]uint32{uint32(x), uint32(uint64(x) >> 32)} {
				k := int(once[2*i+half])*insnSize + insnConstant
				if k+4 > len(insns) {
					return nil, 0, 0, 0, errors.New("plan has a malformed filter (this is a bug)")
				}
				putNative32(insns[k:], v)
			}
		}
	}
	p.mem.vector(argv, c.Argv)
	p.mem.vector(envp, c.Env)
	if len(once) > 0 && p.world.region[1] != 0 {
		p.carrySecrets()
	}
	return insns, path, argv, envp, nil
}

// insnSize is the size of struct sock_filter in bytes, insnConstant where in it
// the constant is (linux/filter.h).
const insnSize, insnConstant = 8, 4

// secret maps n bytes at a random address and returns it.
func (p *program) secret(i int, n uintptr) (uintptr, error) {
	if at := p.world.hide(i, n); at != 0 {
		return at, nil
	}
	return 0, errors.New("no random numbers, or no room for the arguments at a random address")
}

// hide maps n bytes at a random address, as secret i, and returns it; 0: not
// possible.
//
//go:nosplit
//go:norace
func (w *world) hide(i int, n uintptr) uintptr {
	const page = 4096
	length := (n + 2*page - 1) &^ (page - 1)
	for range 64 {
		x := uintptr(0)
		if m, _, e := syscall.RawSyscall(unix.SYS_GETRANDOM, uintptr(unsafe.Pointer(&x)), unsafe.Sizeof(x), 0); e != 0 || m != unsafe.Sizeof(x) {
			return 0
		}
		want := x & 0x3ffffffff000
		got, _, e := syscall.RawSyscall6(unix.SYS_MMAP, want, length, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE, ^uintptr(0), 0)
		if e != 0 {
			continue // taken, too low, or too high
		}
		w.secret[i] = [2]uintptr{got, length}
		return got + x>>50&(page-1)&^(wordSize-1)
	}
	return 0
}
