package elfclosure

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// hwcaps are the subdirectories that glibc 2.33 and later tries in each
// directory, best first (ld.so(8), glibc-hwcaps). Which of them counts
// depends on the processor; a closure holds all that exist, because it is
// only ever used to allow mapping what the same package installed.
// arm64 has no names yet.
var hwcaps = map[elf.Machine][]string{
	elf.EM_X86_64: {"x86-64-v4", "x86-64-v3", "x86-64-v2"},
}

// object makes a loaded file's search paths. parents are the DT_RPATH
// directories of whoever loaded it.
func (w *walk) object(f File, img Image, parents []string, musl bool) object {
	o := object{file: f, img: img}
	own := img.RPath
	if musl && img.RunPath != "" {
		// musl treats both alike and passes both on.
		own = img.RunPath
	}
	if own != "" && (musl || img.RunPath == "") {
		o.rpaths = w.expand(own, f.Path)
	}
	o.rpaths = append(o.rpaths, parents...)
	if len(o.rpaths) > maxPathDirs {
		o.rpaths = o.rpaths[:maxPathDirs]
	}
	return o
}

// find searches a needed name in the order of ld.so(8): DT_RPATH of the
// object and its loaders unless the object has DT_RUNPATH; LD_LIBRARY_PATH;
// DT_RUNPATH; the cache; the default directories. Besides the file that is
// found it returns that file's processor-specific variants. No file is no
// error.
func (w *walk) find(o object, name string, musl bool) ([]object, error) {
	if strings.Contains(name, "/") {
		for _, p := range w.expand(name, o.file.Path) {
			return w.try(p, true)
		}
		return nil, fmt.Errorf("library %q needed by %q is a relative path", name, o.file.Path)
	}
	var private []string
	if o.img.RunPath == "" || musl {
		private = append(private, o.rpaths...)
	}
	private = append(private, w.r.LibraryPath...)
	if o.img.RunPath != "" && !musl {
		private = append(private, w.expand(o.img.RunPath, o.file.Path)...)
	}
	for _, dir := range private {
		if files, err := w.inDir(dir, name, true); err != nil || len(files) > 0 {
			return files, err
		}
	}
	if musl {
		return w.inDirs(w.r.MuslPath, name)
	}
	var found []object
	plain := false
	for _, e := range w.r.Cache.lookup(name) {
		if plain && !e.variant {
			continue
		}
		files, err := w.try(e.path, false)
		if err != nil {
			return nil, err
		}
		plain = plain || len(files) > 0 && !e.variant
		found = append(found, files...)
	}
	if plain {
		return found, nil
	}
	more, err := w.inDirs(w.r.Default, name)
	return append(found, more...), err
}

func (w *walk) inDirs(dirs []string, name string) ([]object, error) {
	for _, dir := range dirs {
		if files, err := w.inDir(dir, name, false); err != nil || len(files) > 0 {
			return files, err
		}
	}
	return nil, nil
}

// inDir looks for name in dir and its hwcaps subdirectories.
func (w *walk) inDir(dir, name string, private bool) ([]object, error) {
	files, err := w.try(filepath.Join(dir, name), private)
	if err != nil {
		return nil, err
	}
	for _, sub := range hwcaps[w.r.Machine] {
		more, err := w.try(filepath.Join(dir, "glibc-hwcaps", sub, name), private)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return files, nil
}

// try opens one candidate. Files that do not exist, cannot be searched for
// or are of another kind or architecture are passed over, as the loader does;
// a file that begins right and is damaged is an error.
func (w *walk) try(path string, private bool) ([]object, error) {
	img, err := w.r.Open(path)
	if errors.Is(err, ErrNotELF) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || notDir(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	return []object{{file: File{Path: filepath.Clean(path), Real: real, Private: private}, img: img}}, nil
}

// expand splits a search path and replaces $ORIGIN, $LIB and $PLATFORM
// (ld.so(8), dynamic string tokens). Relative and empty elements mean the
// caller's directory to the loader and are left out: a run must not take
// libraries from where it happens to start.
func (w *walk) expand(list, file string) []string {
	origin := filepath.Dir(file)
	names := lib64Names[w.r.Machine]
	var out []string
	for dir := range strings.SplitSeq(list, ":") {
		for _, t := range []struct{ name, value string }{
			{"ORIGIN", origin}, {"LIB", names.lib}, {"PLATFORM", names.platform},
		} {
			dir = strings.ReplaceAll(dir, "${"+t.name+"}", t.value)
			dir = strings.ReplaceAll(dir, "$"+t.name, t.value)
		}
		if !filepath.IsAbs(dir) {
			continue
		}
		if out = append(out, filepath.Clean(dir)); len(out) == maxPathDirs {
			break
		}
	}
	return out
}
