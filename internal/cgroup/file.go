package cgroup

import (
	"strings"

	"golang.org/x/sys/unix"
)

// retry repeats a call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// writeFile writes one value to a control file below the directory dir. The
// kernel takes each write(2) as one command, so it is never split.
func writeFile(dir int, name, value string) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return wrap("open", name, err)
	}
	data := []byte(value)
	err = retry(func() error { _, err := unix.Write(fd, data); return err })
	unix.Close(fd)
	return wrap("write", name, err)
}

// readFile reads a whole control file below the directory dir.
func readFile(dir int, name string) (string, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", wrap("open", name, err)
	}
	defer unix.Close(fd)
	return readAll(fd, name)
}

// readAll reads an open control file from its beginning; name is for the
// error.
func readAll(fd int, name string) (string, error) {
	// Mostly it fits; a large frame would make the stack of a launch grow.
	buf := make([]byte, 0, 512)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		var n int
		err := retry(func() (err error) {
			n, err = unix.Pread(fd, buf[len(buf):cap(buf)], int64(len(buf)))
			return err
		})
		if err != nil {
			return "", wrap("read", name, err)
		}
		if n == 0 {
			return string(buf), nil
		}
		buf = buf[:len(buf)+n]
	}
}

// direntHeader is the size of struct linux_dirent64 before d_name
// (getdents64(2)): d_ino 8, d_off 8, d_reclen 2, d_type 1.
const direntHeader = 19

// children lists the names of the directories below the open directory fd,
// hidden ones left out. The descriptor's offset is set back first, so it must
// not be shared with another reader.
func children(fd int) ([]string, error) {
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return nil, err
	}
	var names []string
	buf := make([]byte, 32<<10)
	for {
		var n int
		err := retry(func() (err error) { n, err = unix.Getdents(fd, buf); return err })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return names, nil
		}
		for rest := buf[:n]; len(rest) > 0; {
			// d_reclen is little-endian on every architecture that sbx is
			// built for; anywhere else this ends in EINVAL, not in a wrong name.
			size := 0
			if len(rest) > direntHeader {
				size = int(rest[16]) | int(rest[17])<<8
			}
			if size <= direntHeader || size > len(rest) {
				return nil, unix.EINVAL
			}
			name := string(rest[direntHeader:size])
			if end := strings.IndexByte(name, 0); end >= 0 {
				name = name[:end]
			}
			if rest[18] == unix.DT_DIR && name != "" && name[0] != '.' {
				names = append(names, name)
			}
			rest = rest[size:]
		}
	}
}
