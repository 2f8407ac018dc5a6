package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Types of files in the mode field of a cpio header, as stat(2) has them.
const (
	cpioDir  = 0o040000
	cpioFile = 0o100000
	cpioLink = 0o120000
)

// writeCpio writes the archive in the "newc" format that the kernel unpacks as
// its first root (Documentation/driver-api/early-userspace/buffer-format.rst).
// The same archive always gives the same bytes: owner, times and devices are 0.
func (a *archive) writeCpio(w io.Writer) error {
	c := cpioWriter{w: bufio.NewWriterSize(w, 1<<20)}
	for i, name := range a.names() {
		e := a.entries[name]
		if err := c.entry(i+1, strings.TrimPrefix(name, "/"), e); err != nil {
			return fmt.Errorf("pack %q: %w", name, err)
		}
	}
	c.header(0, "TRAILER!!!", 0, 0)
	if c.err != nil {
		return c.err
	}
	return c.w.Flush()
}

// cpioWriter counts what it wrote, because headers and contents are aligned.
type cpioWriter struct {
	w   *bufio.Writer
	off int64
	err error
}

func (c *cpioWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.off += int64(n)
	return n, err
}

// align fills up to the next multiple of four bytes.
func (c *cpioWriter) align() {
	if rest := c.off % 4; rest != 0 && c.err == nil {
		_, c.err = c.Write(make([]byte, 4-rest))
	}
}

// header writes "070701", thirteen fields of eight hexadecimal digits (ino,
// mode, uid, gid, nlink, mtime, filesize, four device numbers, namesize, check)
// and the name with its terminating zero.
func (c *cpioWriter) header(ino int, name string, mode uint32, size int64) {
	if c.err != nil {
		return
	}
	_, c.err = fmt.Fprintf(c, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		ino, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	c.align()
}

func (c *cpioWriter) entry(ino int, name string, e entry) error {
	if e.mode.IsDir() {
		c.header(ino, name, cpioDir|unixPerm(e.mode), 0)
		return c.err
	}
	kind := uint32(cpioFile)
	if e.mode&fs.ModeSymlink != 0 {
		kind = cpioLink
	}
	r, size, err := e.open()
	if err != nil {
		return err
	}
	defer r.Close()
	c.header(ino, name, kind|unixPerm(e.mode), size)
	if c.err == nil {
		_, c.err = io.CopyN(c, r, size)
	}
	c.align()
	return c.err
}

// unixPerm returns the permissions with the set-id and sticky bits where
// chmod(2) has them.
func unixPerm(m fs.FileMode) uint32 {
	p := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		p |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		p |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		p |= 0o1000
	}
	return p
}
