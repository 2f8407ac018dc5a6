package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// outputs says which files of the guest's guestOut belong where on the host.
type outputs struct {
	files map[string]string // name below guestOut -> absolute path on the host
	dirs  map[string]string // the same for directories
}

// Flags of a test binary (go help testflag) that name a file or a directory to write.
var (
	fileFlags = []string{"coverprofile", "cpuprofile", "memprofile", "blockprofile", "mutexprofile", "trace", "testlogfile"}
	dirFlags  = []string{"gocoverdir", "outputdir"}
)

// coverDir is where programs built with -cover leave their counters
// (GOCOVERDIR), when the host's environment asks for them.
const coverDir = "gocover"

// redirect returns the arguments with every output below guestOut. cwd is the
// host's working directory, coverTo its GOCOVERDIR or "".
func redirect(args []string, cwd, coverTo string) ([]string, outputs) {
	out := outputs{files: map[string]string{}, dirs: map[string]string{}}
	if coverTo != "" {
		out.dirs[coverDir] = abs(cwd, coverTo)
	}
	base := cwd // what relative names of files are relative to
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, "-test.outputdir="); ok && v != "" {
			base = abs(cwd, v)
		}
	}
	rewritten := make([]string, len(args))
	for i, a := range args {
		rewritten[i] = a
		flag, value, ok := strings.Cut(a, "=")
		name, test := strings.CutPrefix(flag, "-test.")
		if !ok || !test || value == "" {
			continue
		}
		for _, f := range fileFlags {
			if name == f {
				out.files[name] = abs(base, value)
				rewritten[i] = flag + "=" + path.Join(guestOut, name)
			}
		}
		for _, f := range dirFlags {
			if name == f {
				out.dirs[name] = abs(cwd, value)
				rewritten[i] = flag + "=" + path.Join(guestOut, name)
			}
		}
	}
	return rewritten, out
}

func abs(base, p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(base, p)
}

// guestDirs returns the directories that must be there before the program starts.
func (o outputs) guestDirs() []string {
	var dirs []string
	for d := range o.dirs {
		dirs = append(dirs, d)
	}
	return dirs
}

// place returns where on the host a file that came back belongs; "" for one
// that nobody asked for.
func (o outputs) place(name string) string {
	if !filepath.IsLocal(name) {
		return ""
	}
	if p, ok := o.files[name]; ok {
		return p
	}
	top, rest, ok := strings.Cut(name, "/")
	if d := o.dirs[top]; ok && d != "" {
		return filepath.Join(d, rest)
	}
	return ""
}

// deliver writes the files of the tar to their places on the host.
func (o outputs) deliver(r io.Reader) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("files of the guest: %w", err)
		}
		dst := o.place(path.Clean(h.Name))
		if dst == "" || h.Typeflag != tar.TypeReg {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
			return err
		}
		f, err := os.Create(dst)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, t)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("files of the guest: write %q: %w", dst, err)
		}
	}
}
