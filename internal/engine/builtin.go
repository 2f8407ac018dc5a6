package engine

import (
	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/weak"
)

// builtin is an argument rule that holds whatever a policy allows.
type builtin struct {
	names []string
	// attack says what the rule is against; it is shown beside the call.
	attack string
	// fixed is the call's only verdict, unless the policy denies it or has
	// another errno for it.
	fixed *filter.Verdict
	// open: where no list of the policy names the call it counts as
	// allowed, under must.
	open bool
	// always are tests under which the call passes, unless it is denied.
	always [][]filter.Test
	// deny come before everything that the policy says.
	deny []filter.Rule
	// must: a permission holds only together with one of these. nil: no
	// demand; empty: never.
	must [][]filter.Test
	// miss is the verdict where none of must holds.
	miss filter.Verdict
	// widen: a rule of the policy needs none of must.
	widen bool
}

// Numbers of the kernel's interface. All are asm-generic, which amd64 and
// arm64 share, unless said otherwise.
const (
	// cloneNamespaces are the CLONE_NEW flags but CLONE_NEWTIME, which is
	// part of the signal number for clone(2).
	cloneNamespaces = 0x7e020000

	afUnix, afInet, afInet6, afNetlink   = 1, 2, 10, 16
	sockTypeMask                         = 0xf // above are SOCK_NONBLOCK and SOCK_CLOEXEC
	sockStream, sockDgram, sockSeqpacket = 1, 2, 5
	ipprotoTCP, ipprotoUDP               = 6, 17
	netlinkRoute, netlinkSockDiag        = 0, 4
	solSocket                            = 1
	setIDBits                            = 0o6000
	typeMask                             = 0o170000
	typeFifo, typeRegular, typeSocket    = 0o010000, 0o100000, 0o140000
	openCreates                          = 0o100 | 0o20000000 // O_CREAT, __O_TMPFILE
	shmExec                              = 0o100000
	protWrite, protExec                  = 2, 4
	readImpliesExec                      = 0x0400000
	personalityQuery                     = 0xffffffff
	renameWhiteout                       = 4
	prioProcess, ioprioProcess           = 0, 1
	fSetLease, fNotify                   = 1024, 1026
)

func eq(index uint8, value uint64) filter.Test {
	return filter.Test{Index: index, Op: filter.Equal, Value: value}
}

func masked(index uint8, mask, value uint64) filter.Test {
	return filter.Test{Index: index, Op: filter.MaskedEqual, Mask: mask, Value: value}
}

// anyOf returns one alternative for each value of an argument.
func anyOf(index uint8, values ...uint64) [][]filter.Test {
	out := [][]filter.Test{}
	for _, v := range values {
		out = append(out, []filter.Test{eq(index, v)})
	}
	return out
}

// ioctls are the commands that every program may use: on a terminal only what
// reads its settings and size, on files what duplicates extents and sets
// descriptor flags.
var ioctls = []uint64{
	0x5401,     // TCGETS
	0x5413,     // TIOCGWINSZ
	0x541b,     // FIONREAD
	0x5421,     // FIONBIO
	0x5450,     // FIONCLEX
	0x5451,     // FIOCLEX
	0x5452,     // FIOASYNC
	0x5460,     // FIOQSIZE
	0x802c542a, // TCGETS2
	0x40049409, // FICLONE
	0x4020940d, // FICLONERANGE
	0xc0189436, // FIDEDUPERANGE
	0xc020660b, // FS_IOC_FIEMAP
	0x80086601, // FS_IOC_GETFLAGS
}

// socketIoctls are added where a network family is open: they read the
// interfaces of the run's own network namespace.
var socketIoctls = []uint64{
	0x5411, // SIOCOUTQ
	0x8905, // SIOCATMARK
	0x8910, // SIOCGIFNAME
	0x8912, // SIOCGIFCONF
	0x8913, // SIOCGIFFLAGS
	0x8915, // SIOCGIFADDR
	0x8919, // SIOCGIFBRDADDR
	0x891b, // SIOCGIFNETMASK
	0x8921, // SIOCGIFMTU
	0x8927, // SIOCGIFHWADDR
	0x8933, // SIOCGIFINDEX
}

