package daemon

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// peerGroups are the supplementary groups of the process at the other end of
// a connection, as they were at its connect(2): SO_PEERGROUPS of unix(7),
// Linux 4.13. nil where the kernel does not say.
func peerGroups(fd int) []uint32 {
	groups := make([]uint32, 64)
	for range 2 {
		n := uint32(len(groups) * 4)
		_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(unsafe.SliceData(groups))), uintptr(unsafe.Pointer(&n)), 0)
		switch {
		case e == 0:
			return groups[:n/4]
		case e != unix.ERANGE || n > 4<<16: // NGROUPS_MAX is 65536
			return nil
		}
		groups = make([]uint32, n/4+16)
	}
	return nil
}
