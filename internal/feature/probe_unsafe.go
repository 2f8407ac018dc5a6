package feature

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/cgroup"
)

// host holds what several probes look at.
type host struct {
	root bool
	// cgroup is the directory of this process in the v2 hierarchy; empty:
	// none.
	cgroup, cgroupDetail string
}

func look() host {
	h := host{root: os.Geteuid() == 0}
	h.cgroup, h.cgroupDetail = ownCgroup()
	return h
}

// ownCgroup finds this process in the v2 hierarchy, wherever it is mounted.
func ownCgroup() (dir, detail string) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err.Error()
	}
	mount := ""
	for line := range strings.Lines(string(mounts)) {
		// proc_pid_mountinfo(5): fields, " - ", type; field 5 is the mount
		// point.
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if ok && strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			mount = fields[4]
			break
		}
	}
	if mount == "" {
		return "", "no cgroup2 file system is mounted"
	}
	// Root's runs are below the mount point wherever root is started, as
	// internal/cgroup.Open has it.
	if os.Geteuid() == 0 && unix.Access(mount, unix.W_OK) == nil {
		return mount, "at " + mount
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err.Error()
	}
	for line := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			dir := filepath.Join(mount, path)
			if _, err := os.Stat(dir); err != nil {
				// Seen from another cgroup namespace than the mount's.
				dir = mount
			}
			return dir, "at " + dir
		}
	}
	return "", "this process is in no cgroup of version 2"
}

func controller(name string) func(host) (bool, string) {
	return func(h host) (bool, string) {
		if h.cgroup == "" {
			return false, h.cgroupDetail
		}
		b, err := os.ReadFile(filepath.Join(h.cgroup, "cgroup.controllers"))
		if err != nil {
			return false, err.Error()
		}
		for c := range strings.FieldsSeq(string(b)) {
			if c == name {
				if unix.Access(h.cgroup, unix.W_OK) != nil {
					return false, fmt.Sprintf("%s is not delegated to this user", h.cgroup)
				}
				return true, "at " + h.cgroup
			}
		}
		return false, fmt.Sprintf("%s has the controllers %q", h.cgroup, strings.TrimSpace(string(b)))
	}
}

func tryCgroupKill(h host) (bool, string) {
	if h.cgroup == "" {
		return false, h.cgroupDetail
	}
	// Nothing is made for the probe alone: whoever is killed in between would
	// leave it behind, and nobody sweeps there.
	if _, err := os.Stat(filepath.Join(h.cgroup, "cgroup.kill")); err == nil {
		if err := unix.Access(h.cgroup, unix.W_OK); err != nil {
			return false, h.cgroup + ": " + err.Error()
		}
		return true, ""
	}
	// The root group has none; the one that has its runs does.
	place, err := cgroup.Open("")
	if err != nil {
		return false, err.Error()
	}
	defer place.Close()
	if _, err := os.Stat(filepath.Join(place.Path(), "cgroup.kill")); err != nil {
		return false, err.Error()
	}
	return true, ""
}

// tryUserNS clones into a user namespace together with the others that it
// must own, writes a map, and lets the execve fail: nothing is executed.
// AppArmor's restriction lets the first clone pass and refuses the rest,
// hence all in one.
func tryUserNS(host) (bool, string) {
	attr := &syscall.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getegid(), Size: 1}},
	}}
	_, err := syscall.ForkExec("", []string{"probe"}, attr)
	if errors.Is(err, unix.ENOENT) { // the execve of "": all before it worked
		return true, ""
	}
	if err == nil {
		return false, "execve of an empty path succeeded (this is a bug)"
	}
	detail := "clone with CLONE_NEWUSER: " + err.Error()
	for _, name := range []string{"user/max_user_namespaces", "kernel/unprivileged_userns_clone", "kernel/apparmor_restrict_unprivileged_userns"} {
		if b, err := os.ReadFile("/proc/sys/" + name); err == nil {
			detail += fmt.Sprintf(", %s=%s", strings.ReplaceAll(name, "/", "."), bytes.TrimSpace(b))
		}
	}
	return false, detail
}

