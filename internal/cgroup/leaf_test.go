package cgroup

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

func TestOpenDefault(t *testing.T) {
	testenv.Root(t)
	p, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if mount, _ := findMount(); p.Path() != mount+"/sbx" {
		t.Errorf("Path() = %q, want %q", p.Path(), mount+"/sbx")
	}
}

// TestOpenWithoutRights is an ordinary user to whom nothing is delegated: no
// group is made and the reason names the place.
func TestOpenWithoutRights(t *testing.T) {
	testenv.Root(t)
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	got := startAs(t, nobody, "open").line(t)
	if !strings.HasPrefix(got, "false true make a cgroup in \""+testenv.CgroupMount()) {
		t.Errorf("opened, is ErrNotDelegated, error: %s", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name, root string
		want       error
	}{
		{"ordinary directory", dir, ErrNoHierarchy},
		{"below an ordinary directory", dir + "/sbx", ErrNoHierarchy},
		{"nothing there", dir + "/a/b", unix.ENOENT},
		{"a file", "/proc/self/status", unix.ENOTDIR},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Open(tt.root)
			if !errors.Is(err, tt.want) {
				t.Errorf("Open(%q) = %v, %v, want %v", tt.root, p, err, tt.want)
			}
		})
	}
	if names, _ := os.ReadDir(dir); len(names) > 0 {
		t.Errorf("made %v in an ordinary directory", names)
	}
}

func TestCreateRefusesNames(t *testing.T) {
	p := place(t)
	for _, name := range []string{"", ".hidden", "..", "a/b", strings.Repeat("x", maxName+1)} {
		if leaf, err := p.Create(name); !errors.Is(err, unix.EINVAL) {
			t.Errorf("Create(%q) = %v, %v, want EINVAL", name, leaf, err)
		}
	}
	leaf := create(t, p, "taken")
	if _, err := p.Create("taken"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("Create of a taken name: %v, want EEXIST", err)
	}
	if err := leaf.Delete(0); err != nil {
		t.Error(err)
	}
}

func TestLifeOfALeaf(t *testing.T) {
	testenv.NoLeaks(t)
	p := place(t)
	leaf := create(t, p, "run")
	c := start(t, leaf, "wait").ready(t)

	pids, err := leaf.Procs()
	if want := []int{c.Process.Pid}; err != nil || !slices.Equal(pids, want) {
		t.Errorf("Procs() = %v, %v, want %v", pids, err, want)
	}
	if in, err := leaf.Populated(); err != nil || !in {
		t.Errorf("Populated() = %v, %v, want true", in, err)
	}
	if err := leaf.Kill(); err != nil {
		t.Fatal(err)
	}
	c.killed(t)
	usage, err := leaf.Usage()
	if err != nil || usage.CPUUser+usage.CPUSys <= 0 {
		t.Errorf("Usage() = %+v, %v, want some processor time", usage, err)
	}
	if err := leaf.Delete(patience); err != nil {
		t.Fatal(err)
	}
	if exists(p, "run") {
		t.Error("the leaf is still there after Delete")
	}
}

// TestKillEach is Kill on a kernel without cgroup.kill, with a group below the
// leaf.
func TestKillEach(t *testing.T) {
	p := place(t)
	leaf := create(t, p, "run")
	if err := unix.Mkdirat(leaf.fd, "below", 0o755); err != nil {
		t.Fatal(err)
	}
	var all []*child
	for range 5 {
		all = append(all, start(t, leaf, "wait").ready(t))
	}
	fd, err := unix.Openat(leaf.fd, "below", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, start(t, &Leaf{parent: p, fd: fd}, "wait").ready(t))
	unix.Close(fd)
	if pids, err := leaf.Procs(); err != nil || len(pids) != len(all) {
		t.Errorf("Procs() = %v, %v, want %d", pids, err, len(all))
	}
	if err := killEach(leaf.fd); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		c.killed(t)
	}
	if err := leaf.Delete(patience); err != nil {
		t.Fatal(err)
	}
}

func TestDeleteIsBounded(t *testing.T) {
	p := place(t)
	leaf := create(t, p, "run")
	c := start(t, leaf, "wait").ready(t)
	began := time.Now()
	if err := leaf.Delete(20 * time.Millisecond); !errors.Is(err, ErrPopulated) {
		t.Errorf("Delete with a live process: %v, want %v", err, ErrPopulated)
	}
	if took := time.Since(began); took < 20*time.Millisecond || took > patience {
		t.Errorf("Delete(20ms) took %v", took)
	}
	// What Delete could not remove belongs to nobody, so a sweep kills it.
	if n, err := p.Sweep(); n != 1 || err != nil {
		t.Errorf("Sweep() = %d, %v, want 1", n, err)
	}
	c.killed(t)
}

func TestDeleteWaitsForTheLastProcess(t *testing.T) {
	p := place(t)
	leaf := create(t, p, "run")
	c := start(t, leaf, "wait").ready(t)
	done := make(chan error)
	go func() { done <- leaf.Delete(patience) }()
	c.in.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if exists(p, "run") {
		t.Error("the leaf is still there after Delete")
	}
}

func TestDeleteOfARemovedLeaf(t *testing.T) {
	p := place(t)
	leaf := create(t, p, "run")
	if err := unix.Rmdir(leaf.Path()); err != nil {
		t.Fatal(err)
	}
	if err := leaf.Kill(); err != nil {
		t.Errorf("Kill: %v", err)
	}
	if pids, err := leaf.Procs(); len(pids) != 0 || err != nil {
		t.Errorf("Procs() = %v, %v", pids, err)
	}
	if err := leaf.Delete(0); err != nil {
		t.Errorf("Delete: %v", err)
	}
}

func TestEventsWithoutControllers(t *testing.T) {
	p := place(t)
	leaf := create(t, p, "run")
	defer leaf.Delete(0)
	if e, err := leaf.Events(); err != nil || e != (Events{}) {
		t.Errorf("Events() = %+v, %v, want none", e, err)
	}
}

func BenchmarkLeaf(b *testing.B) {
	testenv.Root(b)
	b.ReportAllocs()
	for b.Loop() {
		p, err := Open("")
		if err != nil {
			b.Fatal(err)
		}
		leaf, err := p.Create("bench")
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := leaf.Delete(0); err != nil {
			b.Fatal(err)
		}
		p.Close()
		b.StartTimer()
	}
}

func BenchmarkDelete(b *testing.B) {
	testenv.Root(b)
	p, err := Open("")
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	for b.Loop() {
		b.StopTimer()
		leaf, err := p.Create("bench")
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := leaf.Delete(0); err != nil {
			b.Fatal(err)
		}
	}
}
