package nsexec

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// WriteMaps gives the user namespace that init has entered (a NeedMaps
// record) its maps: InsideID is hostID outside, for users and groups alike,
// and nothing else is mapped. Needs CAP_SETUID and CAP_SETGID.
func (c *Child) WriteMaps(hostID uint32) error {
	line := strconv.Itoa(InsideID) + " " + strconv.FormatUint(uint64(hostID), 10) + " 1\n"
	base := "/proc/" + strconv.Itoa(c.PID)
	for _, name := range [...]string{"/uid_map", "/gid_map"} {
		if err := writeFile(base+name, line); err != nil {
			return err
		}
	}
	return nil
}

// Proceed lets init go on after WriteMaps, or after nothing when it waits
// for the descriptors fds (the user namespaces of mapped trees, in order).
// unix.EPIPE: init has gone; its last record says why.
func (c *Child) Proceed(fds ...int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(c.control, []byte{1}, oob, nil, unix.MSG_NOSIGNAL)
}

func writeFile(path, s string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(s))
		unix.Close(fd)
	}
	if err != nil {
		return errors.New("write " + strconv.Quote(path) + ": " + err.Error())
	}
	return nil
}
