package loader

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
)

// TestBesideALoader: while another loader holds the state a run takes the
// revision in force at once, whatever became of its plan, and writes nothing.
func TestBesideALoader(t *testing.T) {
	s := newShop(t)
	s.put("tool", "1.0.0")
	first := s.load("tool")
	other := s.open()
	defer other.Close()
	s.put("tool", "2.0.0") // for the other one to judge
	run := func(want string) *plan.Plan {
		t.Helper()
		began := time.Now()
		p, _, _, err := Run(s.place.Path, []string{"tool"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > heldWait/2 {
			t.Errorf("waited %v", took)
		}
		if p.Version != want {
			t.Errorf("%s runs, want %s", p.Version, want)
		}
		return p
	}
	s.must(os.Remove(s.planPath("tool")))
	p := run("1.0.0")
	if p.Key != s.place.Key || !p.Counts || !p.Journal || p.Generation != first.Generation || p.Revision != first.Revision {
		t.Errorf("%+v", p)
	}
	if _, err := os.Lstat(s.planPath("tool")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a plan was written beside the loader: %v", err)
	}
	for what, spoil := range map[string]func(*plan.Plan){
		"of another build": func(p *plan.Plan) { p.Build = "another" },
		"of another boot":  func(p *plan.Plan) { p.BootID = "6c3f6f0a-0000-0000-0000-000000000000" },
	} {
		t.Log("a plan " + what)
		bad := *first
		spoil(&bad)
		encoded, err := bad.Encode()
		s.must(err)
		s.must(state.Write(s.planPath("tool"), encoded))
		run("1.0.0")
	}
	// A tree that is not legal is refused whole; what was in force stays.
	s.must(os.Remove(s.planPath("tool")))
	s.must(os.MkdirAll(s.place.Path+"/tool/sub", 0o755))
	s.must(os.WriteFile(s.place.Path+"/tool/sub/bundle.yaml", []byte("x"), 0o644))
	run("1.0.0")
}

// TestBesideALoaderVerdictsHold: what a violation takes out of force is not run
// beside a loader that has not acted on it yet.
func TestBesideALoaderVerdictsHold(t *testing.T) {
	for _, good := range []bool{true, false} {
		s := newShop(t)
		want := ""
		if good {
			s.bad()
			want = "1.0.0"
		} else {
			s.put("tool", "2.0.0")
			s.load("tool")
		}
		other := s.open()
		snap := other.Snapshot()
		_, err := state.AppendUrgent(s.base+"/state", s.place.Key, state.Record{Time: time.Now(), Run: "r2", Command: "tool", Revision: snap.Commands["tool"].InForce, Violation: "ptrace"})
		s.must(err)
		for _, plans := range []bool{true, false} {
			p, _, _, err := Run(s.place.Path, []string{"tool"}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if p.Refusal == "" && p.Version != want || (p.Refusal == "") != good {
				t.Errorf("plans there %v: %q runs (%q)", plans, p.Version, p.Refusal)
			}
			if plans {
				s.must(os.Remove(s.planPath("tool")))
			}
		}
		if other.Snapshot() != snap || !state.Unfinished(s.base+"/state", s.place.Key) {
			t.Error("the run acted on the verdict by itself")
		}
		s.must(other.Close())
	}
}

// TestBesideALoaderNothingInForce: a command that was never in force is waited
// for, and then refused.
func TestBesideALoaderNothingInForce(t *testing.T) {
	s := newShop(t)
	other := s.open()
	s.put("tool", "1.0.0")
	done := make(chan error, 1)
	go func() {
		_, _, _, err := Run(s.place.Path, []string{"tool"}, Options{})
		done <- err
	}()
	if _, err := other.Load("tool"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("not seen when it came in force: %v", err)
	}
	s.must(other.Close())
}
