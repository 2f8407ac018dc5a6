package nsexec

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Image is a launch laid out for calls to come, in memory that holds no
// pointer to anything outside of itself: it can be kept in a file, read to the
// same address by another process of this build, and carried out there before
// Go's runtime has started (internal/early). What depends on the call is
// filled in by Start: descriptors, arguments, environment, the random addresses
// of the one permitted execveat, the clocks' offsets.
//
// Only a launch that hands nothing over but what is in an [ImageCall] can be
// one: see [Lay].
type Image struct {
	world world
	args  unixCloneArgs
	// network: the supervisor makes the network namespace.
	network bool
	net     network
	// cgroup: a stub is cloned into the control group that its launcher is given.
	cgroup bool
	// clocks are the addresses of the digits of the two offsets; 0: none.
	clocks [2]uintptr
	// abi is the Landlock that the lists were made for.
	abi uintptr
	// streams are the Landlock rules of descriptors 0 to 2; 0: none. file and
	// write are what a rule of a file that is open for both, or for writing
	// alone, grants.
	streams     [3]uintptr
	file, write uint64
	// insns is the filter; once are the instructions with halves of addresses,
	// where holds is set.
	insns uintptr
	once  [6]uint16
	holds bool
	// path and text are where the maps of the run's ids are put together.
	path [32]byte
	text [32]byte
}

// Strings are N addresses, at At, of strings that end with NUL.
type Strings struct{ At, N uintptr }

// ImageCall is what an Image takes of its call, and what became of it.
type ImageCall struct {
	// Fixed and Args make argv, Set and Env the environment. Args and Env are
	// copied; Fixed and Set lie in the image's memory.
	Fixed, Args, Set, Env Strings
	// Area and AreaSize are where this process's arguments and environment are.
	Area, AreaSize uintptr
	// Cgroup is the directory of the control group; -1 for none.
	Cgroup int
	// Uptime is CLOCK_MONOTONIC in seconds.
	Uptime uint64
	// Stack is where the watcher's stack of StackSize bytes begins.
	Stack uintptr
	// PID and Control are those of the child: see Child.
	PID, Control uintptr
}

// StackSize is the size of the watcher's stack in bytes.
const StackSize = watchStack

// ErrNoImage says that a launch depends on more than an ImageCall holds.
var ErrNoImage = errors.New("the launch depends on its call")

// Lay lays the launch of c out in region, which begins at the address where it
// will be used, and returns what is used of it, which begins with the Image.
// Argv, Env, Files and Ignored of c do not count; a network namespace is made
// by the supervisor unless the run has the caller's own ids. ErrNoImage: for c
// there is none. Afterwards the region must stay as it is.
func Lay(c Config, region []byte) (*Image, []byte, error) {
	p, used, err := lay(c, region, false)
	if err != nil {
		return nil, nil, err
	}
	return p.image, used, nil
}

// lay is Lay for a whole launch, or for a stub that a launcher makes.
func lay(c Config, region []byte, stub bool) (*program, []byte, error) {
	if c.Files != nil || c.Output != [2]int{} || c.Mapped > 0 || c.CwdStamp.Ino != 0 || c.Identity.Mode == NoUserNS || uintptr(len(region)) < 2*unsafe.Sizeof(Image{}) {
		return nil, nil, ErrNoImage
	}
	img := (*Image)(unsafe.Pointer(unsafe.SliceData(region)))
	*img = Image{network: c.Identity.Mode != OwnUser && !stub, abi: uintptr(landlockABI())}
	p := &program{world: &img.world, worldAt: uintptr(unsafe.Pointer(&img.world)), image: img, net: network{own: -1}}
	const align = 64
	size := (unsafe.Sizeof(*img) + align - 1) &^ (align - 1)
	p.mem = arena{free: region[size:], bounded: true}
	c.Ignored = nil
	if stub {
		img.world.region = [2]uintptr{lateBase, regionSize}
	}
	if err := p.lists(c, stub); err != nil {
		return nil, nil, err
	}
	slots := p.slots + lateSlots
	img.world.init = moved(&p.mem, p.init)
	if !stub {
		img.world.work = moved(&p.mem, p.work)
	}
	img.world.slots = moved(&p.mem, make([]uintptr, slots))
	if p.mem.full {
		return nil, nil, ErrNoImage
	}
	img.args.flags = cloneFlags(c, c.Identity.Mode != OwnUser)
	img.args.exitSignal = uint64(unix.SIGCHLD)
	return p, region[:len(region)-len(p.mem.free)], nil
}

// moved is a copy of list in the arena.
func moved[T any](m *arena, list []T) []T {
	b := m.alloc(len(list) * int(unsafe.Sizeof(list[0])))
	out := unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(list))
	copy(out, list)
	return out
}

