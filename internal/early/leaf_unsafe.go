package early

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Names of files below a control group, as the kernel takes them.
var (
	above = [...]byte{'.', '.', '/', 'c', 'g', 'r', 'o', 'u', 'p', '.', 'c', 'o', 'n', 't', 'r', 'o', 'l', 'l', 'e', 'r', 's', 0}
	procs = [...]byte{'c', 'g', 'r', 'o', 'u', 'p', '.', 'p', 'r', 'o', 'c', 's', 0}
	dot   = [...]byte{'.', 0}
)

// makeLeaf makes the run's control group as cgroup.Parent.Create and Leaf.Set do.
// false: something is not as it was, and nothing is left.
//
//go:nosplit
//go:norace
func (img *image) makeLeaf() bool {
	if img.place.n == 0 {
		return img.refused()
	}
	s := &theState
	s.parent = open(atCwd, img.place.at, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if s.parent == none {
		return false
	}
	_, _, e := syscall.RawSyscall(unix.SYS_FSTATFS, s.parent, uintptr(unsafe.Pointer(&statfs)), 0)
	if e == 0 && statfs.Type == unix.CGROUP2_SUPER_MAGIC && reads(s.parent, uintptr(unsafe.Pointer(&above)), &img.controllers) {
		if _, _, e := syscall.RawSyscall(unix.SYS_MKDIRAT, s.parent, s.leafName(), 0o755); e == 0 {
			if img.own() {
				return true
			}
			s.dropLeaf()
		}
	}
	shut(s.parent)
	s.parent = none
	return false
}

// refused tells whether there still is no right to make a control group.
//
//go:nosplit
//go:norace
func (img *image) refused() bool {
	if img.denied.n == 0 {
		return true
	}
	_, _, e := syscall.RawSyscall6(unix.SYS_FACCESSAT2, atCwd, img.denied.at, unix.W_OK|unix.X_OK, unix.AT_EACCESS, 0, 0)
	return e != 0
}

// own locks the new group, looks whether a sweeper was faster, and sets the
// limits.
//
//go:nosplit
//go:norace
func (img *image) own() bool {
	s := &theState
	s.leaf = open(s.parent, s.leafName(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if s.leaf == none {
		return false
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_FLOCK, s.leaf, unix.LOCK_EX|unix.LOCK_NB, 0); e != 0 {
		return false
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_FACCESSAT, s.leaf, uintptr(unsafe.Pointer(&procs)), unix.F_OK); e != 0 {
		return false
	}
	for i := uintptr(0); i+1 < img.writes.N; i += 2 {
		fd := open(s.leaf, img.writes.String(i), unix.O_WRONLY)
		if fd == none {
			return false
		}
		value := img.writes.String(i + 1)
		_, _, e := syscall.RawSyscall(unix.SYS_WRITE, fd, value, length(value))
		shut(fd)
		if e != 0 {
			return false
		}
	}
	return true
}

// leafName is the address of the group's name.
//
//go:nosplit
//go:norace
func (s *runState) leafName() uintptr { return uintptr(unsafe.Pointer(&s.name)) }

// runID is the address of the run's id, which the group's name ends with.
//
//go:nosplit
//go:norace
func (s *runState) runID() uintptr { return s.leafName() + uintptr(len(leafPrefix)) }

// leafPrefix begins the names of runs' control groups.
const leafPrefix = "run-"

// dropLeaf removes the group, and closes it and its parent. Right after the end
// of the last process the kernel may still hold it for a moment; what is left
// then is the next sweep's.
//
//go:nosplit
//go:norace
func (s *runState) dropLeaf() {
	if s.parent == none {
		return
	}
	const tries, pause = 100, 1_000_000 // ns
	for range tries {
		_, _, e := syscall.RawSyscall(unix.SYS_UNLINKAT, s.parent, s.leafName(), unix.AT_REMOVEDIR)
		if e != unix.EBUSY {
			break
		}
		clock.Sec, clock.Nsec = 0, pause
		syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&clock)), 0, 0)
	}
	shut(s.leaf)
	shut(s.parent)
	s.leaf, s.parent = none, none
}

// sweep removes the empty groups that nobody owns, as cgroup.Parent.Sweep does.
// One with processes is left to it: it would have to be killed.
//
//go:nosplit
//go:norace
func (s *runState) sweep() {
	const usual = 2 + 1 // links of a directory with one below it
	if s.parent == none || !fstat(s.parent) || status.Nlink <= usual {
		return
	}
	list := open(s.parent, uintptr(unsafe.Pointer(&dot)), unix.O_RDONLY|unix.O_DIRECTORY)
	if list == none {
		return
	}
	at := uintptr(unsafe.Pointer(&listMemory))
	n, _, e := syscall.RawSyscall(unix.SYS_GETDENTS64, list, at, unsafe.Sizeof(listMemory))
	shut(list)
	const head, kindAt, sizeAt = 19, 18, 16 // struct linux_dirent64
	for i := uintptr(0); e == 0 && i+head < n; {
		size := uintptr(byteAt(at+i+sizeAt)) | uintptr(byteAt(at+i+sizeAt+1))<<8
		if size <= head || i+size > n {
			return
		}
		name := at + i + head
		if byteAt(at+i+kindAt) == unix.DT_DIR && byteAt(name) != '.' {
			s.sweepOne(name)
		}
		i += size
	}
}

//go:nosplit
//go:norace
func (s *runState) sweepOne(name uintptr) {
	fd := open(s.parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if fd == none {
		return
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_FLOCK, fd, unix.LOCK_EX|unix.LOCK_NB, 0); e == 0 {
		syscall.RawSyscall(unix.SYS_UNLINKAT, s.parent, name, unix.AT_REMOVEDIR)
	}
	shut(fd)
}
