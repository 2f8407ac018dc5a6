package nsexec

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/weak"
)

// Launcher has stubs made by a process of their own: sbx, which reads the stub's
// image, clones and ends before Go's runtime has started in it (internal/early).
// The init of such a stub is a copy of that small process and holds nothing of
// the daemon's memory, and the daemon's is not copied for it. By CLONE_PARENT
// init is the daemon's child all the same. Safe for concurrent use.
type Launcher struct {
	// Path is the sbx to execute, Build its build, which must be this one's.
	Path, Build string
	// Null is a descriptor of /dev/null, which stays the caller's.
	Null int

	broken atomic.Int64 // until when, in Unix seconds, it is not tried: it has failed
}

const (
	// launcherRest is for how long one that has failed is not tried, in seconds:
	// what was lacking (processes, descriptors, a program that is being replaced)
	// comes back. At a tenth a host without it pays for each stub twice.
	launcherRest = 60
	// launcherTime is how long a launcher may take; it has a hundredth to do.
	launcherTime = 5 * time.Second
)

// LaunchVerb is the word by which sbx knows that it is to launch a stub. It is
// not for people.
const LaunchVerb = "internal-launch"

// The descriptors that a launcher finds.
const (
	LaunchImage = 3 + iota // a StubHead, and the image
	LaunchLate             // the region that the call is laid out in
	launchControl
	launchCgroup
)

const (
	// StubBase is where a stub's image is laid out and used, lateBase where its
	// region is: apart from each other and from what early has.
	StubBase = 0x5d_0000_0000
	lateBase = 0x5e_0000_0000
	// StubSize bounds a stub's image, in bytes.
	StubSize = 256 << 10
	// pidAt is where in the region the launcher tells init's pid, and errnoAt
	// what was not possible.
	pidAt, errnoAt = regionSize - 16, regionSize - 8
)

// StubHead is what a stub's image begins with.
type StubHead struct {
	Build [64]byte
	_     [64]byte
}

// lateMu is held while the region of a stub is mapped at lateBase, or an image
// is at StubBase.
var lateMu sync.Mutex

// Prepare is the function of that name by a launcher. A stub that depends on
// more than an image holds, and for a minute after the launcher has failed every
// one, is made by this process.
func (l *Launcher) Prepare(c Config) (*Stub, error) {
	if weak.Built || time.Now().Unix() < l.broken.Load() {
		return Prepare(c)
	}
	s, err := l.prepare(c)
	if err == nil {
		return s, nil
	}
	if err != ErrNoImage {
		l.broken.Store(time.Now().Unix() + launcherRest)
	}
	return Prepare(c)
}

func (l *Launcher) prepare(c Config) (*Stub, error) {
	c.Files = nil // what they are before the call, the launcher has
	image, err := memfd("stub")
	if err != nil {
		return nil, err
	}
	defer unix.Close(image)
	p, err := layStub(c, image, l.Build)
	if err != nil {
		return nil, err
	}
	late, err := memfd("call")
	if err != nil {
		return nil, err
	}
	s := &Stub{p: p, late: late}
	if err = unix.Ftruncate(late, regionSize); err == nil {
		s.Child, err = l.execute(c, image, late)
	}
	if err != nil {
		unix.Close(late)
		return nil, err
	}
	s.steps = p.steps
	return s, nil
}

// memfd makes a file in memory that nobody executes, as hosts may demand
// (vm.memfd_noexec, Linux 6.3); older kernels do not know the flag.
func memfd(name string) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return -1, errors.New("memfd_create: " + err.Error())
	}
	return fd, nil
}

// mapAt maps memory at a fixed address that no child inherits: a clone by another
// goroutine must not take one caller's call to another's init.
func mapAt(at, size uintptr, flags int, fd int) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	_, _, e := unix.RawSyscall6(unix.SYS_MMAP, at, size, unix.PROT_READ|unix.PROT_WRITE, uintptr(flags)|unix.MAP_FIXED_NOREPLACE, uintptr(fd), 0)
	if e == 0 {
		_, _, e = unix.RawSyscall(unix.SYS_MADVISE, at, size, unix.MADV_DONTFORK)
	}
	if e != 0 {
		return errors.New("mmap: " + e.Error())
	}
	return nil
}

// reap waits for a launcher's end; one that takes too long is killed.
func reap(pid int) error {
	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for end := time.Now().Add(launcherTime); ; {
			n, err := unix.Poll(poll, int(max(0, time.Until(end))/time.Millisecond))
			if err == unix.EINTR {
				continue
			}
			if n == 0 {
				unix.Kill(pid, unix.SIGKILL)
			}
			break
		}
		unix.Close(fd)
	}
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return err
		}
	}
}

