package safefs

import (
	"time"

	"golang.org/x/sys/unix"
)

// Lock takes an exclusive flock(2) of an open file, for as long as the file is
// open, here or in a child that has a copy of the descriptor. The error is
// EWOULDBLOCK when somebody else has held it for all of patience.
func Lock(fd int, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR && (err != unix.EWOULDBLOCK || time.Now().After(deadline)) {
			return err
		}
		time.Sleep(5 * time.Millisecond) // flock(2) that waits has no timeout
	}
}
