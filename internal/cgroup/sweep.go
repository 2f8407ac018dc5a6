package cgroup

import (
	"time"

	"golang.org/x/sys/unix"
)

// sweepWait is how long one Sweep waits in all for killed processes to be
// gone. An empty leaf is removed at once; one whose processes were just
// killed takes a fraction of a millisecond, and what takes longer is left to
// the next Sweep.
const sweepWait = 50 * time.Millisecond

// Sweep removes the leaves that nobody owns, killing what is still in them,
// and reports how many it removed. A leaf whose owner lives is never touched:
// its lock cannot be taken. Sweep never waits for a lock, so any number of
// sweepers and creators get along; each stale leaf is removed by one of them.
//
// It costs one fstat(2) when the directory holds no leaves but those of this
// Parent, else about 5 us for each leaf there (measured).
//
// The error is the first that occurred; the other leaves are swept all the
// same.
func (p *Parent) Sweep() (removed int, err error) {
	// Links are 2 and one for each leaf (see links).
	if int64(links(p.fd))-2 <= p.live.Load() {
		return 0, nil
	}
	// An own descriptor, because listing moves the offset.
	dir, err := unix.Openat(p.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, wrap("open", p.path, err)
	}
	names, err := children(dir)
	unix.Close(dir)
	if err != nil {
		return 0, wrap("list", p.path, err)
	}
	end := time.Now().Add(sweepWait)
	var first error
	for _, name := range names {
		ok, err := p.sweepOne(name, max(0, time.Until(end)))
		if ok {
			removed++
		}
		if err != nil && first == nil {
			first = wrap("sweep", p.path+"/"+name, err)
		}
	}
	return removed, first
}

// sweepOne removes one leaf if nobody owns it. The lock is held until it is
// gone, so of two sweepers one does the work, and a creator that comes late
// sees that it lost.
func (p *Parent) sweepOne(name string, timeout time.Duration) (bool, error) {
	leaf, err := p.own(name)
	if err != nil {
		// EWOULDBLOCK: it lives, or another sweeper has it.
		if err == unix.EWOULDBLOCK || gone(err) == nil {
			return false, nil
		}
		return false, err
	}
	defer unix.Close(leaf.fd)
	// Only killed when it is not empty: mostly one system call is enough.
	if err := unix.Unlinkat(p.fd, name, unix.AT_REMOVEDIR); err != unix.EBUSY {
		return err == nil, gone(err)
	}
	if err := kill(leaf.fd, name); err != nil {
		return false, err
	}
	if err := remove(p.fd, leaf.fd, name, timeout); err != nil {
		return false, err
	}
	return true, nil
}
