package registry

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/yamlnode"
)

// TestStill: what changes after it was read and before the whole was read is
// noticed, so that no bundle is made of two.
func TestStill(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"a file goes":            func(dir string) error { return os.Remove(dir + "/share/a") },
		"a file comes":           func(dir string) error { return os.WriteFile(dir+"/share/b", nil, 0o644) },
		"a file is written":      func(dir string) error { return os.WriteFile(dir+"/share/a", []byte("longer"), 0o644) },
		"a mode":                 func(dir string) error { return os.Chmod(dir+"/share/a", 0o755) },
		"the manifest":           func(dir string) error { return os.WriteFile(dir+"/bundle.yaml", []byte(manifest("d")+"#\n"), 0o644) },
		"a signature comes":      func(dir string) error { return os.WriteFile(dir+"/bundle.sig", nil, 0o644) },
		"the directory is moved": func(dir string) error { return os.Rename(dir, dir+"2") },
		"another takes its place": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+"2"), os.CopyFS(dir, os.DirFS(dir+"2")))
		},
	} {
		root := tree(t, map[string]string{"d/bundle.yaml": manifest("d"), "d/share/a": "a"})
		r, err := openDir(t, root).Read("d")
		if err != nil {
			t.Fatal(err)
		}
		if err := r.still(); err != nil {
			t.Errorf("%s: before: %v", name, err)
		}
		if err := change(root + "/d"); err != nil {
			t.Fatal(err)
		}
		if err := r.still(); err == nil || !strings.Contains(err.Error(), "changed while it was read") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReadParsesNothing: what is not a manifest has a digest and a signature
// all the same, and is refused by the second half alone.
func TestReadParsesNothing(t *testing.T) {
	root := tree(t, map[string]string{"x.yaml": "\t&a [", "x.yaml.sig": "signature", "y.yaml": manifest("z"), "e.yaml": manifest("e"), "e.yaml.sig": ""})
	d := openDir(t, root)
	r, err := d.Read("x")
	if err != nil || r.Name != "x" || string(r.Signature) != "signature" || r.Digest != digest([]byte("\t&a ["), nil) {
		t.Fatalf("%+v, %v", r, err)
	}
	var place *yamlnode.Error
	if _, err := r.Parse(); !errors.As(err, &place) {
		t.Errorf("parsed: %v", err)
	}
	if r, err = d.Read("y"); err != nil || r.Signature != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := r.Parse(); err == nil || !strings.Contains(err.Error(), `says that its name is "z"`) {
		t.Errorf("another name: %v", err)
	}
	// An empty signature is a bad one, not a missing one.
	if r, err = d.Read("e"); err != nil || r.Signature == nil {
		t.Errorf("empty signature: %q, %v", r.Signature, err)
	}
	// Outside of a registry the manifest says its name.
	if r, err = ReadPath(root + "/y.yaml"); err != nil || r.Name != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	if b, err := r.Parse(); err != nil || b.Manifest.Name != "z" {
		t.Errorf("%+v, %v", b.Manifest, err)
	}
	if _, err := ReadPath("/"); err == nil {
		t.Error("the root directory is a bundle")
	}
}

// TestVanished: a file that goes while its bundle is read tells of no content.
func TestVanished(t *testing.T) {
	err := vanished(&os.PathError{Op: "open", Path: "/x", Err: unix.ENOENT})
	if !Torn(err) || errors.Is(err, unix.ENOENT) || err.Error() != "open /x: no such file or directory: changed while it was read" {
		t.Errorf("got %v", err)
	}
	if err := vanished(unix.EIO); Torn(err) || vanished(nil) != nil {
		t.Errorf("got %v", err)
	}
	if Torn(nil) || !Torn(fmt.Errorf("open: %w", unix.ESTALE)) {
		t.Error("ESTALE is not torn, or nothing is")
	}
}
