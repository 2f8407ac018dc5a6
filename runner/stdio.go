package runner

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// fitStreams refuses what must not be handed to a run as 0, 1 and 2: each of
// them is a handle on something of the host that neither the view nor the
// network namespace holds. Files, terminals, pipes and connected local
// streams are what a program expects there.
func (r *run) fitStreams() bool {
	for fd := 0; fd <= 2; fd++ {
		if why := unfitStream(r.file(fd)); why != "" {
			return r.refuse(StatusRefused, Refused, "take descriptor "+strconv.Itoa(fd), errors.New(why), "redirect it from or to a file or a pipe")
		}
	}
	return true
}

// Magic numbers of linux/magic.h for file systems whose files are handles on
// processes and namespaces.
const (
	pidfsMagic = 0x50494446
	nsfsMagic  = 0x6e736673
)

// unfitStream says what is wrong with a descriptor, or "".
func unfitStream(fd int) string {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err.Error()
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_PATH != 0 {
		return "a path descriptor (O_PATH) is not handed to a run"
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFIFO:
		return ""
	case unix.S_IFREG:
		var fs unix.Statfs_t
		if err := unix.Fstatfs(fd, &fs); err != nil {
			return err.Error()
		}
		if fs.Type == pidfsMagic || fs.Type == nsfsMagic {
			return "a process or namespace descriptor is not handed to a run"
		}
		return ""
	case unix.S_IFSOCK:
		return unfitSocket(fd)
	case unix.S_IFDIR:
		return "a directory would lead out of the view"
	case unix.S_IFBLK:
		return "a block device is not handed to a run"
	}
	return "it is neither a file, a terminal, a pipe nor a stream"
}

// unfitSocket accepts connected local streams, as launchers use them in place
// of pipes: with anything else the run could reach whom it likes.
func unfitSocket(fd int) string {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return err.Error()
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err.Error()
	}
	if domain != unix.AF_UNIX || kind != unix.SOCK_STREAM && kind != unix.SOCK_SEQPACKET {
		return "a socket that is no local stream is not handed to a run"
	}
	if _, err := unix.Getpeername(fd); err != nil {
		return "a socket that is not connected is not handed to a run"
	}
	return ""
}
