package main

import (
	"archive/tar"
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// writeTar writes the archive as a tar and returns nothing but success: its end
// is marked inside, so the disk that carries it may be longer.
func (a *archive) writeTar(w io.Writer) error {
	buf := bufio.NewWriterSize(w, 1<<20)
	t := tar.NewWriter(buf)
	for _, name := range a.names() {
		if err := tarEntry(t, strings.TrimPrefix(name, "/"), a.entries[name]); err != nil {
			return fmt.Errorf("pack %q: %w", name, err)
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return buf.Flush()
}

func tarEntry(t *tar.Writer, name string, e entry) error {
	h := &tar.Header{Name: name, Mode: int64(unixPerm(e.mode))}
	switch {
	case e.mode.IsDir():
		h.Typeflag = tar.TypeDir
		return t.WriteHeader(h)
	case e.mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(e.data)
		return t.WriteHeader(h)
	}
	r, size, err := e.open()
	if err != nil {
		return err
	}
	defer r.Close()
	h.Typeflag, h.Size = tar.TypeReg, size
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(t, r, size)
	return err
}
