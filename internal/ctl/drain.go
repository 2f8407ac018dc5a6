package ctl

import (
	"errors"

	"golang.org/x/sys/unix"
)

// errTooMuch: a descriptor holds more than it may.
var errTooMuch = errors.New("too much")

var errNotOpen = errors.New("no descriptor open for reading")

// drain reads a descriptor of the caller's to its end: that of --env-file or of
// a secret. One that is not open, cannot be read or holds more than limit
// bytes is an error: a part would be worse than nothing. What was read is kept,
// because a plan that turns out stale makes the call start over, and a pipe can
// be read once.
func (v *Invocation) drain(fd, limit int) ([]byte, error) {
	if b, ok := v.drained[fd]; ok {
		if len(b) > limit {
			return nil, errTooMuch
		}
		return b, nil
	}
	// One that is close-on-exec is not the caller's: this process opened it.
	own, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || own&unix.FD_CLOEXEC != 0 {
		return nil, errNotOpen
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_ACCMODE == unix.O_WRONLY || flags&unix.O_PATH != 0 {
		return nil, errNotOpen
	}
	b, err := readAll(fd, limit+1, v.ready)
	if err != nil {
		return nil, err
	}
	if len(b) > limit {
		return nil, errTooMuch
	}
	if v.drained == nil {
		v.drained = map[int][]byte{}
	}
	v.drained[fd] = b
	return b, nil
}
