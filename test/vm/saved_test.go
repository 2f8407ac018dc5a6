package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeMachine has files of its own; its QEMU prints a version.
func fakeMachine(t *testing.T) machine {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string, perm os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), perm); err != nil {
			t.Fatal(err)
		}
		return p
	}
	initrd, err := os.Open(write("initrd", "initrd", 0o644))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { initrd.Close() })
	return machine{
		qemu:   write("qemu", "#!/bin/sh\necho version 1\n", 0o755),
		kernel: write("kernel", "kernel", 0o644),
		line:   []string{"-m", "1024"},
		initrd: initrd,
	}
}

// The key follows content, never paths: two checkouts share a machine, and a
// changed file of the same name does not resume an old one.
func TestSavedKey(t *testing.T) {
	key := func(m machine) string {
		k, err := m.savedKey()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	base := key(fakeMachine(t))
	if got := key(fakeMachine(t)); got != base {
		t.Errorf("same content elsewhere: got %s, want %s", got, base)
	}
	for name, change := range map[string]func(m *machine) error{
		"kernel": func(m *machine) error { return os.WriteFile(m.kernel, []byte("kernel2"), 0o644) },
		"initrd": func(m *machine) error { return os.WriteFile(m.initrd.Name(), []byte("initrD"), 0o644) },
		"qemu":   func(m *machine) error { return os.WriteFile(m.qemu, []byte("#!/bin/sh\necho version 2\n"), 0o755) },
		"line":   func(m *machine) error { m.line = []string{"-m", "2048"}; return nil },
		"kvm":    func(m *machine) error { m.line = []string{"-m", "1024", "-accel", "kvm"}; return nil },
	} {
		m := fakeMachine(t)
		if err := change(&m); err != nil {
			t.Fatal(err)
		}
		if key(m) == base {
			t.Errorf("%s changed, the key did not", name)
		}
	}
}

func TestPruneKeepsTheNewest(t *testing.T) {
	dir := t.TempDir()
	begin := time.Now()
	for i, name := range []string{"old.vm", "older.vm", "new.vm", "newest.vm", "oldest.vm", "lock"} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		age := map[string]time.Duration{"newest.vm": 0, "new.vm": 1, "old.vm": 2, "older.vm": 3, "oldest.vm": 4}[name]
		stamp := begin.Add(-age * time.Hour)
		if err := os.Chtimes(p, stamp, stamp); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := prune(dir, 2); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	if diff := cmp.Diff([]string{"lock", "new.vm", "newest.vm"}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestFlockHeedsItsContext(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	holder := open()
	if err := flock(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := flock(ctx, open()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of a held lock: got %v, want deadline exceeded", err)
	}
	holder.Close()
	if err := flock(t.Context(), open()); err != nil {
		t.Errorf("of a lock given back: %v", err)
	}
}

func TestShellQuote(t *testing.T) {
	if got, want := shellQuote("/a b'c"), `'/a b'\''c'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var tl tail
	for range 3 {
		tl.Write([]byte(strings.Repeat("x", tailSize)))
	}
	tl.Write([]byte("panic\r\n"))
	if got := tl.String(); len(got) != tailSize-1 || !strings.HasSuffix(got, "xpanic\n") {
		t.Errorf("got %d bytes ending in %q", len(got), got[len(got)-8:])
	}
}
