package nsexec

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// program is a launch laid out in memory: the two lists of operations, the
// names of their steps and everything that they point to.
type program struct {
	world *world
	// worldAt is where init has it.
	worldAt uintptr
	net     network
	steps   []stepName
	mem     arena
	// init and work are the lists of PID 1 and PID 2 while they grow; list is
	// the one that add appends to.
	init, work []op
	list       *[]op
	step       uint16
	slots      int
	// hostProc is the slot of an O_PATH descriptor of the host's /proc.
	hostProc int
	// hostDev is the slot of one of the host's /dev, or noSlot.
	hostDev int
	// late: what is added now belongs to a stub that is there already.
	late []op
	// image: the launch is laid out for calls to come; nil: for this one.
	image *Image
}

// programFD is the number under which the program is executed. With low
// numbers for what is open at the end, a low RLIMIT_NOFILE does not keep the
// launch from its last steps.
const programFD = control + 1

// stepSpawn is the step of the clone of PID 2; the program makes it first.
const stepSpawn = 0

// noSlot stands for "no slot".
const noSlot = -1

// begin starts a new step; the operations added from here on belong to it.
func (p *program) begin(verb, source, path string) {
	p.step = uint16(len(p.steps))
	p.steps = append(p.steps, stepName{verb, source, path})
}

func (p *program) add(nr uint32, a ...uintptr) *op {
	*p.list = append(*p.list, op{nr: nr, step: p.step})
	o := &(*p.list)[len(*p.list)-1]
	copy(o.a[:], a)
	return o
}

// slot makes a new slot.
func (p *program) slot() int {
	p.slots++
	return p.slots - 1
}

// into saves the operation's result in a new slot.
func (p *program) into(o *op) int {
	s := p.slot()
	o.save = uint16(s + 1)
	return s
}

// arg makes argument n of o come from a slot.
func (o *op) arg(n uint8, slot int) *op {
	i := 0
	if o.from[0] != 0 {
		i = 1
	}
	o.from[i], o.to[i] = uint16(slot+1), n
	return o
}

func (o *op) tolerate(f fault) *op { o.may = f; return o }

const (
	atCwd     = ^uintptr(99) // AT_FDCWD
	emptyPath = unix.AT_EMPTY_PATH
)

// assemble lays out the launch of c. pair is the control socket: the
// supervisor's end and init's.
func assemble(c Config, pair [2]int, stub bool) (*program, error) {
	if len(c.Plan.View) == 0 {
		return nil, errors.New("plan has no view (this is a bug)")
	}
	w := &world{}
	p := &program{world: w, worldAt: uintptr(unsafe.Pointer(w)), steps: make([]stepName, 0, 128), net: network{own: -1}}
	if c.Identity.Mode != OwnUser { // there the namespace is to belong to the run's user namespace
		p.net.prepare(pair[0])
	}
	err := p.lists(c, stub)
	if err == nil {
		err = p.weaken()
	}
	if err == nil {
		err = p.sharePage()
	}
	if err == nil && stub {
		err = p.mapRegion()
	}
	if err != nil {
		p.forget()
		return nil, err
	}
	w.init, w.work, w.slots = p.init, p.work, make([]uintptr, p.slots+lateSlots)
	from, n := argumentArea()
	w.begin(uintptr(pair[1]), from, n)
	return p, nil
}

// lists lays out the two lists of operations.
func (p *program) lists(c Config, stub bool) error {
	p.slots = givenSlots
	p.init = make([]op, 0, 192)
	p.begin("clone", "", "the workload")
	p.list = &p.init
	p.isolate(c)
	if exe := p.view(c); exe == noSlot {
		return errors.New("plan shows no program at " + strconv.Quote(c.Plan.Exec.Inside) + " (this is a bug)")
	}
	p.identity(c)
	p.prepareServe()
	if stub {
		p.awaitCall()
	} else {
		p.add(opSpawn)
		p.list = &p.work
		p.work = make([]op, 0, 32)
		if err := p.workload(c); err != nil {
			return err
		}
	}
	strict(c, p.init, p.work)
	return nil
}

