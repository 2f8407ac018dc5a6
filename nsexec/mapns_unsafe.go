package nsexec

import (
	"errors"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MapNamespace makes a user namespace that carries a map for an idmapped
// mount (mount_setattr(2), Linux 5.12): the owner on disk is the run to the
// kernel, everybody else is nobody. What the run makes belongs to the owner
// and his group; where that is group 0, to the group with the owner's number.
// An owner of 0 is for trees that are shown read-only. The caller closes the descriptor. Needs
// CAP_SETUID and CAP_SETGID, and user namespaces.
func MapNamespace(owner, ownerGroup uint32, run HostIDs) (int, error) {
	args := &unixCloneArgs{flags: unix.CLONE_NEWUSER | unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD)}
	syscall.ForkLock.Lock()
	pid, errno := clonePause(args, uintptr(unix.Getpid()))
	syscall.ForkLock.Unlock()
	if errno != 0 {
		return -1, &ErrClone{errno}
	}
	// It only holds the namespace until there is a descriptor of it.
	defer func() {
		unix.Kill(int(pid), unix.SIGKILL)
		for {
			if _, err := unix.Wait4(int(pid), nil, 0, nil); err != unix.EINTR {
				return
			}
		}
	}()
	base := "/proc/" + strconv.Itoa(int(pid))
	if err := writeFile(base+"/uid_map", ids(owner, run.UID)); err != nil {
		return -1, err
	}
	groups := ids(ownerGroup, run.GID)
	if ownerGroup == 0 {
		// Root's group must be mapped, or the tree could not be written at
		// all (the kernel refuses to touch inodes with unmapped ids), but
		// nothing that the run makes may belong to it.
		groups = ids(0, run.Nobody) + ids(owner, run.GID)
	}
	if owner == 0 {
		groups = ids(ownerGroup, run.GID)
	}
	if err := writeFile(base+"/gid_map", groups); err != nil {
		return -1, err
	}
	fd, err := unix.Open(base+"/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, errors.New("open " + strconv.Quote(base+"/ns/user") + ": " + err.Error())
	}
	return fd, nil
}

// clonePause makes a child that does nothing but wait to be killed.
//
//go:noinline
//go:nosplit
//go:norace
func clonePause(args *unixCloneArgs, launcher uintptr) (uintptr, syscall.Errno) {
	var old uint64
	all := ^uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	pid, errno := cloneRaw(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	if errno == 0 && pid == 0 {
		// A launcher that died before the signal was set sends none; one
		// that dies later must not live on in copies of its descriptors.
		syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
		if parent, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); parent != launcher {
			exit(statusOrphan)
		}
		if _, _, e := syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 0, uintptr(^uint32(0)), 0); e != 0 {
			exit(statusFailed)
		}
		for {
			syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
		}
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	return pid, syscall.Errno(errno)
}
