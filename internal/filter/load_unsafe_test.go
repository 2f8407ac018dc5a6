package filter

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// load puts the calling thread under a program, and returns what seccomp(2)
// does. Preconditions: the OS thread is locked and is never unlocked again, so
// that it ends with its goroutine; no_new_privs is set.
func load(insns []byte, flags uintptr) (uintptr, unix.Errno) {
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&insns[0])
	prog := unix.SockFprog{Len: uint16(len(insns) / insnSize), Filter: (*unix.SockFilter)(unsafe.Pointer(&insns[0]))}
	r, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	return r, errno
}

// notification is struct seccomp_notif.
type notification struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// answerOne waits for a call at the listener fd, refuses it with errno, and
// returns it.
func answerOne(fd uintptr, errno unix.Errno) (notification, error) {
	var n notification
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); e != 0 {
		return n, e
	}
	r := response{id: n.id, errno: -int32(errno)}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r))); e != 0 {
		return n, e
	}
	return n, nil
}

// secretExec maps a page for each of path (empty), argv and envp of an
// execveat, and returns their addresses.
func secretExec(argv, envp []string) (path, args, env uint64, err error) {
	page := func(list []string) (uint64, error) {
		const size = 1 << 16
		b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return 0, err
		}
		base := unsafe.Pointer(&b[0])
		pointers := unsafe.Slice((*uintptr)(base), len(list)+1)
		at := 8 * (len(list) + 1)
		for i, s := range list {
			pointers[i] = uintptr(base) + uintptr(at)
			at += copy(b[at:], s+"\x00")
		}
		return uint64(uintptr(base)), nil
	}
	if path, err = page(nil); err != nil {
		return
	}
	if args, err = page(argv); err != nil {
		return
	}
	env, err = page(envp)
	return
}
