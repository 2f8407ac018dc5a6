package elfclosure

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// Bounds of one closure.
const (
	// MaxFiles bounds the files of one program's closure: 60 is much.
	MaxFiles = 1024
	// MaxDirFiles bounds the ELF files that [Resolver.Dir] looks at.
	MaxDirFiles = 2000
	// maxDirEntries bounds the entries that Dir walks over.
	maxDirEntries = 100_000
	// maxPathDirs bounds the directories of one search path.
	maxPathDirs = 256
)

// File is one file of a closure.
type File struct {
	// Path is the name under which the loader opens it.
	Path string
	// Real is Path with all symbolic links followed.
	Real string
	// Private is set when it was found by a search path written in an ELF
	// file (DT_RPATH, DT_RUNPATH) or by LibraryPath, so that the loader's
	// cache says nothing about its being replaced.
	Private bool
}

// Closure is what the loader maps besides the program itself.
type Closure struct {
	// Loader is the ELF interpreter; its Path is empty for a static program.
	Loader File
	// Libs are the libraries in the loader's order, breadth first, each real
	// file once, the loader not among them.
	Libs []File
	// Missing are names that no search found, each once. A program with one
	// does not start; a plug-in with one cannot be loaded.
	Missing []string
}

// Paths returns the real paths of the loader and the libraries, sorted.
func (c *Closure) Paths() []string {
	var out []string
	if c.Loader.Real != "" {
		out = append(out, c.Loader.Real)
	}
	for _, f := range c.Libs {
		out = append(out, f.Real)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Resolver finds libraries like the loader of this host. It may be used by
// several goroutines once its fields are set.
type Resolver struct {
	// Cache is /etc/ld.so.cache; nil: none.
	Cache *Cache
	// LibraryPath holds the directories of LD_LIBRARY_PATH of the program's
	// environment; nil: none.
	LibraryPath []string
	// Default are the loader's built-in directories.
	Default []string
	// Machine is the only architecture whose files count.
	Machine elf.Machine
	// MuslPath are the directories of a musl loader: /etc/ld-musl-ARCH.path
	// or its default.
	MuslPath []string
}

// New returns a resolver for this host. A host without /etc/ld.so.cache has
// none; one whose cache cannot be read or parsed is an error.
func New() (*Resolver, error) {
	r := &Resolver{
		MuslPath: []string{"/lib", "/usr/local/lib", "/usr/lib"},
	}
	arch := ""
	switch runtime.GOARCH {
	case "amd64":
		r.Machine, arch = elf.EM_X86_64, "x86_64"
	case "arm64":
		r.Machine, arch = elf.EM_AARCH64, "aarch64"
	default:
		return nil, fmt.Errorf("architecture %q is not supported", runtime.GOARCH)
	}
	// Debian's multiarch directories first, as its loader has them; then
	// those of a loader with lib64; then the plain ones.
	for _, d := range []string{"lib/" + arch + "-linux-gnu", "lib64", "lib"} {
		r.Default = append(r.Default, "/"+d, "/usr/"+d)
	}
	b, err := os.ReadFile("/etc/ld.so.cache")
	switch {
	case err == nil:
		if r.Cache, err = ParseCache(b); err != nil {
			return nil, fmt.Errorf("read %q: %w", "/etc/ld.so.cache", err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	if b, err := os.ReadFile("/etc/ld-musl-" + arch + ".path"); err == nil {
		r.MuslPath = strings.FieldsFunc(string(b), func(c rune) bool { return c == ':' || c == '\n' })
	}
	return r, nil
}

// Open reads the image of a file. ErrNotELF also stands for a file that is
// not regular or has another architecture than the resolver's.
func (r *Resolver) Open(path string) (Image, error) {
	// O_NONBLOCK: a fifo of that name must not hang the reader.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Image{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Image{}, err
	}
	if !st.Mode().IsRegular() {
		return Image{}, fmt.Errorf("read %q: %w", path, ErrNotELF)
	}
	img, err := Parse(f, st.Size())
	if err == nil && img.Machine != r.Machine {
		err = ErrNotELF
	}
	if err != nil {
		return Image{}, fmt.Errorf("read %q: %w", path, err)
	}
	return img, nil
}

// File returns the closure of one program or library. For a program, $ORIGIN
// is the directory of the real path.
func (r *Resolver) File(path string) (Closure, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Closure{}, err
	}
	w := &walk{r: r, seen: map[string]bool{}, names: map[string]bool{}}
	if err := w.root(File{Path: real, Real: real}); err != nil {
		return Closure{}, err
	}
	return w.out, nil
}

// Dir returns the union of the closures of all ELF files below dir, which
// themselves are not part of it unless one needs another, and whether the
// tree holds a program: a file with an execute bit that execve(2) can start.
// Symbolic links are not followed. More than [MaxDirFiles] ELF files are an
// error.
func (r *Resolver) Dir(dir string) (c Closure, program bool, err error) {
	w := &walk{r: r, seen: map[string]bool{}, names: map[string]bool{}}
	entries, elfs := 0, 0
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entries++; entries > maxDirEntries {
			return fmt.Errorf("walk %q: more than %d entries", dir, maxDirEntries)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		x := st.Mode()&0o111 != 0
		img, err := r.Open(path)
		if errors.Is(err, ErrNotELF) {
			// A script, or a program of another kind that binfmt_misc may
			// know: with an execute bit it counts.
			program = program || x
			return nil
		}
		if err != nil {
			return err
		}
		if elfs++; elfs > MaxDirFiles {
			return fmt.Errorf("walk %q: more than %d ELF files", dir, MaxDirFiles)
		}
		program = program || x && img.Program
		// Each plug-in is resolved on its own: another's search path does
		// not count for it. Only what was already found is shared.
		w.names = map[string]bool{}
		return w.root(File{Path: path, Real: path})
	})
	return w.out, program, err
}

// walk collects one closure.
type walk struct {
	r    *Resolver
	seen map[string]bool // real paths in out
	// names are what is loaded under that name already: DT_NEEDED strings
	// and sonames.
	names map[string]bool
	out   Closure
}

// object is a loaded file with the search paths that it passes on.
type object struct {
	file File
	img  Image
	// rpaths are the expanded DT_RPATH directories of the object and of those
	// that loaded it, nearest first.
	rpaths []string
}

// root resolves everything that starts at f, breadth first.
func (w *walk) root(f File) error {
	img, err := w.r.Open(f.Real)
	if err != nil {
		return err
	}
	if img.Interp != "" {
		if err := w.loader(img.Interp); err != nil {
			return err
		}
	}
	musl := strings.HasPrefix(filepath.Base(img.Interp), "ld-musl-")
	queue := []object{w.object(f, img, nil, musl)}
	for len(queue) > 0 {
		o := queue[0]
		queue = queue[1:]
		for _, name := range o.img.Needed {
			if w.names[name] || musl && muslSelf(name) {
				continue
			}
			w.names[name] = true
			files, err := w.find(o, name, musl)
			if err != nil {
				return err
			}
			if len(files) == 0 && !slices.Contains(w.out.Missing, name) {
				w.out.Missing = append(w.out.Missing, name)
			}
			for _, found := range files {
				if found.img.Soname != "" {
					w.names[found.img.Soname] = true
				}
				if !w.seen[found.file.Real] && found.file.Real != w.out.Loader.Real {
					if len(w.out.Libs) >= MaxFiles {
						return fmt.Errorf("resolve %q: more than %d libraries", f.Path, MaxFiles)
					}
					w.seen[found.file.Real] = true
					w.out.Libs = append(w.out.Libs, found.file)
				}
				queue = append(queue, w.object(found.file, found.img, o.rpaths, musl))
			}
		}
	}
	return nil
}

// loader takes note of the interpreter; its soname is loaded by itself.
func (w *walk) loader(interp string) error {
	if !filepath.IsAbs(interp) {
		return fmt.Errorf("ELF interpreter %q is not an absolute path", interp)
	}
	real, err := filepath.EvalSymlinks(interp)
	if err != nil {
		return fmt.Errorf("ELF interpreter: %w", err)
	}
	img, err := w.r.Open(real)
	if err != nil {
		return fmt.Errorf("ELF interpreter: %w", err)
	}
	switch {
	case w.out.Loader.Path == "":
		w.out.Loader = File{Path: interp, Real: real}
	case w.out.Loader.Real != real && !w.seen[real]:
		// A directory whose programs use two loaders.
		w.seen[real] = true
		w.out.Libs = append(w.out.Libs, File{Path: interp, Real: real})
	}
	w.names[filepath.Base(interp)] = true
	if img.Soname != "" {
		w.names[img.Soname] = true
	}
	return nil
}

// muslSelf reports whether musl's loader answers a needed name itself
// (ldso/dynlink.c, load_library: reserved).
func muslSelf(name string) bool {
	if !strings.HasPrefix(name, "lib") {
		return false
	}
	for _, s := range []string{"c.", "c_musl", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."} {
		if strings.HasPrefix(name[3:], s) {
			return true
		}
	}
	return strings.HasPrefix(name, "libc.musl-")
}
