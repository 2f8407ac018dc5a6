package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
)

// shop is one registry with its state.
type shop struct {
	t     *testing.T
	base  string
	place Place
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, base: t.TempDir()}
	t.Setenv("SBX_STATE", s.base+"/state")
	t.Setenv("HOME", s.base)
	s.must(os.Mkdir(s.base+"/registry", 0o755))
	var err error
	s.place, err = OpenPlace(s.base + "/registry")
	s.must(err)
	return s
}

func (s *shop) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) put(name, version string) {
	s.t.Helper()
	text := fmt.Sprintf("apiVersion: sbx/v1\nname: %s\nversion: %s\nexec: {path: /bin/sh, args: passthrough}\n", name, version)
	s.must(os.WriteFile(s.base+"/registry/"+name+".yaml", []byte(text), 0o644))
}

func (s *shop) open() *Loader {
	s.t.Helper()
	l, err := OpenFor(s.place, Options{Registries: []string{s.place.Path}})
	s.must(err)
	return l
}

// load loads by a loader of its own.
func (s *shop) load(name string) *plan.Plan {
	s.t.Helper()
	l := s.open()
	defer l.Close()
	results, err := l.Load(name)
	s.must(err)
	if results[name].Plan == nil {
		s.t.Fatal(results[name].Err)
	}
	return results[name].Plan
}

func (s *shop) planPath(name string) string {
	return state.PlanPath(s.base+"/state", s.place.Key, name)
}

// bad puts "tool" on 2.0.0, after a good 1.0.0, and returns both plans.
func (s *shop) bad() (good, bad *plan.Plan) {
	s.t.Helper()
	s.put("tool", "1.0.0")
	good = s.load("tool")
	_, err := state.Append(s.base+"/state", s.place.Key, state.Record{Time: time.Now(), Run: "r1", Command: "tool", Revision: good.Revision})
	s.must(err)
	s.put("tool", "2.0.0")
	return good, s.load("tool")
}

func (s *shop) violate(p *plan.Plan) {
	s.t.Helper()
	_, err := state.AppendUrgent(s.base+"/state", s.place.Key, state.Record{Time: time.Now(), Run: "r2", Command: "tool", Revision: p.Revision, Violation: "ptrace"})
	s.must(err)
}

// TestCutOffBeforeThePlans: a loader dies between the generation of a revert
// and the plan; the next one has other work. The plan of the bad revision must
// not be found afterwards.
func TestCutOffBeforeThePlans(t *testing.T) {
	s := newShop(t)
	_, bad := s.bad()
	stale, err := os.ReadFile(s.planPath("tool"))
	s.must(err)
	s.violate(bad)
	l := s.open()
	_, err = l.Settle()
	s.must(err)
	s.must(l.Close())
	// As it was right after the generation became durable.
	s.must(os.WriteFile(s.planPath("tool"), stale, 0o600))
	s.must(state.MarkUnfinished(s.base+"/state", s.place.Key))
	s.put("other", "1.0.0")
	s.load("other")
	if state.Unfinished(s.base+"/state", s.place.Key) {
		t.Error("still unfinished")
	}
	if p, err := state.Read(s.planPath("tool")); err == nil && p.Version != "1.0.0" {
		t.Errorf("the plan of %s, which is quarantined, is in force", p.Version)
	}
}

// TestHeldPlanIsNotBelievedAfterAViolation: while another loader holds the
// state, a violation waits in the journal.
func TestHeldPlanIsNotBelievedAfterAViolation(t *testing.T) {
	s := newShop(t)
	_, bad := s.bad()
	l := s.open()
	defer l.Close()
	if p, _, err := held(s.place, "tool"); err != nil || p.Version != "2.0.0" {
		t.Fatalf("%v, %v", p, err)
	}
	s.violate(bad)
	if p, _, err := held(s.place, "tool"); !errors.Is(err, state.ErrNone) {
		t.Errorf("%v, %v", p, err)
	}
	_, err := l.Settle()
	s.must(err)
	if p, _, err := held(s.place, "tool"); err != nil || p.Version != "1.0.0" {
		t.Errorf("%v, %v", p, err)
	}
}

// TestClosedLoaderWritesNothing: somebody still has it when another holds the
// lock.
func TestClosedLoaderWritesNothing(t *testing.T) {
	s := newShop(t)
	s.put("tool", "1.0.0")
	l := s.open()
	s.must(l.Close())
	if _, err := l.Load("tool"); !errors.Is(err, errClosed) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(s.planPath("tool")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a plan was written: %v", err)
	}
}

// TestGuestPlanRestsOnTheOwner: a user's plan of another's registry is stale as
// soon as the owner has a state, also where he had none.
func TestGuestPlanRestsOnTheOwner(t *testing.T) {
	s := newShop(t)
	for { // the host may have the state of a registry that had this inode
		if _, err := os.Stat(systemState + "/" + s.place.Key); errors.Is(err, os.ErrNotExist) {
			break
		}
		s = newShop(t)
	}
	s.put("tool", "1.0.0")
	t.Setenv("SBX_STATE", "")
	t.Setenv("XDG_STATE_HOME", s.base+"/mine")
	place := s.place
	place.Owner++
	l, err := OpenFor(place, Options{StateDir: s.base + "/mine", Registries: []string{place.Path}})
	s.must(err)
	defer l.Close()
	results, err := l.Load("tool")
	s.must(err)
	p := results["tool"].Plan
	if p == nil || p.Counts {
		t.Fatalf("%+v", results["tool"])
	}
	want := plan.Stamp{Path: systemState + "/" + place.Key + "/current", Absent: true}
	if !slices.Contains(p.Stamps, want) {
		t.Errorf("nothing of %q in %v", want.Path, p.Stamps)
	}
}
