package early

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	atCwd = ^uintptr(99) // AT_FDCWD
	// none is the descriptor of nothing.
	none = ^uintptr(0)
)

//go:nosplit
//go:norace
func open(dir uintptr, path uintptr, flags uintptr) uintptr {
	fd, _, e := syscall.RawSyscall6(unix.SYS_OPENAT, dir, path, flags|unix.O_CLOEXEC, 0o600, 0, 0)
	if e != 0 {
		return none
	}
	return fd
}

//go:nosplit
//go:norace
func shut(fd uintptr) {
	if fd != none {
		syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	}
}

//go:nosplit
//go:norace
func fstat(fd uintptr) bool {
	_, _, e := syscall.RawSyscall(unix.SYS_FSTAT, fd, uintptr(unsafe.Pointer(&status)), 0)
	return e == 0
}

// openTrusted opens the directory or regular file at an absolute path as
// safefs.OpenTrusted does, every component checked from / on; but for links,
// which it does not follow. The path is cut up while it works. none: it is not
// so.
//
//go:nosplit
//go:norace
func openTrusted(path uintptr, uid uintptr, flags uintptr) uintptr {
	root := [2]byte{'/'}
	dir := open(0, uintptr(unsafe.Pointer(&root)), unix.O_PATH|unix.O_DIRECTORY)
	for dir != none {
		if !fstat(dir) || !believed(uid) || status.Mode&unix.S_IFMT != unix.S_IFDIR {
			break
		}
		for byteAt(path) == '/' {
			path++
		}
		end := path
		for byteAt(end) != 0 && byteAt(end) != '/' {
			end++
		}
		last := byteAt(end) == 0
		*(*byte)(pointer(end)) = 0
		how := uintptr(unix.O_PATH | unix.O_NOFOLLOW)
		if last {
			how = flags | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
		}
		next := open(dir, path, how)
		if !last {
			*(*byte)(pointer(end)) = '/'
		}
		shut(dir)
		if dir = next; last {
			if dir != none && fstat(dir) && believed(uid) {
				return dir
			}
			break
		}
		path = end
	}
	shut(dir)
	return none
}

// believed is safefs.CheckOwner for the file of status.
//
//go:nosplit
//go:norace
func believed(uid uintptr) bool {
	if status.Uid != 0 && uintptr(status.Uid) != uid {
		return false
	}
	kind := status.Mode & unix.S_IFMT
	return status.Mode&0o022 == 0 || kind == unix.S_IFDIR && status.Mode&unix.S_ISVTX != 0
}

// load reads the image of the call. false: there is none that this process may
// use, and nothing is left.
//
//go:nosplit
//go:norace
func (c *call) load() bool {
	path := line{at: uintptr(unsafe.Pointer(&pathMemory)), size: unsafe.Sizeof(pathMemory)}
	if !c.file(&path) {
		return false
	}
	fd := openTrusted(path.at, c.uid, unix.O_RDONLY)
	if fd == none {
		return false
	}
	ok := status.Mode&unix.S_IFMT == unix.S_IFREG && uintptr(status.Size) >= unsafe.Sizeof(image{}) && status.Size <= maxImage && readImage(fd, uintptr(status.Size))
	shut(fd)
	return ok
}

// readImage reads an image to its place and looks whether it is what it should
// be.
//
//go:nosplit
//go:norace
func readImage(fd, size uintptr) bool {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED_NOREPLACE | unix.MAP_POPULATE
	at, _, e := syscall.RawSyscall6(unix.SYS_MMAP, base, size, unix.PROT_READ|unix.PROT_WRITE, flags, none, 0)
	if e != 0 {
		return false
	}
	theState.mapped = size
	if at != base {
		syscall.RawSyscall(unix.SYS_MUNMAP, at, size, 0)
		theState.mapped = 0
		return false
	}
	n, _, e := syscall.RawSyscall(unix.SYS_READ, fd, base, size)
	img := theImage()
	return e == 0 && n == size && img.magic == magic && img.size == uint64(size) && img.whole()
}
