package chain

import (
	"errors"
	"os"
	"path"
	"unsafe"

	"golang.org/x/sys/unix"
)

// verityBlock is the size of a block of the Merkle tree, in bytes: the one that
// every file system with fs-verity has (kernel: Documentation/filesystems/fsverity.rst).
const verityBlock = 4096

// enableVerity puts a file that nobody has open for writing under fs-verity
// (Linux 5.4): from then on the kernel refuses to read bytes that are not
// those of now. A file system or kernel without it is no error; Chain.Verity
// tells.
func (d *disk) enableVerity(name string) error {
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return d.fail("open", name, err)
	}
	defer unix.Close(fd)
	arg := unix.FsverityEnableArg{Version: 1, Hash_algorithm: unix.FS_VERITY_HASH_ALG_SHA256, Block_size: verityBlock}
	err = unlessBusy(func() error {
		return retry(func() error {
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.FS_IOC_ENABLE_VERITY, uintptr(unsafe.Pointer(&arg)))
			if errno != 0 {
				return errno
			}
			return nil
		})
	})
	for _, absent := range []error{
		unix.ENOTTY,     // the file system does not know the ioctl
		unix.EOPNOTSUPP, // nor this kernel, or not on this device
		unix.EINVAL,     // its blocks are not 4096 bytes
		unix.EPERM,      // a user namespace, or a file that is not ours to protect
		unix.EACCES,
	} {
		if errors.Is(err, absent) {
			return nil
		}
	}
	return d.fail("enable fs-verity", name, err)
}

// Verity reports whether every file of a stored bundle is under fs-verity, so
// that the kernel refuses to read changed bytes. False where the file system
// does not have it. The error matches fs.ErrNotExist when it is not stored.
func (c *Chain) Verity(digest string) (bool, error) { return c.disk.verity(bundleName(digest)) }

func (d *disk) verity(name string) (bool, error) {
	names, err := d.list(name)
	if err != nil {
		return false, err
	}
	for _, base := range names {
		child := path.Join(name, base)
		var st unix.Statx_t
		if err := unix.Statx(d.fd(), child, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &st); err != nil {
			return false, &os.PathError{Op: "statx", Path: path.Join(d.path, child), Err: err}
		}
		ok := st.Attributes&unix.STATX_ATTR_VERITY != 0
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			if ok, err = d.verity(child); err != nil {
				return false, err
			}
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}
