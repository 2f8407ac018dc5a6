// Package cgroup gives each run a control group of its own: a leaf of the
// version 2 hierarchy in which the kernel counts, bounds and kills everything
// that the run starts. It is linked into the command that every invocation
// pays for, so it imports nothing beyond x/sys/unix and reads no file that the
// step at hand does not need.
//
// Use [Open] to find the place where leaves are made and [Parent.Create] to
// make one; hand [Leaf.FD] to clone3(2) with CLONE_INTO_CGROUP, and end with
// [Leaf.Delete]. A limit whose controller is missing is reported by name
// ([Leaf.Set]) and is the caller's to judge; killing and CPU accounting work
// in every version 2 hierarchy, also in a hybrid one that has no controllers.
//
// Ownership is a lock: who holds an exclusive flock(2) on the directory of a
// leaf that still exists owns it, and the kernel releases the lock when the
// last copy of the descriptor is closed, however its owner died.
// [Parent.Sweep] removes what nobody owns. No process id, start time or boot
// id is compared anywhere.
//
// It does not protect from a process outside the leaf that may write to the
// hierarchy, nor from a copy of the leaf's descriptor that outlives its owner:
// a child that does not execute another program must close it.
//
// The interface files are described in the kernel's
// Documentation/admin-guide/cgroup-v2.rst.
package cgroup

import (
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// placeName is the directory that holds the leaves.
	placeName = "sbx"
	// supervisorName is the directory that a process moves itself into when
	// it stands where a controller has to be handed down: a group with
	// processes of its own cannot do that (cgroup-v2.rst, "No Internal
	// Process Constraint"). It lies beside the leaves, never among them.
	supervisorName = "sbx-supervisor"
)

// Parent is the directory in which leaves are made. It is safe for concurrent
// use, but for Close.
type Parent struct {
	// fd is the open directory, close-on-exec.
	fd int
	// path is the directory's name, for messages only.
	path string
	// live counts the leaves that this Parent made and has not deleted.
	live atomic.Int64
}

// Open finds the version 2 hierarchy and opens the directory for leaves,
// making it (mode 0755) where it does not exist.
//
// With an empty root it is the first of these that can be written:
//
//   - "sbx" below the group that [Stay] has bound this process to, and then no
//     other;
//   - for the superuser, "sbx" directly below the mount point;
//   - "sbx" below the caller's own group: a container with a group namespace,
//     a unit with Delegate=yes, a user's delegated scope.
//
// A root that is not empty is the directory itself; it must be on a version 2
// hierarchy and exist, or its parent directory must.
//
// Errors: [ErrNoHierarchy] when no version 2 hierarchy is mounted,
// [ErrNotDelegated] (a [*NotDelegatedError] with the reason) when nothing can
// be written. The caller closes the Parent.
func Open(root string) (*Parent, error) {
	if root != "" {
		return makePlace(root)
	}
	if base := home.Load(); base != nil {
		return makePlace(*base + "/" + placeName)
	}
	if unix.Geteuid() != 0 {
		return OpenOwn()
	}
	// The place exists on every start but the first, so the two usual names
	// are tried before anything is looked for. A place that is there and
	// cannot be written (a read-only mount in a container) is no reason to
	// stop: the caller's own group may be writable.
	for _, mount := range usualMounts {
		if p, err := openPlace(mount + "/" + placeName); err == nil {
			return p, nil
		}
	}
	mount, err := findMount()
	if err != nil {
		return nil, err
	}
	p, err := makePlace(mount + "/" + placeName)
	if err == nil {
		return p, nil
	}
	own, ownErr := OpenOwn()
	if ownErr != nil {
		return nil, err
	}
	return own, nil
}

// OpenOwn is Open for a caller that must stay inside the group that it was
// started in, whatever else it may write to: a service whose manager ends,
// bounds and accounts for its whole subtree (systemd's Delegate=yes). Errors
// are those of Open.
func OpenOwn() (*Parent, error) {
	mount, err := findMount()
	if err != nil {
		return nil, err
	}
	own, err := ownGroup()
	if err != nil {
		return nil, err
	}
	// Whoever was started by a supervisor that had to step aside makes its
	// leaves beside that supervisor's, not below it.
	own = strings.TrimSuffix(own, "/"+supervisorName)
	base := mount
	if own != "/" {
		base += own
	}
	return makePlace(base + "/" + placeName)
}

// Usual tells whether the directory is one that Open takes for the superuser
// wherever the caller is.
func (p *Parent) Usual() bool {
	for _, mount := range usualMounts {
		if p.path == mount+"/"+placeName {
			return true
		}
	}
	return false
}

// Path is the directory's name as it was found, for reports.
func (p *Parent) Path() string { return p.path }

// Close releases the directory. Leaves that are still owned stay usable for
// everything but [Leaf.Set] and [Leaf.Delete].
func (p *Parent) Close() error {
	return wrap("close", p.path, unix.Close(p.fd))
}

// openPlace opens an existing directory for leaves and checks that it is one
// and that leaves can be made in it.
func openPlace(path string) (*Parent, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, wrap("open", path, err)
	}
	if err := isHierarchy(fd); err != nil {
		unix.Close(fd)
		return nil, wrap("open", path, err)
	}
	// Asked here and not at the first mkdir, so that Open can still turn to
	// another place; AT_EACCESS because rights follow the effective ids.
	if err := unix.Faccessat(fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		unix.Close(fd)
		return nil, &NotDelegatedError{Path: path, Err: err}
	}
	return &Parent{fd: fd, path: path}, nil
}

// makePlace is openPlace for a directory that may have to be made first.
func makePlace(path string) (*Parent, error) {
	p, err := openPlace(path)
	if !isErrno(err, unix.ENOENT) {
		return p, err
	}
	base := path[:strings.LastIndexByte(path, '/')+1]
	if base == "" {
		base = "."
	}
	fd, err := unix.Open(base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, wrap("open", base, err)
	}
	defer unix.Close(fd)
	// Without this check a wrong root would leave a directory on an
	// ordinary file system.
	if err := isHierarchy(fd); err != nil {
		return nil, wrap("open", base, err)
	}
	switch err := unix.Mkdirat(fd, lastName(path), 0o755); err {
	case nil, unix.EEXIST:
	case unix.EACCES, unix.EPERM, unix.EROFS:
		return nil, &NotDelegatedError{Path: base, Err: err}
	default:
		return nil, wrap("mkdir", path, err)
	}
	return openPlace(path)
}

// lastName is what follows the last slash.
func lastName(path string) string {
	return path[strings.LastIndexByte(path, '/')+1:]
}
