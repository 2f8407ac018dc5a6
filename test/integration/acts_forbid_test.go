package integration

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// The call that acts make to be refused: no policy of these tests allows
// syslog(2), and it does nothing with these arguments.
const (
	forbidden     = "syslog"
	forbiddenArg0 = 0x7a7a
	forbiddenArg1 = 0x1234567890
	forbiddenArg2 = 0x55
)

// Acts run on the main thread, PID 2 of their run, wherever Go would move them.
func init() { runtime.LockOSThread() }

// unsignalled keeps signals from this thread for good: the one by which Go
// preempts would withdraw a call that waits for its answer.
func unsignalled() {
	runtime.LockOSThread()
	all := unix.Sigset_t{}
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, nil); err != nil {
		panic(err) // there are no other causes than mistakes
	}
}

func forbid() int {
	unsignalled()
	_, _, err := unix.RawSyscall(unix.SYS_SYSLOG, forbiddenArg0, forbiddenArg1, forbiddenArg2)
	return complain("syslog came back: %v", err)
}

func actForbid([]string) int { return forbid() }

// actForbidChild has a child do it and ends well itself.
func actForbidChild([]string) int {
	cmd := again("forbid")
	cmd.Run()
	return 0
}

// actForbidThread does it in a thread with a name while the main one waits.
func actForbidThread([]string) int {
	go forbid()
	time.Sleep(5 * time.Second)
	return 0
}

func actForbidPath([]string) int {
	unsignalled()
	return complain("chroot came back: %v", unix.Chroot("/some/where"))
}

// actX32 enters by the x32 ABI: bit 30 of the number.
func actX32([]string) int {
	unsignalled()
	_, _, err := unix.RawSyscall(0x40000000|unix.SYS_GETPID, 0, 0, 0)
	return complain("x32 getpid came back: %v", err)
}
