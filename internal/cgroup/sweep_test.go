package cgroup

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestSweepAfterCrash kills an owner that is itself in its leaf, and one whose
// leaf is empty.
func TestSweepAfterCrash(t *testing.T) {
	testenv.NoLeaks(t)
	p := place(t)
	owner := start(t, nil, "own", p.Path(), "crashed").ready(t)
	if n, err := p.Sweep(); n != 0 || err != nil {
		t.Fatalf("Sweep() with a live owner = %d, %v, want 0", n, err)
	}
	if !exists(p, "crashed") {
		t.Fatal("the sweep removed a live leaf")
	}
	owner.Process.Kill()
	owner.killed(t)
	if n, err := p.Sweep(); n != 1 || err != nil {
		t.Errorf("Sweep() after the crash = %d, %v, want 1", n, err)
	}
	if exists(p, "crashed") {
		t.Error("the leaf of a dead owner is still there")
	}
}

// TestSweepKillsWhatTheOwnerLeft has a process that outlived its owner.
func TestSweepKillsWhatTheOwnerLeft(t *testing.T) {
	p := place(t)
	leaf := create(t, p, "orphan")
	c := start(t, leaf, "wait").ready(t)
	if err := leaf.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Sweep(); n != 1 || err != nil {
		t.Errorf("Sweep() = %d, %v, want 1", n, err)
	}
	c.killed(t)
}

// TestSweepers lets several sweepers go at 40 stale and 40 live leaves at once:
// each stale one is removed by exactly one of them, no live one by any.
func TestSweepers(t *testing.T) {
	const stale, live, sweepers = 40, 40, 4
	p := place(t)
	var kept []*Leaf
	for i := range live {
		kept = append(kept, create(t, p, "live-"+strconv.Itoa(i)))
	}
	for i := range stale {
		if err := unix.Mkdirat(p.fd, "stale-"+strconv.Itoa(i), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var all []*child
	for range sweepers {
		all = append(all, start(t, nil, "sweep", p.Path()).ready(t))
	}
	for _, c := range all {
		c.in.Close()
	}
	total := 0
	for _, c := range all {
		n, err := strconv.Atoi(c.line(t))
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	if total != stale {
		t.Errorf("%d sweepers removed %d leaves, want %d", sweepers, total, stale)
	}
	for _, leaf := range kept {
		if !exists(p, leaf.Name()) {
			t.Errorf("live leaf %s was removed", leaf.Name())
		}
		if err := leaf.Delete(0); err != nil {
			t.Error(err)
		}
	}
}

// TestCreateAgainstSweep makes leaves while others sweep all the time: every
// leaf that Create returned must exist and take a process.
func TestCreateAgainstSweep(t *testing.T) {
	p := place(t)
	var stop atomic.Bool
	var sweepers sync.WaitGroup
	for range 2 {
		sweepers.Go(func() {
			q, err := Open(p.Path())
			if err != nil {
				t.Error(err)
				return
			}
			defer q.Close()
			for !stop.Load() {
				if _, err := q.Sweep(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	lost := 0
	for i := range 2000 {
		name := "run-" + strconv.Itoa(i)
		leaf, err := p.Create(name)
		if err != nil {
			t.Errorf("Create: %v", err)
			break
		}
		if leaf.Name() != name {
			lost++
		}
		if err := unix.Faccessat(leaf.fd, "cgroup.procs", unix.F_OK, 0); err != nil || !exists(p, leaf.Name()) {
			t.Errorf("leaf %s is gone although it is owned: %v", leaf.Name(), err)
		}
		if err := leaf.Delete(0); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	sweepers.Wait()
	t.Logf("%d of 2000 had to be made again", lost)
	// A creator that lost leaves the directory to the sweeper that won.
	if _, err := p.Sweep(); err != nil {
		t.Error(err)
	}
}

// TestOwnRefusesARemovedLeaf is the second half of the race in Create, step by
// step: opened, swept by somebody else, then locked.
func TestOwnRefusesARemovedLeaf(t *testing.T) {
	p := place(t)
	if err := unix.Mkdirat(p.fd, "late", 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Openat(p.fd, "late", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Faccessat(fd, "cgroup.procs", unix.F_OK, 0); err != nil {
		t.Fatalf("before the sweep: %v", err)
	}
	if n, err := p.Sweep(); n != 1 || err != nil {
		t.Fatalf("Sweep() = %d, %v, want 1", n, err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatalf("lock of a removed leaf: %v, want none (that is why Create looks again)", err)
	}
	if err := unix.Faccessat(fd, "cgroup.procs", unix.F_OK, 0); err != unix.ENOENT {
		t.Errorf("removed leaf still has cgroup.procs: %v", err)
	}
}

// TestSweepOfManyLiveLeaves is the worst case of a busy host.
func TestSweepOfManyLiveLeaves(t *testing.T) {
	const live = 1000
	p := place(t)
	q, err := Open(p.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var kept []*Leaf
	for i := range live {
		kept = append(kept, create(t, p, "live-"+strconv.Itoa(i)))
	}
	if n, err := q.Sweep(); n != 0 || err != nil {
		t.Errorf("Sweep() = %d, %v, want 0", n, err)
	}
	for _, leaf := range kept {
		if err := leaf.Delete(0); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkSweepNothing(b *testing.B) {
	testenv.Root(b)
	p, err := Open("")
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	for b.Loop() {
		if _, err := p.Sweep(); err != nil {
			b.Fatal(err)
		}
	}
}