func nsFile(name string) func(host) (bool, string) {
	return func(host) (bool, string) {
		_, err := os.Lstat("/proc/self/ns/" + name)
		if err != nil {
			return false, err.Error()
		}
		return true, ""
	}
}

const (
	retKillProcess = unix.SECCOMP_RET_KILL_PROCESS
	retUserNotif   = unix.SECCOMP_RET_USER_NOTIF
)

func seccompAction(name string, action uint32) func(host) (bool, string) {
	return func(host) (bool, string) {
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
		if errno != 0 {
			return false, fmt.Sprintf("seccomp action %s: %v", name, errno)
		}
		return true, ""
	}
}

// tryIdmap asks for an idmapped mount with the map of the initial user
// namespace. A kernel that has such mounts refuses that map with EPERM
// (fs/namespace.c, build_mount_idmapped); one that has none answers EINVAL
// or ENOSYS. Whether a given file system takes part is seen at each tree.
func tryIdmap(h host) (bool, string) {
	if !h.root {
		return false, "needs root"
	}
	if ok, detail := tryUserNS(h); !ok {
		return false, "a map is carried by a user namespace: " + detail
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, "/proc/self/ns", unix.OPEN_TREE_CLOEXEC|unix.OPEN_TREE_CLONE)
	if err != nil {
		// Namespace links cannot be cloned everywhere; the root can.
		tree, err = unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLOEXEC|unix.OPEN_TREE_CLONE)
	}
	if err != nil {
		return false, "open_tree: " + err.Error()
	}
	defer unix.Close(tree)
	ns, err := unix.Open("/proc/self/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err.Error()
	}
	defer unix.Close(ns)
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns),
	})
	if errors.Is(err, unix.EPERM) {
		return true, ""
	}
	return false, fmt.Sprintf("mount_setattr with MOUNT_ATTR_IDMAP: %v", err)
}

// minLandlock is the first ABI that a launch uses (Linux 5.19): ABI 1 refuses
// to link and rename between directories whatever the rules say (landlock(7)).
const minLandlock = 2

func tryLandlock(host) (bool, string) {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return false, "landlock_create_ruleset: " + errno.Error()
	}
	return landlockABI(int(abi))
}

// landlockABI judges an ABI, for tests as well.
func landlockABI(abi int) (bool, string) {
	if abi < minLandlock {
		return false, "ABI " + strconv.Itoa(abi) + ", of which a launch makes no use"
	}
	return true, "ABI " + strconv.Itoa(abi)
}

func tryMDWE(host) (bool, string) {
	if _, err := unix.PrctlRetInt(unix.PR_GET_MDWE, 0, 0, 0, 0); err != nil {
		return false, "prctl PR_GET_MDWE: " + err.Error()
	}
	return true, ""
}

// tryProcSubset sets the option on a proc that is never mounted. Without
// privilege no file system context can be made, and the option is seen by the
// release alone: it came with 5.8 (commit 6814ef2d992a).
func tryProcSubset(host) (bool, string) {
	fd, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.EPERM) {
		var u unix.Utsname
		if err := unix.Uname(&u); err != nil {
			return false, err.Error()
		}
		release := unix.ByteSliceToString(u.Release[:])
		var major, minor int
		if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
			return false, fmt.Sprintf("kernel release %q: %v", release, err)
		}
		return major > 5 || major == 5 && minor >= 8, "by the kernel's release " + release
	}
	if err != nil {
		return false, "fsopen proc: " + err.Error()
	}
	defer unix.Close(fd)
	if err := unix.FsconfigSetString(fd, "subset", "pid"); err != nil {
		return false, "proc option subset=pid: " + err.Error()
	}
	return true, ""
}
