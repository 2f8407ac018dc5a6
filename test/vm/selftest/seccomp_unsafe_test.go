//go:build vmself

package selftest

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Values of linux/seccomp.h that x/sys/unix does not have.
const (
	retUserNotif     = 0x7fc00000
	retAllow         = 0x7fff0000
	getNotifSizes    = 3          // SECCOMP_GET_NOTIF_SIZES
	ioctlNotifRecv   = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	ioctlNotifSend   = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	setModeFilter    = 1
	filterNewListner = 1 << 3 // SECCOMP_FILTER_FLAG_NEW_LISTENER
)

// notif is struct seccomp_notif, resp struct seccomp_notif_resp.
type notif struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type resp struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

// listen loads a filter that hands getpgid(2) to a listener, makes the call on
// one thread, answers it from another with 4711, and says whether that arrived.
func listen() int {
	runtime.LockOSThread()
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_GETPGID},
		{Code: unix.BPF_RET | unix.BPF_K, K: retUserNotif},
		{Code: unix.BPF_RET | unix.BPF_K, K: retAllow},
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fmt.Println("no_new_privs:", err)
		return 1
	}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, filterNewListner, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		fmt.Println("seccomp:", errno)
		return 1
	}
	answered := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // a thread of its own, which the filter does not hold up
		var n notif
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, ioctlNotifRecv, uintptr(unsafe.Pointer(&n))); errno != 0 {
			answered <- fmt.Errorf("receive: %w", errno)
			return
		}
		if n.nr != unix.SYS_GETPGID || n.args[0] != 42 {
			answered <- fmt.Errorf("got call %d with %d, want %d with 42", n.nr, n.args[0], unix.SYS_GETPGID)
			return
		}
		r := resp{id: n.id, val: 4711}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, ioctlNotifSend, uintptr(unsafe.Pointer(&r))); errno != 0 {
			answered <- fmt.Errorf("send: %w", errno)
			return
		}
		answered <- nil
	}()
	got, _, errno := unix.Syscall(unix.SYS_GETPGID, 42, 0, 0)
	if err := <-answered; err != nil || errno != 0 || got != 4711 {
		fmt.Printf("getpgid: got %d, %v, want the listener's 4711; listener: %v\n", got, errno, err)
		return 1
	}
	return 0
}

func TestSeccompListener(t *testing.T) {
	actions := strings.Fields(read(t, "/proc/sys/kernel/seccomp/actions_avail"))
	for _, want := range []string{"kill_process", "errno", "user_notif", "log"} {
		if !contains(actions, want) {
			t.Errorf("actions_avail: got %v, want %q among them", actions, want)
		}
	}
	if out, err := victim(t, "listen", nil).CombinedOutput(); err != nil {
		t.Errorf("listener: %v: %s", err, out)
	}
}

func contains(list []string, item string) bool {
	for _, s := range list {
		if s == item {
			return true
		}
	}
	return false
}