// layStub writes the image of c to the file, and gives what the call will be
// laid out with.
func layStub(c Config, file int, build string) (*program, error) {
	lateMu.Lock()
	defer lateMu.Unlock()
	if err := mapAt(StubBase, StubSize, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1); err != nil {
		return nil, err
	}
	defer unix.RawSyscall(unix.SYS_MUNMAP, StubBase, StubSize, 0)
	region := unsafe.Slice((*byte)(pointer(StubBase)), StubSize)
	head := (*StubHead)(unsafe.Pointer(unsafe.SliceData(region)))
	if copy(head.Build[:], build) < len(build) {
		return nil, ErrNoImage
	}
	p, used, err := lay(c, region[unsafe.Sizeof(*head):], true)
	if err != nil {
		return nil, err
	}
	p.image.cgroup = c.CgroupFD >= 0
	text := region[:int(unsafe.Sizeof(*head))+len(used)]
	if n, err := unix.Write(file, text); err != nil || n != len(text) {
		return nil, errors.New("write the image of a stub")
	}
	// The image goes; what the call needs of the world is numbers.
	own := *p.world
	own.init, own.work, own.slots, own.region = nil, nil, make([]uintptr, len(own.slots)), [2]uintptr{}
	p.world, p.image, p.mem = &own, nil, arena{}
	return p, nil
}

// execute has the launcher make the child.
func (l *Launcher) execute(c Config, image, late int) (*Child, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.New("socketpair: " + err.Error())
	}
	group := l.Null
	if c.CgroupFD >= 0 {
		group = c.CgroupFD
	}
	null := uintptr(l.Null)
	pid, err := syscall.ForkExec(l.Path, []string{"sbx", LaunchVerb}, &syscall.ProcAttr{
		Files: []uintptr{null, null, null, LaunchImage: uintptr(image), LaunchLate: uintptr(late), launchControl: uintptr(pair[1]), launchCgroup: uintptr(group)},
	})
	unix.Close(pair[1])
	if err == nil {
		err = reap(pid)
	}
	var told [16]byte
	if err == nil {
		_, err = unix.Pread(late, told[:], pidAt)
	}
	child := *(*int32)(unsafe.Pointer(&told))
	switch {
	case err != nil:
		err = errors.New("execute " + strconv.Quote(l.Path) + ": " + err.Error())
	case child <= 0:
		err = errors.New("execute " + strconv.Quote(l.Path) + ": it launched nothing (" + syscall.Errno(*(*int64)(unsafe.Pointer(&told[8]))).Error() + ")")
	}
	if err != nil {
		unix.Close(pair[0])
		return nil, err
	}
	return &Child{PID: int(child), control: pair[0]}, nil
}

// StartStub is the launcher's part. img was read to where it was laid out.
// Preconditions as for Image.Start; the caller ends this process afterwards.
//
//go:nosplit
//go:norace
func (img *Image) StartStub(c *ImageCall) {
	w := &img.world
	at, _, e := syscall.RawSyscall6(unix.SYS_MMAP, lateBase, regionSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED_NOREPLACE, LaunchLate, 0)
	if e != 0 {
		return
	}
	errno := (*int64)(pointer(at + errnoAt))
	w.shared, _, e = syscall.RawSyscall6(unix.SYS_MMAP, 0, unsafe.Sizeof(sharedWords{}), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	if e == 0 && img.args.flags&(unix.CLONE_NEWNET|unix.CLONE_NEWUSER) == 0 {
		// The run's network namespace is this process's, which ends.
		_, _, e = syscall.RawSyscall(unix.SYS_UNSHARE, unix.CLONE_NEWNET, 0, 0)
	}
	if e == 0 {
		w.watch.place(c.Stack)
		img.setClocks(c.Uptime)
		// The kernel says who it is before anything can come between.
		img.args.flags |= unix.CLONE_PARENT | unix.CLONE_PARENT_SETTID
		img.args.parentTID = uint64(at + pidAt)
		img.args.exitSignal = 0 // it is the launcher's own (clone(2))
		if img.cgroup {
			img.args.flags |= unix.CLONE_INTO_CGROUP
			img.args.cgroup = launchCgroup
		}
		w.begin(launchControl, c.Area, c.AreaSize)
		_, e = cloneImage(w, &img.args)
	}
	*errno = int64(e)
}

// mapLate maps the region for a call to be laid out. Preconditions: lateMu is
// held.
func (s *Stub) mapLate() error {
	if err := mapAt(lateBase, regionSize, unix.MAP_SHARED, s.late); err != nil {
		return err
	}
	s.p.world.region = [2]uintptr{lateBase, regionSize}
	return nil
}

// letGo gives up the region.
func (s *Stub) letGo() {
	s.p.unmapRegion()
	if s.late >= 0 {
		unix.Close(s.late)
		s.late = -1
	}
}
