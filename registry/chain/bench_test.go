package chain

import (
	"fmt"
	"testing"
	"time"

	"github.com/sbx-project/sbx/registry/life"
)

// table makes a snapshot of n commands with three revisions each: one in
// force, one retired, one rejected.
func table(n int) *Snapshot {
	s := &Snapshot{Generation: 1, Time: epoch, By: "bench", Why: "start", Commands: make(map[string]life.Command, n)}
	for i := range n {
		name := fmt.Sprintf("group%d.command-%d", i%50, i)
		c := life.Command{Name: name}
		for v := range 2 {
			c = c.Activate(life.Revision{
				Digest: fmt.Sprintf("sha256:%032x%032x", i, v), Version: fmt.Sprintf("1.%d.0", v), Proved: true, ProbationRuns: 5,
				ProbationWindow: 24 * time.Hour, BudgetCount: 1, BudgetWindow: 24 * time.Hour, KeyID: "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3",
			}, 1, epoch)
		}
		c, _ = c.Reject(life.Revision{Digest: fmt.Sprintf("sha256:%032x%032x", i, 9), Version: "1.9.0", Reason: "check 1: exit status 1, want 0"}, epoch)
		s.Commands[name] = c
		s.Changed = append(s.Changed, name)
	}
	return s
}

// BenchmarkCommitOne: one command of 10,000 comes in force with a stored
// bundle, until it is durable.
func BenchmarkCommitOne(b *testing.B) {
	c := openChain(b, b.TempDir()+"/s", Exclusive)
	s := table(10_000)
	must(b, c.Commit(s))
	must(b, c.Collect(nil))
	const name = "group7.command-7"
	for b.Loop() {
		next, err := c.Next()
		must(b, err)
		bundle, open := bundle("x", versionOf(next))
		must(b, c.Put(bundle, open, nil))
		s.Generation, s.Changed = next, []string{name}
		s.Commands[name] = s.Commands[name].Activate(life.Revision{
			Digest: bundle.Digest, Version: fmt.Sprintf("2.0.%d", next), Proved: true, ProbationRuns: 5,
		}, next, epoch)
		must(b, c.Commit(s))
	}
}

// BenchmarkCommitAll: 10,000 commands at once, as after a cold start.
func BenchmarkCommitAll(b *testing.B) {
	s := table(10_000)
	for b.Loop() {
		b.StopTimer()
		c := openChain(b, b.TempDir()+"/s", Exclusive)
		b.StartTimer()
		must(b, c.Commit(s))
	}
}

// BenchmarkNewest: 10,000 commands are read and verified.
func BenchmarkNewest(b *testing.B) {
	dir := b.TempDir() + "/s"
	c := openChain(b, dir, Exclusive)
	must(b, c.Commit(table(10_000)))
	for b.Loop() {
		s, _, err := c.Newest()
		must(b, err)
		if len(s.Commands) != 10_000 {
			b.Fatal(len(s.Commands))
		}
	}
}

// BenchmarkPut: a bundle of three files is stored.
func BenchmarkPut(b *testing.B) {
	c := openChain(b, b.TempDir()+"/s", Exclusive)
	n := uint64(0)
	for b.Loop() {
		n++
		bundle, open := bundle("x", versionOf(n))
		must(b, c.Put(bundle, open, nil))
	}
}

// BenchmarkCollect: 10,000 commands, nothing to remove.
func BenchmarkCollect(b *testing.B) {
	c := openChain(b, b.TempDir()+"/s", Exclusive)
	must(b, c.Commit(table(10_000)))
	for b.Loop() {
		must(b, c.Collect(nil))
	}
}
