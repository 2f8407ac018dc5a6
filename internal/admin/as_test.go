package admin

import (
	"runtime"
	"syscall"
	"testing"
)

// as runs f on a thread of its own with another effective uid. The thread is
// not used again.
func as(t *testing.T, uid int, f func()) {
	t.Helper()
	done := make(chan struct{})
	var errno syscall.Errno
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if _, _, errno = syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno == 0 {
			f()
		}
	}()
	<-done
	if errno != 0 {
		t.Fatal(errno)
	}
}
