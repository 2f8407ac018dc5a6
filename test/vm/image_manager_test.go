package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestAddManager: packages with and without a merged /usr come together, and what
// they would start is not what starts.
func TestAddManager(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"lib/systemd/systemd":                       "1",
		"lib/systemd/system/sysinit.target":         "",
		"lib/systemd/system/multi-user.target":      "",
		"lib/systemd/system/udev.service":           "",
		"usr/lib/x86_64-linux-gnu/libx.so.1":        "",
		"usr/lib/x86_64-linux-gnu/gconv/UTF-7.so":   "",
		"bin/systemctl":                             "real",
		"usr/share/doc/systemd/copyright":           "",
		"etc/systemd/system.conf":                   "",
		"lib/systemd/system/sysinit.target.wants/x": "",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range mergedDirs {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("libx.so.1", filepath.Join(dir, "usr/lib/x86_64-linux-gnu/libx.so")); err != nil {
		t.Fatal(err)
	}
	a := &archive{}
	for _, d := range mergedDirs {
		a.addDir("/usr/"+d, 0o755)
		a.addLink("/"+d, "usr/"+d)
	}
	a.addLink("/usr/bin/systemctl", "busybox")
	if err := addManager(a, dir); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{
		"/bin": fs.ModeSymlink, "/lib": fs.ModeSymlink, // as before
		guestManager: 0, "/usr/bin/systemctl": 0, "/usr/lib/x86_64-linux-gnu/libx.so": fs.ModeSymlink,
		"/etc/systemd/system/vmexec.service": 0, "/etc/systemd/system/default.target": fs.ModeSymlink,
		"/etc/systemd/system/sysinit.target.wants/systemd-journald.service": fs.ModeSymlink,
	} {
		if e, ok := a.entries[name]; !ok || e.mode.Type() != mode {
			t.Errorf("%s: there %v, mode %v, want %v", name, ok, e.mode, mode)
		}
	}
	if i := slices.IndexFunc(a.names(), func(n string) bool {
		return strings.Contains(n, "/share/doc") || strings.Contains(n, "gconv/") || strings.HasPrefix(n, "/usr/lib/systemd/system/sysinit.target.wants/") || strings.HasPrefix(n, "/etc/systemd/system.conf")
	}); i >= 0 {
		t.Errorf("%s is there", a.names()[i])
	}
	if err := addManager(&archive{}, t.TempDir()); err == nil || !strings.Contains(err.Error(), "make vm-setup") {
		t.Errorf("without systemd: %v", err)
	}
}
