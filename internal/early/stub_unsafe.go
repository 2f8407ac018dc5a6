package early

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/nsexec"
)

// isLauncher tells whether this process was started to make a stub
// (nsexec.Launcher).
//
//go:nosplit
//go:norace
func isLauncher(sp uintptr) bool {
	argv := sp + unsafe.Sizeof(sp)
	return *(*uintptr)(pointer(sp)) == 2 && is(*(*uintptr)(pointer(argv + unsafe.Sizeof(sp))), nsexec.LaunchVerb)
}

// launchStub makes the stub of the image that this process was given, and ends.
//
// Trust boundary. Who controls the input: whoever executes sbx with this verb:
// the image is instructions. What privilege is held: his own. What has been
// checked: nothing, and nothing need be, since he could make these system calls
// himself; sbx is not set-user-id, and ends when it is (ids). What fails closed:
// an image of another build, whose layout may be another, is not used.
//
//go:nosplit
//go:norace
func (c *call) launchStub(sp uintptr) {
	const word = unsafe.Sizeof(sp)
	c.argv = nsexec.Strings{At: sp + word, N: *(*uintptr)(pointer(sp))}
	c.envp.At = c.argv.At + (c.argv.N+1)*word
	for *(*uintptr)(pointer(c.envp.At + c.envp.N*word)) != 0 {
		c.envp.N++
	}
	const failed = 125
	if c.auxiliary() && fstat(nsexec.LaunchImage) && uintptr(status.Size) > unsafe.Sizeof(nsexec.StubHead{}) && status.Size <= nsexec.StubSize {
		size := uintptr(status.Size)
		at, _, e := syscall.RawSyscall6(unix.SYS_MMAP, nsexec.StubBase, size, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE|unix.MAP_POPULATE, none, 0)
		if e == 0 && at == nsexec.StubBase {
			n, _, e := syscall.RawSyscall6(unix.SYS_PREAD64, nsexec.LaunchImage, at, size, 0, 0, 0)
			build := buildinfo.Build
			if e == 0 && n == size && same(at, uintptr(unsafe.Pointer(unsafe.StringData(build))), uintptr(len(build))) && byteAt(at+uintptr(len(build))) == 0 {
				c.makeStub(at)
				exit(0)
			}
		}
	}
	exit(failed)
}

//go:nosplit
//go:norace
func (c *call) makeStub(at uintptr) {
	theState.block(^uint64(0))
	syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&clock)), 0)
	l := &launched
	l.Area, l.AreaSize, l.Uptime = c.area, c.areaSize, uint64(clock.Sec)
	l.Stack = uintptr(unsafe.Pointer(&stack))
	(*nsexec.Image)(pointer(at + unsafe.Sizeof(nsexec.StubHead{}))).StartStub(l)
}

//go:nosplit
//go:norace
func exit(code uintptr) {
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, code, 0, 0)
	}
}
