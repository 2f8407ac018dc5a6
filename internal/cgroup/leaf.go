package cgroup

import (
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxName bounds a leaf's name in bytes; NAME_MAX is 255 and Create may
	// add a suffix.
	maxName = 200
	// createTries is how often Create starts again when a sweeper took the
	// new directory before it was locked. Two sweepers that did nothing else
	// on two processors took 2 to 12 in a hundred, and in bursts: once 8 in a
	// row (measured). A try costs about 40 us.
	createTries = 64
	// maxDepth bounds how deep groups below a leaf are followed. The
	// hierarchy is not visible to a workload, so there are none unless a
	// policy opens it; the bound keeps a hostile depth from the stack.
	maxDepth = 32
)

// Leaf is the control group of one run. It is not safe for concurrent use,
// but for Kill.
type Leaf struct {
	parent *Parent
	// fd is the open directory, close-on-exec; the lock on it is the
	// ownership.
	fd   int
	name string
}

// Create makes the leaf with this name and takes its ownership. The name must
// be unique among the runs of the host: 1 to 200 bytes, no slash, not
// beginning with a dot; EINVAL otherwise, EEXIST when it is taken, EAGAIN when
// the host's cgroup.max.descendants is reached. The leaf may get a suffix, see
// [Leaf.Name]. The caller ends it with Delete or Close.
//
// The directory is made, opened, locked, and then looked into once more: a
// sweeper that came between mkdir and flock either holds the lock (ours fails)
// or has removed the directory (it has no files any more). Both mean: again,
// under another name. So creating never waits for a sweeper, nor a sweeper for
// anybody who creates.
func (p *Parent) Create(name string) (*Leaf, error) {
	if name == "" || len(name) > maxName || name[0] == '.' || strings.IndexByte(name, '/') >= 0 {
		return nil, wrap("make cgroup", name, unix.EINVAL)
	}
	last := unix.EAGAIN
	for try := range createTries {
		attempt := name
		if try > 0 {
			attempt += "-" + strconv.Itoa(try)
		}
		err := unix.Mkdirat(p.fd, attempt, 0o755)
		if err == unix.EEXIST && try > 0 {
			continue
		}
		if err != nil {
			return nil, wrap("make cgroup", p.path+"/"+attempt, err)
		}
		leaf, err := p.own(attempt)
		if err == nil {
			p.live.Add(1)
			return leaf, nil
		}
		errno, ok := err.(unix.Errno)
		if !ok || (errno != unix.ENOENT && errno != unix.EWOULDBLOCK) {
			unix.Unlinkat(p.fd, attempt, unix.AT_REMOVEDIR)
			return nil, wrap("lock cgroup", p.path+"/"+attempt, err)
		}
		last = errno
	}
	return nil, wrap("lock cgroup", p.path+"/"+name, last)
}

// Adopt is the leaf with this name that somebody made, locked and opened as fd
// for the caller, and its Parent, which is open as parent. Both become the
// caller's.
func Adopt(parent int, path string, fd int, name string) (*Parent, *Leaf) {
	p := &Parent{fd: parent, path: path}
	p.live.Add(1)
	return p, &Leaf{parent: p, fd: fd, name: name}
}

// own opens and locks a leaf. EWOULDBLOCK: somebody else owns it; ENOENT: it
// is gone.
func (p *Parent) own(name string) (*Leaf, error) {
	fd, err := unix.Openat(p.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := retry(func() error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := unix.Faccessat(fd, "cgroup.procs", unix.F_OK, 0); err != nil {
		unix.Close(fd)
		return nil, unix.ENOENT
	}
	return &Leaf{parent: p, fd: fd, name: name}, nil
}

// FD is the open directory, for CLONE_INTO_CGROUP (Linux 5.7, clone(2)). It
// stays the leaf's; a child that is not going to execute a program closes its
// copy, or the leaf is owned for as long as that child lives.
func (l *Leaf) FD() int { return l.fd }

// Name is the leaf's name below the Parent: the one asked for, or that and a
// suffix.
func (l *Leaf) Name() string { return l.name }

// Path is the leaf's directory, for reports.
func (l *Leaf) Path() string { return l.parent.path + "/" + l.name }

// Close gives up the ownership and leaves the group to the next Sweep, which
// kills whatever is still in it.
func (l *Leaf) Close() error {
	l.parent.live.Add(-1)
	return wrap("close", l.Path(), unix.Close(l.fd))
}

// Delete removes the leaf, waiting up to timeout for its last process to be
// gone, and releases it in any case: what could not be removed
// ([ErrPopulated], or the kernel's errno) is left to the next Sweep. It does
// not kill. Groups below the leaf are removed with it.
func (l *Leaf) Delete(timeout time.Duration) error {
	err := remove(l.parent.fd, l.fd, l.name, timeout)
	l.parent.live.Add(-1)
	unix.Close(l.fd)
	return wrap("remove cgroup", l.Path(), err)
}

// remove is rmdir of the group name (open as fd) below the directory dir,
// repeated until its processes are gone or the timeout has passed.
func remove(dir, fd int, name string, timeout time.Duration) error {
	// Mostly the namespace's init was waited for and everything is gone, so
	// nothing is opened or asked before the first attempt.
	err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	if err != unix.EBUSY {
		return gone(err)
	}
	events, err := unix.Openat(fd, "cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return gone(err)
	}
	defer unix.Close(events)
	end := time.Now().Add(timeout)
	// The kernel holds back notifications that follow each other within
	// 10 ms (kernel/cgroup/cgroup.c, CGROUP_FILE_NOTIFY_MIN_INTV), so a poll
	// never waits longer than that, and less at first.
	const first, longest = time.Millisecond, 10 * time.Millisecond
	for wait := first; ; wait = min(2*wait, longest) {
		text, err := readAll(events, "cgroup.events")
		if err != nil {
			return gone(err)
		}
		if value(text, "populated") == 0 {
			if err := removeChildren(fd, 0); err != nil {
				return err
			}
			// EBUSY once more: a process is between its exit and its
			// last reference, or somebody entered.
			if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err != unix.EBUSY {
				return gone(err)
			}
		}
		left := time.Until(end)
		if left <= 0 {
			return ErrPopulated
		}
		poll := []unix.PollFd{{Fd: int32(events), Events: unix.POLLPRI}}
		_, err = unix.Poll(poll, int(min(wait, left+time.Millisecond)/time.Millisecond))
		if err != nil && err != unix.EINTR {
			return err
		}
	}
}

// removeChildren removes the groups below the group fd, deepest first.
func removeChildren(fd, depth int) error {
	names, err := children(fd)
	if err != nil {
		return gone(err)
	}
	if len(names) > 0 && depth == maxDepth {
		return unix.ELOOP
	}
	for _, name := range names {
		child, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			if gone(err) == nil {
				continue
			}
			return err
		}
		err = removeChildren(child, depth+1)
		unix.Close(child)
		if err != nil {
			return err
		}
		if err := gone(unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)); err != nil && err != unix.EBUSY {
			return err
		}
	}
	return nil
}

// gone turns the errnos of a group that no longer exists into success.
func gone(err error) error {
	if isErrno(err, unix.ENOENT) || isErrno(err, unix.ENODEV) {
		return nil
	}
	return err
}
