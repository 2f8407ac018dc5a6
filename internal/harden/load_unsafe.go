package harden

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// load puts a filter on all threads. TSYNC hands them no_new_privs as well,
// which this thread sets for itself first (seccomp(2), since Linux 3.17).
func load(program []byte) error {
	if len(program) == 0 || len(program)%8 != 0 {
		return errors.New("bug: an empty filter")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(program) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	r, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return fmt.Errorf("load the daemon's filter: %w", errno)
	}
	if r != 0 {
		return fmt.Errorf("load the daemon's filter: thread %d has another one", r)
	}
	return nil
}