// refusedIoctls are refused even where a policy's rule allows them: they push
// input into a terminal (TIOCSTI, TIOCLINUX; CVE-2017-5226), take one over
// (TIOCSCTTY), load line disciplines (TIOCSETD), or change inode attributes
// that outlive the run (FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR, the latter also a
// way out of a project quota).
var refusedIoctls = []uint64{0x5412, 0x541c, 0x540e, 0x5423, 0x40086602, 0x40046602, 0x401c5820}

// prctls are the options that every program may use. Not here: PR_SET_MM
// (rewrites what /proc shows and where the program break is),
// PR_SET_SECCOMP (an own filter that answers before the listener would hide
// violations), PR_SET_PTRACER, PR_SET_SECUREBITS, PR_SET_SYSCALL_USER_DISPATCH,
// PR_TASK_PERF_EVENTS_*, PR_SCHED_CORE.
var prctls = []uint64{
	1, 2, // PR_SET_PDEATHSIG, PR_GET_PDEATHSIG
	3, 4, // PR_GET_DUMPABLE, PR_SET_DUMPABLE
	7, 13, // PR_GET_KEEPCAPS, PR_GET_TIMING
	15, 16, // PR_SET_NAME, PR_GET_NAME
	21, 23, // PR_GET_SECCOMP, PR_CAPBSET_READ
	25, 27, // PR_GET_TSC, PR_GET_SECUREBITS
	29, 30, // PR_SET_TIMERSLACK, PR_GET_TIMERSLACK
	36, 37, // PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER
	38, 39, // PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS
	40, 41, 42, // PR_GET_TID_ADDRESS, PR_SET_THP_DISABLE, PR_GET_THP_DISABLE
	50, 51, // PR_SVE_SET_VL, PR_SVE_GET_VL (arm64)
	52, 53, // PR_GET_SPECULATION_CTRL, PR_SET_SPECULATION_CTRL
	54, 55, 56, // PR_PAC_RESET_KEYS, PR_SET_TAGGED_ADDR_CTRL, PR_GET_TAGGED_ADDR_CTRL (arm64)
	65, 66, // PR_SET_MDWE, PR_GET_MDWE
	0x41555856, // PR_GET_AUXV
	0x53564d41, // PR_SET_VMA: names of anonymous memory
}

// socketOptions are those of SOL_SOCKET that one end of a pair may set. Not
// here: SO_ATTACH_FILTER and its kin, which load programs into the kernel.
var socketOptions = []uint64{2, 7, 8, 9, 16, 20, 21} // REUSEADDR SNDBUF RCVBUF KEEPALIVE PASSCRED RCVTIMEO SNDTIMEO

