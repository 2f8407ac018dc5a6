package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// jobDiskSize is the size that the guest sees of the disk with the job's files,
// always the same because a saved machine remembers it. The file is sparse.
const jobDiskSize = 4 << 30

// memFile makes a memory file (memfd_create(2)). The caller closes it.
func memFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create %q: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// packed writes an archive into a memory file with write, which is one of the
// archive's methods, and makes it size bytes long when size is not 0.
func packed(name string, write func(f *os.File) error, size int64) (*os.File, error) {
	f, err := memFile(name)
	if err != nil {
		return nil, err
	}
	if err := write(f); err != nil {
		f.Close()
		return nil, err
	}
	if size == 0 {
		return f, nil
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() > size {
		err = fmt.Errorf("%s: %d bytes, at most %d fit", name, fi.Size(), size)
	}
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// scratchDisk makes an empty ext4 file system of the given size in MiB.
// Idmapped mounts need ext4 or xfs on Linux 6.1: tmpfs has them since 6.3
// (mount_setattr(2)).
func scratchDisk(mib int) (*os.File, error) {
	mkfs, err := findTool("mkfs.ext4")
	if err != nil {
		return nil, err
	}
	f, err := memFile(diskScratch)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(int64(mib) << 20); err != nil {
		f.Close()
		return nil, err
	}
	// No journal: the disk lives as long as one run. No reserved blocks and an
	// inode for 4 KiB, because tests of file counts fill it. fs-verity, for what
	// registry/chain stores; before 6.3 it needs blocks of a page.
	cmd := exec.Command(mkfs, "-q", "-F", "-O", "^has_journal,verity", "-b", "4096", "-m", "0", "-i", "4096", "-L", diskScratch, "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{f}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		f.Close()
		return nil, fmt.Errorf("mkfs.ext4: %w: %s", err, out.Bytes())
	}
	return f, nil
}
