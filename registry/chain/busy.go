package chain

import (
	"time"

	"golang.org/x/sys/unix"
)

// busyFor bounds how long a file may stay open for writing in a process that
// another thread of this one made while it was written: such a child closes
// what it does not need first, which takes milliseconds on a quiet machine.
const busyFor = 2 * time.Second

// unlessBusy calls f until it returns something else than ETXTBSY, or busyFor
// has passed: a descriptor is in every child that is made while it is open,
// until that executes something or closes it, whatever O_CLOEXEC says.
func unlessBusy(f func() error) error {
	for end, wait := time.Now().Add(busyFor), time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if err := f(); err != unix.ETXTBSY || time.Now().After(end) {
			return err
		}
		time.Sleep(wait)
	}
}

// waitWriters returns when nobody has a file open for writing, so that it can
// be executed (execve(2), ETXTBSY). A lease for reading is granted then, and
// goes with the descriptor (fcntl(2), F_SETLEASE); on a file system without
// leases nothing tells.
func (d *disk) waitWriters(name string) error {
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return d.fail("open", name, err)
	}
	defer unix.Close(fd)
	return d.fail("wait for writers of", name, unlessBusy(func() error {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK); err == unix.EAGAIN {
			return unix.ETXTBSY
		}
		return nil
	}))
}