// builtins returns the built-in rules by call name.
func builtins(in rulesetInput) map[string]*builtin {
	noSetID := func(index uint8) [][]filter.Test { return [][]filter.Test{{masked(index, setIDBits, 0)}} }
	node := func(index uint8) [][]filter.Test {
		out := [][]filter.Test{}
		for _, t := range []uint64{0, typeRegular, typeFifo, typeSocket} {
			out = append(out, []filter.Test{masked(index, typeMask|setIDBits, t)})
		}
		return out
	}
	creates := func(flags, mode uint8) [][]filter.Test {
		return [][]filter.Test{{masked(flags, openCreates, 0)}, {masked(mode, setIDBits, 0)}}
	}
	never := errno(enosys)
	const setID = "a set-user-id or set-group-id bit counts outside for the owner of a writable tree"
	const device = "a device node in a writable tree; " + setID

	list := []builtin{{
		names: []string{"clone"}, attack: "new namespaces give a full capability set over themselves; the kernel takes the low 32 bits",
		must: [][]filter.Test{{masked(0, cloneNamespaces, 0)}}, miss: refusal(in.syscalls),
	}, {
		names: []string{"clone3"}, attack: "its flags lie in memory, where no filter can look", fixed: &never,
	}, {
		names: []string{"openat2"}, attack: "its mode lies in memory; " + setID, fixed: &never,
	}, {
		names: []string{"file_setattr"}, attack: "inode flags and project ids that outlive the run, from memory (Linux 6.17)", fixed: &never,
	}, {
		names: []string{"chmod", "fchmod", "creat", "mkdir"}, attack: setID,
		must: noSetID(1), miss: errno(eperm),
	}, {
		names: []string{"fchmodat", "fchmodat2", "mkdirat"}, attack: setID,
		must: noSetID(2), miss: errno(eperm),
	}, {
		names: []string{"open"}, attack: setID, must: creates(1, 2), miss: errno(eperm),
	}, {
		names: []string{"openat"}, attack: setID, must: creates(2, 3), miss: errno(eperm),
	}, {
		names: []string{"mknod"}, attack: device, must: node(1), miss: errno(eperm),
	}, {
		names: []string{"mknodat"}, attack: device, must: node(2), miss: errno(eperm),
	}, {
		names: []string{"renameat2"}, attack: "RENAME_WHITEOUT makes a device node (0/0) in a writable tree without mknod",
		deny: []filter.Rule{{Tests: []filter.Test{masked(4, renameWhiteout, renameWhiteout)}, Verdict: errno(einval)}},
	}, {
		names: []string{"setpriority"}, attack: "an init that gets no processor time kills for a violation late",
		must: [][]filter.Test{{eq(0, prioProcess), eq(1, 0)}}, miss: errno(eperm),
	}, {
		names: []string{"sched_setaffinity"}, attack: "an init that is tied to a busy processor",
		must: anyOf(0, 0), miss: errno(eperm),
	}, {
		names: []string{"sched_setattr", "sched_setparam", "sched_setscheduler"}, attack: "an init that gets no processor time (SCHED_IDLE)",
		must: anyOf(0, 0), miss: errno(eperm),
	}, {
		names: []string{"ioprio_set"}, attack: "the I/O class of init",
		must: [][]filter.Test{{eq(0, ioprioProcess), eq(1, 0)}}, miss: errno(eperm),
	}, {
		names: []string{"fcntl"}, attack: "leases delay whoever opens the file outside; directory notices signal",
		deny: denyEach(1, []uint64{fSetLease, fNotify}, errno(eperm)),
	}, {
		names: []string{"ioctl"}, attack: "terminal input injection at any width (CVE-2017-5226, CVE-2019-10063); drivers' commands",
		deny: denyEach(1, refusedIoctls, errno(eperm)), must: anyOf(1, openIoctls(in)...), miss: errno(enotty), widen: true,
	}, {
		names: []string{"prctl"}, attack: "PR_SET_MM, own filters that hide violations, other kernel surface",
		must: anyOf(0, prctls...), miss: errno(eperm), widen: true,
	}, {
		names: []string{"prlimit64"}, attack: "limits of other processes", must: anyOf(0, 0), miss: errno(eperm),
	}, {
		names: []string{"shmat"}, attack: "memory mapped writable here and executable there",
		must: [][]filter.Test{{masked(2, shmExec, 0)}}, miss: errno(eperm),
	}, {
		names: []string{"personality"}, attack: "READ_IMPLIES_EXEC and address space without randomisation",
		always: anyOf(0, personalityQuery),
	}, {
		names: []string{"socket"}, attack: "address families that reach the host or rarely used kernel code; a stray high bit opened vsock",
		open: true, must: sockets(in.families), miss: errno(eafnosupport),
	}, {
		names: []string{"socketpair"}, attack: "an end of a datagram pair can connect and send to any socket file",
		open: true, miss: errno(eafnosupport),
		must: [][]filter.Test{
			{eq(0, afUnix), masked(1, sockTypeMask, sockStream)},
			{eq(0, afUnix), masked(1, sockTypeMask, sockSeqpacket)},
		},
	}}
	if len(in.families) == 0 {
		must := [][]filter.Test{}
		for _, o := range socketOptions {
			must = append(must, []filter.Test{eq(1, solSocket), eq(2, o)})
		}
		list = append(list, builtin{
			names: []string{"setsockopt"}, attack: "socket filters and protocol options, which load code and modules",
			must: must, miss: errno(enoprotoopt),
		})
	}
	if in.denyWX {
		const wx = "code that was written by the program itself"
		list = append(list, builtin{
			names: []string{"personality"}, attack: "READ_IMPLIES_EXEC makes every readable mapping executable",
			always: anyOf(0, personalityQuery),
			must:   [][]filter.Test{{masked(0, readImpliesExec, 0)}}, miss: errno(eperm),
		})
		// PR_SET_MDWE (Linux 6.3) holds more than rules can and answers EACCES.
		// What asks for both at once is told EPERM first, as everywhere: a look
		// at the arguments that mmap and mprotect, which take microseconds, can
		// bear (docs/adr/0006).
		both := []filter.Rule{{Tests: []filter.Test{masked(2, protWrite|protExec, protWrite|protExec)}, Verdict: errno(eperm)}}
		names, protect := []string{"mprotect"}, both
		if !in.mdwe {
			names = append(names, "pkey_mprotect")
			protect = []filter.Rule{{Tests: []filter.Test{masked(2, protExec, protExec)}, Verdict: errno(eperm)}}
		}
		list = append(list,
			builtin{names: []string{"mmap"}, attack: wx, deny: both},
			builtin{names: names, attack: wx, deny: protect},
		)
	}
	if weak.Off("width") {
		list = append(list, dockersSocketRule())
	}
	out := map[string]*builtin{}
	for i := range list {
		for _, name := range list[i].names {
			out[name] = &list[i]
			if weak.Off("rule:" + name) {
				out[name] = &builtin{open: true}
			}
		}
	}
	if !in.execOnce {
		// The launch's own execveat must pass, and what the policy lists may
		// be executed; what is executable is the view's business.
		for _, name := range []string{"execve", "execveat"} {
			out[name] = &builtin{open: true}
		}
	}
	return out
}