// strict makes those operations fail the launch whose absence the policy does
// not accept.
func strict(c Config, lists ...[]op) {
	for _, list := range lists {
		for i := range list {
			if d := list[i].degrade; d != 0 && c.Strict&(1<<(d-1)) != 0 {
				list[i].may = never
			}
		}
	}
}

// isolate: the first operations of init, in the host's file tree.
func (p *program) isolate(c Config) {
	// The write end of the control socket must exist in the supervisor
	// alone: else its death would go unseen. So everything inherited goes
	// first, without an upper bound (CONTAINMENT 20).
	p.begin("connect", "", "stdin, stdout and stderr")
	if c.Files != nil {
		for i, fd := range c.Files {
			p.add(unix.SYS_DUP3, uintptr(fd), uintptr(i), 0)
		}
	}
	for i, fd := range c.Output {
		if fd > 0 {
			p.add(unix.SYS_DUP3, uintptr(fd), uintptr(i+1), 0)
		}
	}
	p.begin("close", "", "inherited descriptors")
	// What fails before this is said by the number that init was born with.
	p.add(unix.SYS_DUP3, 0, control, unix.O_CLOEXEC).arg(0, slotControl).tolerate(mayBadFile) // EINVAL: it has the number
	p.add(opStore32, uintptr(unsafe.Pointer(&p.world.say)), control)
	p.add(unix.SYS_CLOSE_RANGE, control+1, uintptr(^uint32(0)), 0)
	p.add(unix.SYS_DUP3, control, programFD, unix.O_CLOEXEC) // keeps the number free
	p.begin("set", "", "the parent-death signal")
	p.add(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	p.hideSupervisor()

	if c.Identity.Mode == OwnUser {
		// A user may map only his own ids, one of each, and the groups only
		// after giving up setgroups (user_namespaces(7)).
		p.begin("map", "", "the user's ids")
		p.write(atCwd, "/proc/self/setgroups", "deny")
		p.write(atCwd, "/proc/self/uid_map", ids(InsideID, c.Identity.HostUID))
		p.write(atCwd, "/proc/self/gid_map", ids(InsideID, c.Identity.HostGID))
		p.forbidUserNamespaces(noSlot)
	}
	if c.TimeOffset > 0 {
		p.begin("make", "", "a time namespace")
		o := p.add(unix.SYS_UNSHARE, unix.CLONE_NEWTIME).tolerate(mayLack)
		o.degrade, o.skip = 1, 6 // DegradedTime
		p.setBack(c.TimeOffset)
		// Init enters it too, or Linux 6.1 would let it share memory neither
		// with PID 2 nor with its own watcher. It needs capabilities and one
		// thread, so it cannot wait.
		ns := p.into(p.add(unix.SYS_OPENAT, atCwd, p.mem.str("/proc/self/ns/time_for_children"), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		p.add(unix.SYS_SETNS, 0, unix.CLONE_NEWTIME).arg(0, ns)
		p.add(unix.SYS_CLOSE).arg(0, ns)
	}
	for _, kv := range c.Sysctls {
		p.begin("write", "", "/proc/sys/"+kv[0])
		o := p.write(atCwd, "/proc/sys/"+kv[0], kv[1]).tolerate(mayNotPermitted)
		o.skip = 2
	}
	// The memory killer must not spare the run because it spares the caller:
	// -1000 is inherited. Raising is always allowed, lowering is not.
	p.begin("set", "", "the memory killer's score")
	p.write(atCwd, "/proc/self/oom_score_adj", "0").tolerate(mayNotPermitted).skip = 2
	(*p.list)[len(*p.list)-2].tolerate(mayNotPermitted)
	// Not dumpable: nothing inside may look into a copy of the supervisor's
	// memory. Only now, because /proc/self belongs to root from here on.
	p.begin("make", "", "init undumpable")
	p.add(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	p.begin("set", "", "session and umask")
	p.add(unix.SYS_SETSID)
	p.add(unix.SYS_UMASK, 0) // modes of the view are taken as written
	p.begin("make", "", "mounts private")
	p.add(unix.SYS_MOUNT, p.mem.str("none"), p.mem.str("/"), 0, unix.MS_REC|unix.MS_PRIVATE, 0)
}

// clockDigits is the width of a clock's offset in seconds: a fixed one, so that
// an image's can be written when it is used.
const clockDigits = 12

// setBack writes the offsets of the run's clocks (time_namespaces(7)).
func (p *program) setBack(seconds int64) {
	const monotonic, boottime, end = "monotonic -", "boottime -", " 0\n"
	zeros := strings.Repeat("0", clockDigits)
	text := monotonic + zeros + end + boottime + zeros + end
	o := p.write(atCwd, "/proc/self/timens_offsets", text)
	at := (*op)(unsafe.Add(unsafe.Pointer(o), unsafe.Sizeof(*o))).a[1]
	clocks := [2]uintptr{at + uintptr(len(monotonic)), at + uintptr(len(monotonic)+clockDigits+len(end)+len(boottime))}
	for _, c := range clocks {
		putDecimal(c, clockDigits, uint64(seconds))
	}
	if p.image != nil {
		p.image.clocks = clocks
	}
}

// hideSupervisor clears the supervisor's arguments and environment from the
// stack of the copy, where /proc/1/cmdline would show them, and its name.
func (p *program) hideSupervisor() {
	p.begin("hide", "", "the supervisor's arguments")
	p.add(opZero, 0, 0).arg(0, slotArea).arg(1, slotAreaSize)
	p.add(unix.SYS_PRCTL, unix.PR_SET_NAME, p.mem.str("sbx-init"), 0, 0, 0)
}

// write puts s into the file with one write(2).
func (p *program) write(dir uintptr, path, s string) *op {
	o := p.add(unix.SYS_OPENAT, dir, p.mem.str(path), unix.O_WRONLY|unix.O_CLOEXEC)
	fd := p.into(o)
	p.add(unix.SYS_WRITE, 0, p.mem.str(s), uintptr(len(s))).arg(0, fd)
	p.add(unix.SYS_CLOSE).arg(0, fd)
	return &(*p.list)[len(*p.list)-3]
}

// forbidUserNamespaces sets the limit of the run's own user namespace to
// none, beside the filter. The table is found through the user namespace of
// the process that opens it. proc is the slot of a descriptor of a full
// /proc, or noSlot while the host's is in place.
func (p *program) forbidUserNamespaces(proc int) {
	p.begin("forbid", "", "further user namespaces")
	path, dir := "sys/user/max_user_namespaces", uintptr(0)
	if proc == noSlot {
		path, dir = "/proc/"+path, atCwd
	}
	o := p.write(dir, path, "0")
	if proc != noSlot {
		o.arg(0, proc)
	}
	o.tolerate(mayLack)
	o.skip, o.degrade = 2, 5 // DegradedUserMax
}

// identity: ids, capabilities, no_new_privs. Every mount is done.
func (p *program) identity(c Config) {
	switch c.Identity.Mode {
	case LateUserNS:
		p.begin("make", "", "the user namespace")
		p.add(unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
		rec := Record{Kind: NeedMaps}
		p.add(unix.SYS_SENDTO, control, put(&p.mem, rec), recordSize, unix.MSG_NOSIGNAL, 0, 0)
		// While the supervisor writes the maps: what needs none.
		p.forbidUserNamespaces(p.hostProc)
		p.add(unix.SYS_CLOSE).arg(0, p.hostProc)
		p.dropBounding(c.Plan.Capabilities)
		p.begin("wait for", "", "the maps")
		p.add(unix.SYS_RECVFROM, control, addr(p.mem.alloc(8)), 8, 0, 0, 0)
		p.setIDs(InsideID, InsideID)
	case NoUserNS:
		p.begin("clear", "", "securebits")
		p.add(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0, 0, 0, 0)
		p.dropBounding(0) // before setresuid takes CAP_SETPCAP away
		p.setIDs(c.Identity.HostUID, c.Identity.HostGID)
	case OwnUser:
		p.dropBounding(c.Plan.Capabilities)
	}
	// Entered from host uid 0, setresuid leaves every capability of the new
	// user namespace in place: the uid that it leaves is not uid 0 there.
	// So this must be explicit, or the workload could undo the mounts.
	p.begin("empty", "", "the capability sets")
	hdr := put(&p.mem, unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3})
	none := put(&p.mem, [2]unix.CapUserData{})
	sets := none
	if caps := c.Plan.Capabilities; caps != 0 {
		// PID 2 makes them ambient, for which they must be permitted and
		// inheritable; init keeps them until then and never as effective.
		low, high := uint32(caps), uint32(caps>>32)
		sets = put(&p.mem, [2]unix.CapUserData{{Permitted: low, Inheritable: low}, {Permitted: high, Inheritable: high}})
		p.world.capHeader, p.world.capNone = hdr, none
	}
	p.add(unix.SYS_CAPSET, hdr, sets)
	p.begin("set", "", "no_new_privs")
	p.add(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	// A change of ids clears the one and may set the other (prctl(2)).
	p.begin("set", "", "the parent-death signal")
	p.add(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	p.begin("make", "", "init undumpable")
	p.add(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// dropBounding needs CAP_SETPCAP in the user namespace that the workload ends
// up in (entering one sets the bounding set to full), so it comes after that
// and before capset. keep holds the capabilities of the policy, by bits.
func (p *program) dropBounding(keep uint64) {
	p.begin("empty", "", "the capability bounding set")
	p.add(opDropBounding, uintptr(keep))
}

func (p *program) setIDs(uid, gid uint32) {
	p.begin("set", "", "the run's ids")
	p.add(unix.SYS_SETGROUPS, 0, 0)
	p.add(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid))
	p.add(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
}

// forwarded are the signals that init hands on to the workload.
var forwarded = [...]unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGCONT}

// prepareServe makes what init's loop needs.
func (p *program) prepareServe() {
	p.begin("make", "", "init's signal descriptor")
	mask := uint64(1) << (unix.SIGCHLD - 1)
	for _, s := range forwarded {
		mask |= 1 << (s - 1)
	}
	fd := p.into(p.add(unix.SYS_SIGNALFD4, ^uintptr(0), put(&p.mem, mask), 8, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK))
	// The number goes into the poll set by way of a slot and a store: PollFd
	// holds it in its first four bytes, events in the next two.
	w := p.world
	w.fds[0] = unix.PollFd{Fd: control, Events: unix.POLLIN}
	w.fds[1] = unix.PollFd{Events: unix.POLLIN}
	p.add(opStore32, uintptr(unsafe.Pointer(&w.fds[1].Fd)), 0).arg(1, fd)
	p.prepareWatch()
	// PID 2 will load the filter and get the lowest free number for its
	// listener, in the descriptor table that both share.
	p.begin("foresee", "", "the listener's descriptor")
	next := p.into(p.add(unix.SYS_DUP, control))
	p.add(unix.SYS_CLOSE).arg(0, next)
	w.listener = uintptr(next)
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

func ids(inside, outside uint32) string {
	return decimal(uint64(inside)) + " " + decimal(uint64(outside)) + " 1\n"
}

// forget gives up what only the launch needed.
func (p *program) forget() {
	p.forgetSecrets()
	p.net.close()
}

// forgetSecrets unmaps the supervisor's copy of the addresses that the
// filter lets pass, and of the shared page.
func (p *program) forgetSecrets() {
	for i := range p.world.secret {
		if s := &p.world.secret[i]; s[1] != 0 {
			unix.RawSyscall(unix.SYS_MUNMAP, s[0], s[1], 0)
			s[1] = 0
		}
	}
	if p.world.shared != 0 {
		unix.RawSyscall(unix.SYS_MUNMAP, p.world.shared, unsafe.Sizeof(sharedWords{}), 0)
		p.world.shared = 0
	}
	runtime.KeepAlive(p)
}

// sharePage maps the page that both children write to.
func (p *program) sharePage() error {
	at, _, e := unix.RawSyscall6(unix.SYS_MMAP, 0, unsafe.Sizeof(sharedWords{}), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	if e != 0 {
		return errors.New("mmap: " + e.Error())
	}
	p.world.shared = at
	return nil
}

// mountAttr is struct mount_attr of mount_setattr(2). The blank is
// propagation.
type mountAttr struct{ set, clear, _, usernsFD uint64 }

func (p *program) attr(set uint64) uintptr { return put(&p.mem, mountAttr{set: set}) }
