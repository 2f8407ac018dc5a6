package cgroup

import (
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// home is the group that Stay has bound this process to; nil: none.
var home atomic.Pointer[string]

// delegateMarks are the extended attributes by which systemd marks a group that
// it has handed over (systemd's docs/CGROUP_DELEGATION, Delegate=): the first
// for root, the second, of newer versions, for everybody.
var delegateMarks = [...]string{"trusted.delegate", "user.delegate"}

// Stay makes the superuser's process stay inside its own group where a service
// manager has delegated that to it: from then on Open takes the place below it,
// so that the manager bounds, counts and ends what runs there with the service.
// The process moves into a group of its own beside the leaves. Call it once,
// before any leaf is made.
//
// Nothing changes, and there is no error, for other users, who never leave their
// own group, where nothing is delegated, and without a version 2 hierarchy. It
// is EBUSY, and nothing changes, where other processes are in the group as well:
// it could hand down no controller.
func Stay() error {
	if unix.Geteuid() != 0 {
		return nil
	}
	mount, err := findMount()
	if err != nil {
		return nil
	}
	own, err := ownGroup()
	if err != nil {
		return nil
	}
	base := mount + strings.TrimSuffix(own, "/"+supervisorName)
	if own == "/" || !marked(base) {
		return nil
	}
	fd, err := unix.Open(base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return wrap("open", base, err)
	}
	defer unix.Close(fd)
	if err := vacate(fd); err != nil {
		return wrap("stay in cgroup", base, err)
	}
	home.Store(&base)
	return nil
}

// marked tells whether a service manager has delegated the group.
func marked(path string) bool {
	var value [8]byte
	for _, name := range delegateMarks {
		if n, err := unix.Lgetxattr(path, name, value[:]); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}
