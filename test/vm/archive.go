package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// archive is a tree of files for the guest, owned by root, written as a cpio
// (the boot image) or as a tar (the job). Paths are absolute, clean and follow
// the merged /usr: what is added below /bin, /sbin, /lib or /lib64 lands below /usr.
// The zero value is an empty tree. Parents are made with mode 0755.
type archive struct {
	entries map[string]entry
}

// entry is one file. Its type is in mode; a regular file has its content in
// data, or in the file src of the host, which is read when the archive is written.
type entry struct {
	mode fs.FileMode
	src  string
	data []byte // content, or a link's target
}

// mergedDirs are the top-level links of a merged /usr.
var mergedDirs = []string{"bin", "sbin", "lib", "lib64"}

// place returns where p lands.
func place(p string) string {
	p = path.Clean("/" + p)
	for _, d := range mergedDirs {
		if strings.HasPrefix(p, "/"+d+"/") {
			return "/usr" + p
		}
	}
	return p
}

func (a *archive) put(p string, e entry) {
	if a.entries == nil {
		a.entries = map[string]entry{}
	}
	a.addDir(path.Dir(p), 0o755)
	a.entries[p] = e
}

// addDir adds a directory. One that is there keeps its mode.
func (a *archive) addDir(p string, perm fs.FileMode) {
	if p = place(p); p == "/" {
		return
	}
	if e, ok := a.entries[p]; !ok || !e.mode.IsDir() {
		a.put(p, entry{mode: fs.ModeDir | perm})
	}
}

// addBytes adds a regular file with the given content.
func (a *archive) addBytes(p string, data []byte, perm fs.FileMode) {
	a.put(place(p), entry{mode: perm, data: data})
}

// addLink adds a symbolic link at p itself, which may be one of the top-level links.
func (a *archive) addLink(p, target string) {
	p = place(p)
	a.put(p, entry{mode: fs.ModeSymlink | 0o777, data: []byte(target)})
}

// addFile adds the regular file src of the host, through links, with its
// permissions.
func (a *archive) addFile(p, src string) error {
	fi, err := os.Stat(src)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("archive %q: not a regular file", src)
	}
	a.put(place(p), entry{mode: fi.Mode() &^ fs.ModeType, src: src})
	return nil
}

// addTree adds a directory of the host with all below it; links stay links,
// other kinds of files are left out.
func (a *archive) addTree(p, src string) error {
	return filepath.WalkDir(src, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, name)
		if err != nil {
			return err
		}
		dst := path.Join(p, filepath.ToSlash(rel))
		switch {
		case d.IsDir():
			a.addDir(dst, 0o755)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			a.addLink(dst, target)
		case d.Type().IsRegular():
			return a.addFile(dst, name)
		}
		return nil
	})
}

// names returns the paths in an order in which parents come first.
func (a *archive) names() []string {
	names := make([]string, 0, len(a.entries))
	for n := range a.entries {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// open returns the content and its length. The caller closes it.
func (e entry) open() (io.ReadCloser, int64, error) {
	if e.src == "" {
		return io.NopCloser(strings.NewReader(string(e.data))), int64(len(e.data)), nil
	}
	f, err := os.Open(e.src)
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, fi.Size(), nil
}
