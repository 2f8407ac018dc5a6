package main

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// load puts the calling thread under a program of struct sock_filter entries.
// Preconditions: the OS thread is locked and is never unlocked again, so that it
// ends with its goroutine; no_new_privs is set.
func load(insns []byte) error {
	const insnSize = 8
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&insns[0])
	prog := unix.SockFprog{Len: uint16(len(insns) / insnSize), Filter: (*unix.SockFilter)(unsafe.Pointer(&insns[0]))}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	return nil
}
