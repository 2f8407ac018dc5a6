// Package links follows a path as the kernel does (path_resolution(7)) and
// tells what it went through: see [Follow]. A descriptor tells only where it
// leads.
//
// It looks one name after the other up, so what somebody changes meanwhile is
// seen or not. Who acts on the answer compares again, by descriptor.
package links

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// maxLinks is the kernel's own bound (path_resolution(7)).
const maxLinks = 40

// Way is what an absolute path leads to.
type Way struct {
	// Real is the path without symbolic links; where nothing exists, it is
	// where it would be.
	Real string
	// Exists tells whether there is something.
	Exists bool
	// Links are the real places of the symbolic links on the way, in order.
	Links []string
}

// Follow follows an absolute path. An error says that it cannot be told where
// it leads: a directory may not be searched, or links lead in a circle.
func Follow(p string) (w Way, err error) {
	w.Real = "/"
	rest := strings.Split(p, "/")
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		next := path.Join(w.Real, name)
		if name == "" || name == "." || name == ".." {
			w.Real = next
			continue
		}
		st, err := os.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			w.Real = path.Join(append([]string{next}, rest...)...)
			return w, nil
		}
		if err != nil {
			return w, err
		}
		if st.Mode()&os.ModeSymlink == 0 {
			w.Real = next
			continue
		}
		if len(w.Links) == maxLinks {
			return w, &os.PathError{Op: "lstat", Path: p, Err: syscall.ELOOP}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return w, err
		}
		w.Links = append(w.Links, next)
		if path.IsAbs(target) {
			w.Real = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	w.Exists = true
	return w, nil
}
