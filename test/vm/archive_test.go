package main

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlaceFollowsMergedUsr(t *testing.T) {
	for p, want := range map[string]string{
		"/bin/sh":                            "/usr/bin/sh",
		"/lib64/ld-linux-x86-64.so.2":        "/usr/lib64/ld-linux-x86-64.so.2",
		"/lib/x86_64-linux-gnu/../x/libc.so": "/usr/lib/x/libc.so",
		"/bin":                               "/bin", // the link itself
		"/usr/lib/x":                         "/usr/lib/x",
		"/library/x":                         "/library/x",
		"vm/prog":                            "/vm/prog",
		"/../../etc/passwd":                  "/etc/passwd",
	} {
		if got := place(p); got != want {
			t.Errorf("place(%q): got %q, want %q", p, got, want)
		}
	}
}

// sample is an archive with every kind of entry.
func sample(t *testing.T) *archive {
	t.Helper()
	src := filepath.Join(t.TempDir(), "src")
	if err := os.WriteFile(src, []byte("content"), 0o755); err != nil {
		t.Fatal(err)
	}
	a := &archive{}
	a.addBytes("/etc/passwd", []byte("root\n"), 0o644)
	a.addLink("/bin", "usr/bin")
	a.addDir("/root", 0o700)
	if err := a.addFile("/bin/prog", src); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAddFileRefusesDirectories(t *testing.T) {
	a := &archive{}
	if err := a.addFile("/x", t.TempDir()); err == nil {
		t.Error("a directory was taken for a file")
	}
}

func TestAddTree(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a/f", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	a := &archive{}
	if err := a.addTree("/td", dir); err != nil {
		t.Fatal(err)
	}
	want := []string{"/td", "/td/a", "/td/a/empty", "/td/a/f", "/td/l"}
	if diff := cmp.Diff(want, a.names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if got := a.entries["/td/a/f"].mode; got != 0o600 {
		t.Errorf("mode: got %v, want -rw-------", got)
	}
}

func TestWriteTar(t *testing.T) {
	var buf bytes.Buffer
	if err := sample(t).writeTar(&buf); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(&buf); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.Name+" "+fs.FileMode(h.Mode).String()+" "+h.Linkname+string(b))
	}
	want := []string{
		"bin -rwxrwxrwx usr/bin", "etc -rwxr-xr-x ", "etc/passwd -rw-r--r-- root\n", "root -rwx------ ",
		"usr -rwxr-xr-x ", "usr/bin -rwxr-xr-x ", "usr/bin/prog -rwxr-xr-x content",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tar (-want +got):\n%s", diff)
	}
}

func TestUnixPerm(t *testing.T) {
	got := unixPerm(fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky | 0o751)
	if want := uint32(0o7751); got != want {
		t.Errorf("got %o, want %o", got, want)
	}
}
