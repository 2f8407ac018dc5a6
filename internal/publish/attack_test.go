package publish

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/sign"
	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/registry"
)

// TestInstallSwapped: what is exchanged between reading and copying is not
// installed. The check runs in between.
func TestInstallSwapped(t *testing.T) {
	for name, swap := range map[string]func(src string) error{
		"bytes of the same length": func(src string) error { return os.WriteFile(src+"/d/bin/x", []byte("#!/bin/zh\n"), 0o755) },
		"longer":                   func(src string) error { return os.WriteFile(src+"/d/bin/x", []byte("#!/bin/bash\n"), 0o755) },
		"symbolic link": func(src string) error {
			return errors.Join(os.Remove(src+"/d/bin/x"), os.Symlink("/etc/passwd", src+"/d/bin/x"))
		},
		"named pipe": func(src string) error {
			return errors.Join(os.Remove(src+"/d/bin/x"), unix.Mkfifo(src+"/d/bin/x", 0o644))
		},
		"directory above it": func(src string) error {
			return errors.Join(os.Rename(src+"/d/bin", src+"/bin"), os.Symlink(src+"/bin", src+"/d/bin"))
		},
		"gone": func(src string) error { return os.Remove(src + "/d/bin/x") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			write(t, b.src, map[string]string{"d/bundle.yaml": manifest("d", "1.0.0"), "d/bin/x*": "#!/bin/sh\n"})
			_, err := b.install(b.src+"/d", func(*registry.Bundle) error { return swap(b.src) })
			b.clean()
			if err == nil {
				t.Error("installed")
			}
			if _, err := os.Lstat(b.dir + "/d"); err == nil {
				t.Error("it is in the registry")
			}
		})
	}
	// The manifest's bytes are those that were verified, whatever the file is now.
	b := newBench(t)
	write(t, b.src, map[string]string{"d/bundle.yaml": manifest("d", "1.0.0")})
	if _, err := b.install(b.src+"/d", func(*registry.Bundle) error {
		return os.WriteFile(b.src+"/d/bundle.yaml", []byte(manifest("d", "2.0.0")), 0o644)
	}); err != nil || b.load("d").Manifest.Version != "1.0.0" {
		t.Errorf("manifest: %v", err)
	}
}

