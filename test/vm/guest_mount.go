package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountPoint is one line of what would be an fstab.
type mountPoint struct {
	fstype, dir string
	flags       uintptr
	data        string
}

func (m mountPoint) mount() error {
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.fstype, m.dir, m.fstype, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %q on %q: %w", m.fstype, m.dir, err)
	}
	return nil
}

// secure are the usual flags of file systems that hold no programs.
const secure = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mountFirst mounts what finding the ports takes.
func mountFirst() error {
	return errors.Join(
		mountPoint{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=0755"}.mount(),
		mountPoint{"sysfs", "/sys", secure, ""}.mount(),
	)
}

// mountAll mounts the rest, with the options that systemd uses, and makes all
// of it shared, as systemd does: a sandbox that forgets to make its mounts
// private must fail here as it would on a real host.
func mountAll() error {
	for _, m := range []mountPoint{
		{"proc", "/proc", secure, ""},
		{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
		{"tmpfs", "/dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"mqueue", "/dev/mqueue", secure, ""},
		{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"tmpfs", "/tmp", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"cgroup2", guestCgroup, secure, "nsdelegate,memory_recursiveprot"},
		{"bpf", "/sys/fs/bpf", secure, "mode=700"},
		{"securityfs", "/sys/kernel/security", secure, ""},
		{"tracefs", "/sys/kernel/tracing", secure, ""},
	} {
		if err := m.mount(); err != nil {
			return err
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("mount \"/\" shared: %w", err)
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, "/dev/"+name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// parentRoot makes / a mount that has a parent, by binding it and moving the
// bind over it with the file systems mounted so far. The kernel's first root has
// none, and pivot_root(2) fails with EINVAL under it.
func parentRoot() error {
	const bind = "/vm/root"
	if err := os.MkdirAll(bind, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/", bind, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind \"/\" on %q: %w", bind, err)
	}
	for _, d := range []string{"/dev", "/sys"} {
		if err := unix.Mount(d, bind+d, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %q to %q: %w", d, bind+d, err)
		}
	}
	if err := os.Chdir(bind); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %q to \"/\": %w", bind, err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	return os.Chdir("/")
}

// mountScratch mounts the ext4 disk. It must not be mounted in a saved
// machine, which would remember the blocks of another run's disk.
func mountScratch() error {
	dev, err := diskDevice(diskScratch)
	if err != nil {
		return err
	}
	if err := dropCache(dev); err != nil {
		return err
	}
	if err := unix.Mount(dev, guestScratch, "ext4", unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount %q on %q: %w", dev, guestScratch, err)
	}
	return os.Chmod(guestScratch, 0o755)
}

// diskDevice returns the device of the virtio disk with the given serial number.
func diskDevice(serial string) (string, error) {
	files, err := filepath.Glob("/sys/block/vd*/serial")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.TrimSpace(string(b)) == serial {
			return "/dev/" + filepath.Base(filepath.Dir(f)), nil
		}
	}
	return "", fmt.Errorf("disk %q: %w", serial, os.ErrNotExist)
}

// dropCache forgets the blocks that the kernel read before (it looked for
// partitions), since a resumed machine has a different disk under it.
func dropCache(dev string) error {
	f, err := os.Open(dev)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0); err != nil {
		return fmt.Errorf("drop the cache of %q: %w", dev, err)
	}
	return nil
}
