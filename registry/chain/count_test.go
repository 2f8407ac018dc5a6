package chain

import (
	"maps"
	"testing"
)

// TestCountsPushNothingOut: generations that only count take one place of
// their own; all others stay as long as without them, also after a restart.
func TestCountsPushNothingOut(t *testing.T) {
	dir := t.TempDir() + "/state"
	c, err := Open(dir, Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	var s *Snapshot
	for range Keep + 2 {
		if s, err = advance(c, s); err != nil {
			t.Fatal(err)
		}
	}
	oldest := s.Generation - Keep + 1
	kept := func(want int) {
		t.Helper()
		list, err := c.List()
		if err != nil || len(list) != want || list[len(list)-1].Generation != oldest {
			t.Fatalf("%d generations, %v; want %d down to %d\n%+v", len(list), err, want, oldest, list)
		}
	}
	kept(Keep)
	runs := uint64(0)
	for n := range 40 {
		next := &Snapshot{Time: epoch, By: "test", Why: "count runs", Counted: names[:1], Commands: maps.Clone(s.Commands)}
		if next.Generation, err = c.Next(); err != nil {
			t.Fatal(err)
		}
		command := next.Commands[names[0]]
		command, _ = command.Ended(command.InForce, "", next.Generation, epoch, nil)
		next.Commands[names[0]] = command
		if err := c.Commit(next); err != nil {
			t.Fatal(err)
		}
		s = next
		kept(Keep + 1)
		if n == 20 {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if c, err = Open(dir, Exclusive); err != nil {
				t.Fatal(err)
			}
			if s, _, err = c.Newest(); err != nil {
				t.Fatal(err)
			}
		}
		is, _, err := c.Newest()
		if err != nil {
			t.Fatal(err)
		}
		r, _ := is.Commands[names[0]].Current()
		if r.Runs != runs+1 {
			t.Fatalf("%d runs after %d", r.Runs, runs)
		}
		runs = r.Runs
	}
	if _, err = advance(c, s); err != nil {
		t.Fatal(err)
	}
	oldest++
	kept(Keep)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