// TestInstallRefuses: bundles that attack whoever reads them.
func TestInstallRefuses(t *testing.T) {
	deep := "policy: " + strings.Repeat("{a: ", 40) + "1" + strings.Repeat("}", 40) + "\n"
	bomb := "a: &a [x]\nb: &b [*a, *a]\n"
	for _, tt := range []struct {
		name    string
		files   map[string]string
		prepare func(src string) error
		want    string
	}{
		{name: "symbolic link", files: map[string]string{"d/bundle.yaml": manifest("d", "1.0.0")}, prepare: func(src string) error { return os.Symlink("/etc/shadow", src+"/d/x") }, want: "symbolic link not accepted"},
		{name: "manifest is a link", prepare: func(src string) error {
			return errors.Join(os.Mkdir(src+"/d", 0o755), os.Symlink("/etc/hostname", src+"/d/bundle.yaml"))
		}, want: "symbolic link not accepted"},
		{name: "link to a directory", files: map[string]string{"real/bundle.yaml": manifest("d", "1.0.0")}, prepare: func(src string) error { return os.Symlink("real", src+"/d") }, want: "symbolic link not accepted"},
		{name: "hard link", files: map[string]string{"d/bundle.yaml": manifest("d", "1.0.0"), "outside": "x"}, prepare: func(src string) error { return os.Link(src+"/outside", src+"/d/x") }, want: "hard link not accepted"},
		{name: "named pipe", files: map[string]string{"d/bundle.yaml": manifest("d", "1.0.0")}, prepare: func(src string) error { return unix.Mkfifo(src+"/d/x", 0o644) }, want: "named pipe not accepted"},
		{name: "no manifest", files: map[string]string{"d/x": ""}, want: "no such file"},
		{name: "name with dots", files: map[string]string{"d/bundle.yaml": manifest("../x", "1.0.0")}, want: "is not a name"},
		{name: "100 MB manifest", files: map[string]string{"d/bundle.yaml": ""}, prepare: func(src string) error { return os.Truncate(src+"/d/bundle.yaml", 100<<20) }, want: "more than the bound"},
		{name: "large signature", files: map[string]string{"d/bundle.yaml": manifest("d", "1.0.0"), "d/bundle.sig": strings.Repeat("x", sign.MaxSize+1)}, want: "more than the bound"},
		{name: "alias bomb", files: map[string]string{"d/bundle.yaml": bomb}, want: "anchors are not supported"},
		{name: "deep document", files: map[string]string{"d/bundle.yaml": manifest("d", "1.0.0") + deep}, want: "nested deeper"},
		{name: "control character", files: map[string]string{"d/bundle.yaml": manifest("d", "1.0.0") + "summary: \x1b[2J\n"}, want: "control character"},
		{name: "control character in a name", files: map[string]string{"d/bundle.yaml": manifest("d", "1.0.0"), "d/a\x1bb": ""}, want: "not a name for a shipped file"},
		{name: "deep directories", files: map[string]string{"d/bundle.yaml": manifest("d", "1.0.0"), "d/1/2/3/4/5/6/7/8/x": ""}, want: "nested deeper than 8"},
		{name: "writable by others", files: map[string]string{"d/bundle.yaml": manifest("d", "1.0.0")}, prepare: func(src string) error { return os.Chmod(src+"/d", 0o777) }, want: "writable by others"},
		{name: "1 GiB and a byte", files: map[string]string{"d/bundle.yaml": manifest("d", "1.0.0"), "d/x": ""}, prepare: func(src string) error { return os.Truncate(src+"/d/x", registry.MaxBytes+1) }, want: "more than the bound"},
		{name: "10,001 files", files: map[string]string{"d/bundle.yaml": manifest("d", "1.0.0")}, prepare: func(src string) error {
			for i := range registry.MaxFiles + 1 {
				dir := fmt.Sprintf("%s/d/%d", src, i%3)
				if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(fmt.Sprintf("%s/%d", dir, i), nil, 0o644)); err != nil {
					return err
				}
			}
			return nil
		}, want: "more than 10000 files"},
		{name: "10,001 directories", files: map[string]string{"d/bundle.yaml": manifest("d", "1.0.0")}, prepare: func(src string) error {
			for i := range registry.MaxFiles + 1 {
				if err := os.MkdirAll(fmt.Sprintf("%s/d/%d/%d", src, i%3, i), 0o755); err != nil {
					return err
				}
			}
			return nil
		}, want: "more than 10000 directories"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			write(t, b.src, tt.files)
			if tt.prepare != nil {
				if err := tt.prepare(b.src); err != nil {
					t.Fatal(err)
				}
			}
			_, err := b.install(b.src+"/d", nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v does not contain %q", err, tt.want)
			}
			if entries, _ := os.ReadDir(b.dir); len(entries) > 0 {
				t.Errorf("the registry was touched: %v", entries)
			}
		})
	}
}

func TestInstallRefusesAsRoot(t *testing.T) {
	testenv.Root(t)
	b := newBench(t)
	write(t, b.src, map[string]string{"d/bundle.yaml": manifest("d", "1.0.0"), "e/bundle.yaml": manifest("e", "1.0.0"), "e/x": ""})
	if err := unix.Mknod(b.src+"/d/null", unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	if _, err := b.install(b.src+"/d", nil); err == nil || !strings.Contains(err.Error(), "device not accepted") {
		t.Errorf("device: %v", err)
	}
	if err := os.Chown(b.src+"/e/x", 1234, 1234); err != nil {
		t.Fatal(err)
	}
	var owner *safefs.OwnerError
	if _, err := b.install(b.src+"/e", nil); !errors.As(err, &owner) || owner.UID != 1234 {
		t.Errorf("another's file: %v", err)
	}
}
