package integration

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// withoutLandlock makes landlock_create_ruleset(2) unknown to this thread and
// what it executes.
func withoutLandlock() error {
	load := unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS} // seccomp_data.nr
	is := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_LANDLOCK_CREATE_RULESET, Jf: 1}
	unknown := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0x00050000 | uint32(unix.ENOSYS)} // SECCOMP_RET_ERRNO
	pass := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000}                          // SECCOMP_RET_ALLOW
	insns := [...]unix.SockFilter{load, is, unknown, pass}
	prog := unix.SockFprog{Len: uint16(len(insns)), Filter: &insns[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); e != 0 {
		return e
	}
	return nil
}
