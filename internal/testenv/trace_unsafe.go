package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is one system call that a traced program is about to make, or has made.
type Call struct {
	// TID is the thread's id.
	TID    int
	Number int
	Args   [6]uint64
	// Done is set after the call, when Result, an errno where it is negative,
	// is what it returned. It is false for one that fails by Act.Fail.
	Done   bool
	Result int64
}

// byDescriptor and byPath are the calls by which a program changes what is on a
// disk, or says how durable it is; the first argument of the former says where.
var (
	byDescriptor = []int{
		unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FCHMOD,
		unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS, unix.SYS_IOCTL,
	}
	byPath = []int{
		unix.SYS_RENAMEAT2, unix.SYS_RENAMEAT, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_FCHMODAT,
	}
)

// Path is what the first argument, a descriptor, leads to.
func (c Call) Path() string {
	path, _ := os.Readlink("/proc/" + strconv.Itoa(c.TID) + "/fd/" + strconv.Itoa(int(int32(c.Args[0]))))
	return path
}

// Changes tells whether the call may change what is below dir, or asks the
// kernel to make that durable. What goes by a path counts wherever it leads.
func (c Call) Changes(dir string) bool {
	switch {
	case slices.Contains(byDescriptor, c.Number):
		path := c.Path()
		return path == dir || strings.HasPrefix(path, dir+"/")
	case c.Number == unix.SYS_OPENAT:
		return c.Args[2]&(unix.O_CREAT|unix.O_TRUNC) != 0
	}
	return slices.Contains(byPath, c.Number) || slices.Contains(oldByPath, c.Number)
}

// Act is what becomes of a call.
type Act struct {
	// Kill sends SIGKILL before the call is made.
	Kill bool
	// Fail makes the call fail with this error, not carried out; 0: it is
	// made. Only on amd64 ([CanFail]).
	Fail unix.Errno
}

// syscallInfo is struct ptrace_syscall_info (ptrace(2), PTRACE_GET_SYSCALL_INFO,
// since Linux 5.3), with the larger of its members.
type syscallInfo struct {
	op     uint8
	_      [3]byte
	_      uint32
	ip, sp uint64
	data   [8]uint64
}

const (
	getSyscallInfo = 0x420e
	infoEntry      = 1
	infoExit       = 2
)

// Trace runs cmd, which must not have been started and has no pipes of its
// own, and asks before and after every system call of any of its threads what
// shall become of it. Its child processes are not traced. It returns how cmd
// ended.
func Trace(t testing.TB, cmd *exec.Cmd, at func(Call) Act) syscall.WaitStatus {
	t.Helper()
	runtime.LockOSThread() // ptrace(2): the tracer is a thread
	defer runtime.UnlockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	leader := cmd.Process.Pid
	defer cmd.Process.Release()
	status, err := trace(leader, at)
	if err != nil {
		unix.Kill(leader, unix.SIGKILL)
		t.Fatalf("trace: %v", err)
	}
	return status
}

func trace(leader int, at func(Call) Act) (end syscall.WaitStatus, err error) {
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	seen := map[int]bool{}
	failing, begun := map[int]unix.Errno{}, map[int]Call{}
	for {
		var ws syscall.WaitStatus
		// Only what this thread traces: others of the test have children too.
		tid, err := syscall.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return end, nil
		case err != nil:
			return end, err
		}
		if ws.Exited() || ws.Signaled() {
			delete(seen, tid)
			delete(failing, tid)
			if tid == leader {
				end = ws
			}
			continue
		}
		deliver := 0
		switch sig := ws.StopSignal(); {
		case !seen[tid]:
			// After execve, or the stop with which a thread begins.
			seen[tid] = true
			if tid == leader {
				if err := syscall.PtraceSetOptions(tid, options); err != nil {
					return end, fmt.Errorf("set options: %w", err)
				}
			}
		case sig == unix.SIGTRAP|0x80:
			if err := stopped(leader, tid, failing, begun, at); err != nil && !errors.Is(err, unix.ESRCH) {
				return end, err
			}
		case sig == unix.SIGTRAP && ws.TrapCause() > 0: // a thread was made
		default:
			deliver = int(sig)
		}
		if err := syscall.PtraceSyscall(tid, deliver); err != nil && !errors.Is(err, unix.ESRCH) {
			return end, fmt.Errorf("go on: %w", err)
		}
	}
}

// stopped asks about one call.
func stopped(leader, tid int, failing map[int]unix.Errno, begun map[int]Call, at func(Call) Act) error {
	var info syscallInfo
	_, _, e := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if e != 0 {
		return e
	}
	switch info.op {
	case infoEntry:
		c := Call{TID: tid, Number: int(info.data[0]), Args: [6]uint64(info.data[1:7])}
		begun[tid] = c
		act := at(c)
		if act.Kill {
			return unix.Kill(leader, unix.SIGKILL)
		}
		if act.Fail != 0 {
			failing[tid] = act.Fail
			return skipCall(tid)
		}
	case infoExit:
		if e, ok := failing[tid]; ok {
			delete(failing, tid)
			return failCall(tid, e)
		}
		if c, ok := begun[tid]; ok {
			c.Done, c.Result = true, int64(info.data[0])
			at(c)
		}
	}
	return nil
}
