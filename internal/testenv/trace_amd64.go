package testenv

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// CanFail tells whether [Act.Fail] works here.
const CanFail = true

// oldByPath are those of [byPath] that newer architectures do not have.
var oldByPath = []int{unix.SYS_RENAME, unix.SYS_UNLINK, unix.SYS_RMDIR, unix.SYS_MKDIR, unix.SYS_LINK, unix.SYS_SYMLINK, unix.SYS_CHMOD}

// skipCall keeps the kernel from carrying out the call that a thread has
// stopped before: there is no call of that number.
func skipCall(tid int) error {
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	regs.Orig_rax = ^uint64(0)
	return syscall.PtraceSetRegs(tid, &regs)
}

// failCall makes the call that a thread has stopped after return an error.
func failCall(tid int, e unix.Errno) error {
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	regs.Rax = uint64(-int64(e))
	return syscall.PtraceSetRegs(tid, &regs)
}