// dockersSocketRule is what tests are to find: families refused one by one,
// compared on 64 bits, so that a stray high bit passes.
func dockersSocketRule() builtin {
	var deny []filter.Rule
	for family := range uint64(64) {
		deny = append(deny, filter.Rule{Tests: []filter.Test{{Op: filter.Equal, Value: family, Wide: true}}, Verdict: errno(eafnosupport)})
	}
	return builtin{names: []string{"socket"}, deny: deny, open: true}
}

func denyEach(index uint8, values []uint64, v filter.Verdict) []filter.Rule {
	var out []filter.Rule
	for _, tests := range anyOf(index, values...) {
		out = append(out, filter.Rule{Tests: tests, Verdict: v})
	}
	return out
}

func openIoctls(in rulesetInput) []uint64 {
	if len(in.families) == 0 {
		return ioctls
	}
	return append(append([]uint64{}, ioctls...), socketIoctls...)
}

// sockets returns what socket(2) may make. Of the internet families TCP and
// UDP alone: raw sockets need a capability that no run has, and a rare
// protocol (SCTP, DCCP) loads a kernel module.
func sockets(families []uint32) [][]filter.Test {
	out := [][]filter.Test{}
	for _, f := range families {
		family := eq(0, uint64(f))
		typed := func(typ uint64, protocols ...uint64) {
			for _, p := range protocols {
				out = append(out, []filter.Test{family, masked(1, sockTypeMask, typ), eq(2, p)})
			}
		}
		switch f {
		case afInet, afInet6:
			typed(sockStream, 0, ipprotoTCP)
			typed(sockDgram, 0, ipprotoUDP)
		case afNetlink:
			out = append(out, []filter.Test{family, eq(2, netlinkRoute)}, []filter.Test{family, eq(2, netlinkSockDiag)})
		default:
			out = append(out, []filter.Test{family})
		}
	}
	return out
}
