package nsexec

import (
	"errors"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/weak"
)

// TreeOwner says whose a tree is that is shown through a map.
type TreeOwner struct {
	// UID and GID are the owner on disk that the run is in the tree: what it
	// makes belongs to him. Where GID is 0 and UID is not, to the group with
	// UID's number.
	UID, GID uint32
	// RootUID and RootGID are the owner of the tree's root directory. Where
	// these are others, they are mapped to ids that nobody has: the kernel
	// refuses every write to an inode with an unmapped owner, whatever its
	// mode says.
	RootUID, RootGID uint32
}

// MapNamespace makes a user namespace that carries a map for an idmapped
// mount (mount_setattr(2), Linux 5.12): the owner on disk is the run to the
// kernel, everybody else is nobody. UID 0 is for trees that are shown
// read-only. The caller closes the descriptor. Needs CAP_SETUID and
// CAP_SETGID, and user namespaces.
func MapNamespace(o TreeOwner, run HostIDs) (int, error) {
	if err := weak.Err("map-namespace"); err != nil {
		return -1, err
	}
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
	users, groups := treeMaps(o, run)
	if err := writeFile(base+"/uid_map", users); err != nil {
		return -1, err
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

// treeMaps returns the lines of both maps. Ids that nobody has are taken from
// Nobody on.
func treeMaps(o TreeOwner, run HostIDs) (users, groups string) {
	users = ids(o.UID, run.UID)
	if o.RootUID != o.UID {
		users += ids(o.RootUID, run.Nobody)
	}
	group := o.GID
	if group == 0 && o.UID != 0 {
		group = o.UID
	}
	groups = ids(group, run.GID)
	nobody := run.Nobody
	if o.GID != group {
		groups += ids(o.GID, nobody)
		nobody++
	}
	if o.RootGID != group && o.RootGID != o.GID {
		groups += ids(o.RootGID, nobody)
	}
	return users, groups
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
