package safefs

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// WriteAtomic makes name in dir hold data, with exactly the permission bits of
// mode: a temporary file in dir, fsync, rename over name, fsync of dir. After
// a crash at any point name is whole, old or new. A temporary file that a
// crash left begins with "." and ends in "~". name has one component.
func WriteAtomic(dir *os.File, name string, mode uint32, data []byte) error {
	return write(dir, name, mode, data, true)
}

// ReplaceAtomic is WriteAtomic without the two fsyncs, for what can be made
// again: after a power cut name may be empty or old, and its reader must be
// able to tell.
func ReplaceAtomic(dir *os.File, name string, mode uint32, data []byte) error {
	return write(dir, name, mode, data, false)
}

func write(dir *os.File, name string, mode uint32, data []byte, durable bool) (err error) {
	path := join(dir.Name(), name)
	if name == "" || name == "." || name == ".." || strings.IndexByte(name, '/') >= 0 {
		return pathError("write", path, unix.EINVAL)
	}
	d := int(dir.Fd())
	temp, fd, err := createTemp(d, name)
	if err != nil {
		return pathError("create", path, err)
	}
	defer func() {
		if err != nil {
			unix.Unlinkat(d, temp, 0)
		}
	}()
	err = fill(fd, mode, data, durable)
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return pathError("write", path, err)
	}
	if err := unix.Renameat(d, temp, d, name); err != nil {
		return pathError("rename", path, err)
	}
	if !durable {
		return nil
	}
	if err := unix.Fsync(d); err != nil {
		return pathError("fsync", dir.Name(), err)
	}
	return nil
}

// createTemp makes a new file beside name. The suffix is random because
// several processes may write the same name.
func createTemp(dir int, name string) (string, int, error) {
	for range 100 {
		var random [8]byte
		if _, err := unix.Getrandom(random[:], 0); err != nil {
			return "", -1, err
		}
		var n uint64
		for _, b := range random {
			n = n<<8 | uint64(b)
		}
		temp := "." + name[:min(len(name), 200)] + "." + strconv.FormatUint(n, 36) + "~"
		fd, err := unix.Openat(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != unix.EEXIST && err != unix.EINTR {
			return temp, fd, err
		}
	}
	return "", -1, unix.EEXIST
}

// fill writes, and syncs what is to be durable. The mode is set on the descriptor, so that no umask
// changes it.
func fill(fd int, mode uint32, data []byte, durable bool) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		data = data[n:]
	}
	if err := unix.Fchmod(fd, mode&0o7777); err != nil {
		return err
	}
	if !durable {
		return nil
	}
	return unix.Fsync(fd)
}
