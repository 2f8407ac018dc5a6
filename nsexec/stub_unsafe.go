package nsexec

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/weak"
)

// A stub is a launch that has stopped before its first step that depends on a
// call: init is in its namespaces, its view and its ids, and waits. What is
// still to be done is laid out in a region of memory that supervisor and init
// share, at the same address in both; the caller's descriptors come with the
// message that says so. Nothing of any caller is in a stub before that, but
// for the copy of the supervisor's memory that every init is, and whose ids it
// has is decided when it is made.
//
// The region is inherited by this one child (madvise(2), MADV_DONTFORK, at all
// other times), init lets go of it once PID 2 has executed, and the supervisor
// as soon as it is handed over.

const (
	// regionSize bounds what a call can bring: arguments, environment, filter
	// and operations, in bytes. Pages that nobody touches cost nothing. A call
	// with more is launched whole.
	regionSize = 1 << 20
	// lateSlots is how many slots the late operations may use.
	lateSlots = 64
	// maxLate bounds a late list; a workload has some forty operations.
	maxLate = 4096
)

// ErrTooLarge says that a call does not fit into a stub.
var ErrTooLarge = errors.New("the call is too large for a prepared sandbox")

// lateList is where a list of operations is in the region, which begins with
// two of them.
type lateList struct{ at, n uintptr }

// Stub is a prepared sandbox, for one call. It is not safe for concurrent use.
type Stub struct {
	// Child is its init: records, maps and the end are as after Start.
	*Child
	p *program
	// late is the region's file where a launcher made the stub: it is mapped
	// while a call is laid out. -1: the region is mapped already.
	late int
}

// Prepare makes a stub for the plan and the ids of c. Files must be
// descriptors that tell nothing (/dev/null); Argv, Env, Chdir, Output and
// Rlimits do not count yet. The caller must answer init's NeedMaps, and then
// call Launch or Discard.
func Prepare(c Config) (*Stub, error) {
	if err := weak.Err("stub-prepare"); err != nil {
		return nil, errors.New("prepare: " + err.Error())
	}
	child, p, err := start(c, true)
	if err != nil {
		return nil, err
	}
	return &Stub{child, p, -1}, nil
}

// Discard ends a stub that is not used.
func (s *Stub) Discard() {
	s.letGo()
	s.Signal(unix.SIGKILL)
	s.Wait()
}

// Launch has the stub carry out a call: Argv, Env, Chdir, Files, Output and
// Rlimits of c, whose plan and identity are those that it was prepared with.
// Afterwards the Child is one that Start would have given. With an error the
// stub still has to be discarded. unix.EPIPE: init has gone; its last record
// says why.
func (s *Stub) Launch(c Config) error {
	if err := weak.Err("stub-launch"); err != nil {
		return err
	}
	if s.late >= 0 {
		lateMu.Lock()
		defer lateMu.Unlock()
		if err := s.mapLate(); err != nil {
			return err
		}
	}
	defer s.letGo()
	p := s.p
	fds := *c.Files
	for i, fd := range c.Output {
		if fd > 0 {
			fds[i+1] = fd
		}
	}
	region := p.region()
	p.mem = arena{free: region[2*unsafe.Sizeof(lateList{}):], bounded: true}
	var work []op
	p.list = &work
	err := p.workload(c)
	p.forgetSecrets()
	if err != nil {
		return err
	}
	strict(c, work)
	for which, list := range [...][]op{p.late, work} {
		at := p.mem.alloc(len(list) * int(unsafe.Sizeof(op{})))
		if p.mem.full || p.slots > len(p.world.slots) || len(list) > maxLate {
			return ErrTooLarge
		}
		copy(unsafe.Slice((*op)(unsafe.Pointer(unsafe.SliceData(at))), len(list)), list)
		*(*lateList)(unsafe.Pointer(&region[uintptr(which)*unsafe.Sizeof(lateList{})])) = lateList{addr(at), uintptr(len(list))}
	}
	s.steps = p.steps
	return s.Proceed(fds[:]...)
}

// awaitCall is the end of a stub's own list: it waits for the call, and puts
// the descriptors that come with it in their places. What follows is in the
// region.
func (p *program) awaitCall() {
	fds := p.receiveDescriptors(3, "the call")
	p.begin("connect", "", "stdin, stdout and stderr")
	for i, fd := range fds {
		p.add(unix.SYS_DUP3, 0, uintptr(i), 0).arg(0, fd)
	}
	for _, fd := range fds {
		p.add(unix.SYS_CLOSE).arg(0, fd)
	}
}

// carrySecrets has init map the pages with path, argv and envp of the one
// permitted execveat at the addresses that were drawn for them, which are not
// in its memory: it was cloned before.
func (p *program) carrySecrets() {
	p.begin("map", "", "the arguments")
	list := p.list
	p.list = &p.late
	for i := range p.world.secret {
		s := p.world.secret[i]
		p.add(unix.SYS_MMAP, s[0], s[1], unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE, ^uintptr(0), 0)
		from := p.mem.alloc(int(s[1]))
		copy(from, unsafe.Slice((*byte)(pointer(s[0])), s[1]))
		p.add(opCopy, s[0], addr(from), s[1])
		p.add(opCopy, p.worldAt+unsafe.Offsetof(p.world.secret)+uintptr(i)*unsafe.Sizeof(s), put(&p.mem, s), unsafe.Sizeof(s))
	}
	p.list = list
}

// mapRegion maps the region, for nobody yet.
func (p *program) mapRegion() error {
	if err := weak.Err("stub-region"); err != nil {
		return errors.New("mmap: " + err.Error())
	}
	at, _, e := unix.RawSyscall6(unix.SYS_MMAP, 0, regionSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE, ^uintptr(0), 0)
	if e != 0 {
		return errors.New("mmap: " + e.Error())
	}
	p.world.region = [2]uintptr{at, regionSize}
	p.inherit(false)
	return nil
}

// inherit says whether a child gets the region. Preconditions: ForkLock is
// held, or the region is new.
func (p *program) inherit(yes bool) {
	if p.world.region[1] == 0 {
		return
	}
	advice := uintptr(unix.MADV_DONTFORK)
	if yes {
		advice = unix.MADV_DOFORK
	}
	unix.RawSyscall(unix.SYS_MADVISE, p.world.region[0], p.world.region[1], advice)
}

func (p *program) region() []byte {
	return unsafe.Slice((*byte)(pointer(p.world.region[0])), p.world.region[1])
}

func (p *program) unmapRegion() {
	if r := p.world.region; r[1] != 0 {
		unix.RawSyscall(unix.SYS_MUNMAP, r[0], r[1], 0)
		p.world.region = [2]uintptr{}
	}
}
