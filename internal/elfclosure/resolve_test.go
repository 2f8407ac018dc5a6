package elfclosure_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/elfclosure"
	"github.com/sbx-project/sbx/internal/testenv"
)

// list asks the host's own loader, the oracle of these tests. It is executed
// here only, on the host's own programs.
func list(t *testing.T, loader, path string) []string {
	t.Helper()
	out, err := exec.Command(loader, "--list", path).Output()
	if err != nil {
		t.Fatalf("%s --list %s: %v", loader, path, err)
	}
	var want []string
	for line := range strings.Lines(string(out)) {
		name, found, ok := strings.Cut(strings.TrimSpace(line), " => ")
		if !ok {
			found = name
		}
		found, _, _ = strings.Cut(found, " (")
		if !filepath.IsAbs(found) {
			continue // the vDSO, "statically linked"
		}
		real, err := filepath.EvalSymlinks(found)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, real)
	}
	slices.Sort(want)
	return slices.Compact(want)
}

// missing skips, or fails where everything must be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if testenv.Strict() {
		t.Fatalf("missing: %s", what)
	}
	t.Skipf("missing: %s", what)
}

func hostLoader(t *testing.T, r *elfclosure.Resolver) string {
	t.Helper()
	c, err := r.File("/proc/self/exe")
	if err == nil && c.Loader.Path != "" {
		return c.Loader.Path
	}
	for _, p := range []string{"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	missing(t, "a glibc loader at its usual place to compare with")
	return ""
}

func TestFileLikeTheLoader(t *testing.T) {
	r, err := elfclosure.New()
	if err != nil {
		t.Fatal(err)
	}
	loader := hostLoader(t, r)
	paths := []string{}
	for _, name := range []string{
		"bash", "cat", "curl", "gcc", "git", "grep", "gzip", "jq", "ls", "make", "node", "openssl", "perl", "psql", "python3", "sort", "ssh", "tar", "xz",
	} {
		if p, err := exec.LookPath("/usr/bin/" + name); err == nil {
			paths = append(paths, p)
		}
	}
	if len(paths) < 6 {
		t.Fatalf("only %d of the programs to compare are on this host: %q", len(paths), paths)
	}
	plugins, _ := filepath.Glob("/usr/lib/python3*/lib-dynload/*.so")
	preload, _ := filepath.Glob("/usr/lib/*-linux-gnu/libfakeroot/*.so")
	paths = append(append(paths, plugins...), preload...)
	compared := 0
	for _, p := range paths {
		t.Run(p, func(t *testing.T) {
			got, err := r.File(p)
			if errors.Is(err, elfclosure.ErrNotELF) {
				t.Logf("%s is no ELF file here", p)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := list(t, loader, p)
			paths := got.Paths()
			if got.Loader.Path == "" {
				// --list names the loader that was called even where the
				// library has none of its own.
				real, _ := filepath.EvalSymlinks(loader)
				want = slices.DeleteFunc(want, func(s string) bool { return s == real })
				paths = slices.DeleteFunc(paths, func(s string) bool { return s == real })
			}
			if d := cmp.Diff(want, paths); d != "" {
				t.Errorf("closure of %s (-loader +ours):\n%s", p, d)
			}
			if len(got.Missing) > 0 {
				t.Errorf("missing %q", got.Missing)
			}
		})
		compared++
	}
	t.Logf("%d files compared", compared)
}

func TestStaticProgramHasNoClosure(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "main.go")
	if err := os.WriteFile(src, []byte("package main\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "static"), src)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	r, err := elfclosure.New()
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.File(filepath.Join(dir, "static"))
	if err != nil || len(c.Paths()) > 0 {
		t.Errorf("File = %q, %v; want nothing", c.Paths(), err)
	}
	img, err := r.Open(filepath.Join(dir, "static"))
	if err != nil || !img.Program {
		t.Errorf("Open = %+v, %v; want a program", img, err)
	}
}

// cc builds a shared object or program in dir.
func cc(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("gcc", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc %q: %v\n%s", args, err, out)
	}
}

// TestSearchPaths builds programs whose libraries only DT_RPATH, DT_RUNPATH
// and $ORIGIN find, and compares with the loader.
func TestSearchPaths(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		missing(t, "gcc to build programs with search paths")
	}
	r, err := elfclosure.New()
	if err != nil {
		t.Fatal(err)
	}
	loader := hostLoader(t, r)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"bin", "lib", "deep"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"a.c": "int b(void); int a(void) { return b(); }", "b.c": "int b(void) { return 3; }",
		"main.c": "int a(void); int main(void) { return a(); }",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cc(t, dir, "-shared", "-fPIC", "-o", "deep/libsbxb.so.1", "-Wl,-soname,libsbxb.so.1", "b.c")
	cc(t, dir, "-shared", "-fPIC", "-o", "lib/libsbxa.so", "a.c", "-Ldeep", "-l:libsbxb.so.1")
	link := []string{"main.c", "-Llib", "-lsbxa", "-Wl,--allow-shlib-undefined", "-Wl,-rpath-link,deep"}
	for _, tt := range []struct {
		name    string
		flags   []string
		missing []string
	}{
		{"rpath", []string{"-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib:${ORIGIN}/../deep"}, nil},
		// DT_RUNPATH is not passed on: the library's own need is not found.
		{"runpath", []string{"-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib:$ORIGIN/../deep"}, []string{"libsbxb.so.1"}},
		{"none", nil, []string{"libsbxa.so"}},
		{"relative", []string{"-Wl,--disable-new-dtags,-rpath,lib:deep:"}, []string{"libsbxa.so"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := filepath.Join(dir, "bin", tt.name)
			cc(t, dir, slices.Concat(link, tt.flags, []string{"-o", out})...)
			c, err := r.File(out)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.missing, c.Missing); d != "" {
				t.Errorf("missing (-want +got):\n%s", d)
			}
			if tt.missing == nil {
				if d := cmp.Diff(list(t, loader, out), c.Paths()); d != "" {
					t.Errorf("closure (-loader +ours):\n%s", d)
				}
				for _, f := range c.Libs {
					if own := strings.HasPrefix(f.Real, dir); f.Private != own {
						t.Errorf("%s: Private = %v, want %v", f.Real, f.Private, own)
					}
				}
			}
		})
	}
	with := *r
	with.LibraryPath = []string{filepath.Join(dir, "lib"), filepath.Join(dir, "deep")}
	if c, err := with.File(filepath.Join(dir, "bin", "none")); err != nil || len(c.Missing) > 0 {
		t.Errorf("with LD_LIBRARY_PATH: missing %q, %v; want none", c.Missing, err)
	}
}

func TestDir(t *testing.T) {
	r, err := elfclosure.New()
	if err != nil {
		t.Fatal(err)
	}
	cat, err := exec.LookPath("/usr/bin/cat")
	if err != nil {
		missing(t, "/usr/bin/cat to copy")
	}
	b, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		file    string
		data    []byte
		mode    os.FileMode
		program bool
		libs    bool
	}{
		{"program", "cat", b, 0o755, true, true},
		{"program without x", "cat", b, 0o644, false, true},
		{"script", "s", []byte("#!/bin/sh\n"), 0o755, true, false},
		{"data", "d", []byte("text"), 0o644, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "sub", tt.file), tt.data, tt.mode); err != nil {
				t.Fatal(err)
			}
			c, program, err := r.Dir(dir)
			if err != nil || program != tt.program || (len(c.Libs) > 0) != tt.libs {
				t.Errorf("Dir = %d libraries, program %v, %v; want libraries %v, program %v", len(c.Libs), program, err, tt.libs, tt.program)
			}
		})
	}
}