// hold keeps where the filter is to be completed.
func (img *Image) hold(insns []byte, once []uint16) error {
	img.insns = addr(insns)
	if len(once) == 0 {
		return nil
	}
	img.holds = true
	if copy(img.once[:], once) != len(once) || len(once) != len(img.once) {
		return errors.New("plan has a malformed filter (this is a bug)")
	}
	for _, k := range once {
		if int(k)*insnSize+insnConstant+4 > len(insns) {
			return errors.New("plan has a malformed filter (this is a bug)")
		}
	}
	return nil
}

// Maps tells whether init will ask for its maps.
//
//go:nosplit
//go:norace
func (img *Image) Maps() bool { return img.network }

// Start launches the image. Preconditions: this process has one thread, and
// blocks all signals; the image has been read to the address that it was laid
// out for. 0: c.PID and c.Control are set, and are the caller's. Otherwise
// nothing is left but mappings.
//
//go:nosplit
//go:norace
func (img *Image) Start(c *ImageCall) syscall.Errno {
	w := &img.world
	if uintptr(landlockABI()) != img.abi {
		return unix.ESTALE
	}
	shared, _, e := syscall.RawSyscall6(unix.SYS_MMAP, 0, unsafe.Sizeof(sharedWords{}), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	if e != 0 {
		return e
	}
	w.shared = shared
	w.watch.place(c.Stack)
	if !img.command(c) {
		return unix.ENOMEM
	}
	img.setClocks(c.Uptime)
	for fd := range img.streams {
		if rule := img.streams[fd]; rule != 0 {
			*(*uint64)(pointer(rule)) = descriptorRights(uintptr(fd), img.file, img.write)
		}
	}
	if c.Cgroup >= 0 {
		img.args.flags |= unix.CLONE_INTO_CGROUP
		img.args.cgroup = uint64(c.Cgroup)
	}
	return img.launch(c)
}

// setClocks writes the offsets of the run's clocks.
//
//go:nosplit
//go:norace
func (img *Image) setClocks(uptime uint64) {
	for i := range img.clocks {
		if img.clocks[i] != 0 {
			putDecimal(img.clocks[i], clockDigits, uptime)
		}
	}
}

// launch makes the control socket and the child.
//
//go:nosplit
//go:norace
func (img *Image) launch(c *ImageCall) syscall.Errno {
	var pair [2]int32
	if _, _, e := syscall.RawSyscall6(unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0, uintptr(unsafe.Pointer(&pair)), 0, 0); e != 0 {
		return e
	}
	c.Control = uintptr(pair[0])
	e := unix.EPERM
	if img.net.own = -1; img.network {
		img.net.prepare(int(pair[0]))
	}
	if img.network == (img.net.own >= 0) {
		img.world.begin(uintptr(pair[1]), c.Area, c.AreaSize)
		c.PID, e = cloneImage(&img.world, &img.args)
	}
	syscall.RawSyscall(unix.SYS_CLOSE, uintptr(pair[1]), 0, 0)
	if e == 0 && img.network {
		made, back := img.net.visit()
		if back != 0 { // prepare has just come back to it: this cannot happen, and nothing may go on here
			c.End()
			exit(statusFailed)
		}
		if e = made; e != 0 {
			c.End()
		}
	}
	img.forget()
	if e != 0 {
		syscall.RawSyscall(unix.SYS_CLOSE, c.Control, 0, 0)
	}
	return e
}

// cloneBlocked is cloneInit where every signal is blocked already.
//
//lint:ignore U1000 image_*.s calls it
//go:noinline
//go:nosplit
//go:norace
func cloneBlocked(w *world, args *unixCloneArgs) (uintptr, syscall.Errno) {
	pid, errno := cloneRaw(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	if errno == 0 && pid == 0 {
		beginInit(w)
	}
	return pid, syscall.Errno(errno)
}

// End kills the child and reaps it.
//
//go:nosplit
//go:norace
func (c *ImageCall) End() {
	syscall.RawSyscall(unix.SYS_KILL, c.PID, uintptr(unix.SIGKILL), 0)
	syscall.RawSyscall6(unix.SYS_WAIT4, c.PID, 0, 0, 0, 0, 0)
}

// forget unmaps this process's copy of the addresses that the filter lets
// pass and of the shared page, and lets the thread's own namespace go.
//
//go:nosplit
//go:norace
func (img *Image) forget() {
	w := &img.world
	for i := range w.secret {
		syscall.RawSyscall(unix.SYS_MUNMAP, w.secret[i][0], w.secret[i][1], 0)
	}
	syscall.RawSyscall(unix.SYS_MUNMAP, w.shared, unsafe.Sizeof(sharedWords{}), 0)
	if img.net.own >= 0 {
		syscall.RawSyscall(unix.SYS_CLOSE, uintptr(img.net.own), 0, 0)
		img.net.own = -1
	}
}

// command lays out path, argv and envp of the execveat, as secrets does for a
// launch that is whole; strings are copied, because init clears the memory
// that the kernel gave this process its own in.
//
//go:nosplit
//go:norace
func (img *Image) command(c *ImageCall) bool {
	w := &img.world
	to, _, e := syscall.RawSyscall6(unix.SYS_MMAP, 0, 1+c.Args.size()+c.Env.size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	if e != 0 {
		return false
	}
	exec := (*[3]uintptr)(unsafe.Pointer(&w.work[len(w.work)-1].a[1])) // path, argv, envp: see workload
	exec[0] = w.hide(0, 1)
	exec[1] = w.hide(1, (c.Fixed.N+c.Args.N+1)*wordSize)
	exec[2] = w.hide(2, (c.Set.N+c.Env.N+1)*wordSize)
	if exec[0] == 0 || exec[1] == 0 || exec[2] == 0 {
		return false
	}
	to = fill(exec[1], to, &c.Fixed, &c.Args)
	fill(exec[2], to, &c.Set, &c.Env)
	if img.holds {
		for i := range img.once {
			v := uint32(exec[i/2])
			if i&1 != 0 {
				v = uint32(uint64(exec[i/2]) >> 32)
			}
			*(*uint32)(pointer(img.insns + uintptr(img.once[i])*insnSize + insnConstant)) = v
		}
	}
	return true
}

// size is how many bytes the strings take.
//
//go:nosplit
//go:norace
func (s *Strings) size() (n uintptr) {
	for i := range s.N {
		for p := s.String(i); *(*byte)(pointer(p)) != 0; p++ {
			n++
		}
		n++
	}
	return n
}

// String is the address of string i.
//
//go:nosplit
//go:norace
func (s *Strings) String(i uintptr) uintptr { return *(*uintptr)(pointer(s.At + i*wordSize)) }

// fill writes a vector of the kept strings and of copies of the others, which
// it puts at to; it returns where the copies end.
//
//go:nosplit
//go:norace
func fill(vector, to uintptr, kept, copied *Strings) uintptr {
	for i := range kept.N {
		*(*uintptr)(pointer(vector)) = kept.String(i)
		vector += wordSize
	}
	for i := range copied.N {
		*(*uintptr)(pointer(vector)) = to
		vector += wordSize
		for p := copied.String(i); ; p++ {
			b := *(*byte)(pointer(p))
			*(*byte)(pointer(to)) = b
			to++
			if b == 0 {
				break
			}
		}
	}
	*(*uintptr)(pointer(vector)) = 0
	return to
}

// Answer gives the child's user namespace its maps and lets it go on: the
// answer to a NeedMaps record. ids are host ids, never 0.
//
//go:nosplit
//go:norace
func (img *Image) Answer(c *ImageCall, uid, gid uint32) syscall.Errno {
	if uid == 0 || gid == 0 {
		return unix.EINVAL
	}
	if e := img.writeMap(c, "/uid_map", uid); e != 0 {
		return e
	}
	if e := img.writeMap(c, "/gid_map", gid); e != 0 {
		return e
	}
	img.text[0] = 1
	_, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, c.Control, uintptr(unsafe.Pointer(&img.text)), 1, unix.MSG_NOSIGNAL, 0, 0)
	return e
}

// writeMap writes one map of the child's user namespace.
//
//go:nosplit
//go:norace
func (img *Image) writeMap(c *ImageCall, name string, id uint32) syscall.Errno {
	p := uintptr(unsafe.Pointer(&img.path))
	end := putString(putNumber(putString(p, "/proc/"), uint64(c.PID)), name)
	*(*byte)(pointer(end)) = 0
	t := uintptr(unsafe.Pointer(&img.text))
	end = putString(putNumber(putString(putNumber(t, InsideID), " "), uint64(id)), " 1\n")
	fd, _, e := syscall.RawSyscall6(unix.SYS_OPENAT, atCwd, p, unix.O_WRONLY|unix.O_CLOEXEC, 0, 0, 0)
	if e != 0 {
		return e
	}
	_, _, e = syscall.RawSyscall(unix.SYS_WRITE, fd, t, end-t)
	syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	return e
}

// Adopt is the Child that an image's Start made.
func Adopt(pid, control int) *Child { return &Child{PID: pid, control: control} }
