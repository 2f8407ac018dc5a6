package life_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// epoch is when every test begins.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func after(d time.Duration) time.Time { return epoch.Add(d) }

// digest makes one of a letter or word.
func digest(s string) string {
	return "sha256:" + fmt.Sprintf("%x", s) + strings.Repeat("0", 64-2*len(s))
}

// rev is a revision as a loader offers it, with the defaults of a manifest.
// Its digest is of its version unless a change says otherwise.
func rev(version string, change ...func(*life.Revision)) life.Revision {
	r := life.Revision{
		Digest: digest(version), Version: version, Proved: true, ProbationRuns: 2,
		ProbationWindow: 24 * time.Hour, BudgetCount: 1, BudgetWindow: 24 * time.Hour,
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func signed(r *life.Revision)       { r.KeyID = "K1" }
func content(s string) changed      { return func(r *life.Revision) { r.Digest = digest(s) } }
func counter(c vector) changed      { return func(r *life.Revision) { r.Counter = c } }
func onKill(r *life.Revision)       { r.OnViolation = life.OnViolationKill }
func onQuarantine(r *life.Revision) { r.OnViolation = life.OnViolationQuarantine }
func floor(v string) changed        { return func(r *life.Revision) { r.Floor = v } }
func budget(n uint64) changed       { return func(r *life.Revision) { r.BudgetCount = n } }

type (
	vector  = map[string]uint64
	changed = func(*life.Revision)
)

// story carries a command through what a test tells, one generation a step.
type story struct {
	t       *testing.T
	c       life.Command
	gen     uint64
	now     time.Time
	revoked map[string]bool
}

func begin(t *testing.T) *story {
	return &story{t: t, c: life.Command{Name: "jq"}, now: epoch, revoked: map[string]bool{}}
}

func (s *story) isRevoked(r life.Revision) bool { return s.revoked[r.Digest] || s.revoked[r.KeyID] }

func (s *story) check() {
	s.t.Helper()
	s.now = s.now.Add(time.Minute)
	if err := s.c.Check(); err != nil {
		s.t.Fatalf("Check: %v", err)
	}
}

func (s *story) load(r life.Revision) {
	s.t.Helper()
	if v := s.c.Offer(r, s.isRevoked); !v.Accepted() {
		s.t.Fatalf("offer of %s: %+v", r.Version, v)
	}
	s.gen++
	s.c = s.c.Activate(r, s.gen, s.now)
	s.check()
}

func (s *story) runs(r life.Revision, n int) {
	s.t.Helper()
	for range n {
		s.ended(r, "")
	}
}

func (s *story) ended(r life.Revision, violation string) life.Action {
	s.t.Helper()
	s.gen++
	var a life.Action
	s.c, a = s.c.Ended(r.Digest, violation, s.gen, s.now, s.isRevoked)
	s.check()
	return a
}

func (s *story) offer(r life.Revision) life.Verdict { return s.c.Offer(r, s.isRevoked) }

func (s *story) rollback(to string) error {
	s.t.Helper()
	s.gen++
	c, err := s.c.Rollback(to, s.gen, s.now, life.Act{Who: "root", Why: "test"}, s.isRevoked)
	if err != nil && !cmp.Equal(c, s.c) {
		s.t.Errorf("a refused rollback changed the command:\n%s", cmp.Diff(s.c, c))
	}
	s.c = c
	s.check()
	return err
}

// want compares the version in force ("" for none) and the states of
// digests, given as "VERSION state".
func (s *story) want(inForce string, states ...string) {
	s.t.Helper()
	r, _ := s.c.Current()
	if r.Version != inForce {
		s.t.Errorf("in force is %q, want %q", r.Version, inForce)
	}
	for _, state := range states {
		version, want, _ := strings.Cut(state, " ")
		got, ok := s.c.Revision(digest(version))
		if !ok || got.State.String() != want {
			s.t.Errorf("%s is %s (known: %v), want %s", version, got.State, ok, want)
		}
	}
}

func TestReactionsAreThoseOfTheManifest(t *testing.T) {
	for r, want := range map[registry.OnViolation]life.OnViolation{
		registry.OnViolationRevert:     life.OnViolationRevert,
		registry.OnViolationQuarantine: life.OnViolationQuarantine,
		registry.OnViolationKill:       life.OnViolationKill,
	} {
		if life.OnViolation(r) != want {
			t.Errorf("%d is %s here", r, life.OnViolation(r))
		}
	}
}

func TestProbationEndsWithItsRuns(t *testing.T) {
	s, v1 := begin(t), rev("1.0.0")
	s.load(v1)
	s.want("1.0.0", "1.0.0 probation")
	if a := s.ended(v1, ""); a.Kind != life.ActionNone {
		t.Errorf("first run: %+v", a)
	}
	if a := s.ended(v1, ""); a.Kind != life.ActionEndProbation {
		t.Errorf("last run of probation: %+v", a)
	}
	s.want("1.0.0", "1.0.0 active")
	if a := s.ended(v1, ""); a.Kind != life.ActionNone {
		t.Errorf("a run after probation: %+v", a)
	}
}

func TestProbationEndsWithItsWindow(t *testing.T) {
	s, v1 := begin(t), rev("1.0.0")
	s.load(v1)
	for at, want := range map[time.Duration]life.ActionKind{
		-time.Hour: life.ActionNone, 24*time.Hour - 1: life.ActionNone, 24 * time.Hour: life.ActionEndProbation,
	} {
		if _, a := s.c.Tick(after(at)); a.Kind != want {
			t.Errorf("%s after: %s, want %s", at, a.Kind, want)
		}
	}
	// A violation after the window is one after probation, tick or not.
	s.now = after(25 * time.Hour)
	if a := s.ended(v1, "ptrace"); a.Kind != life.ActionAlert {
		t.Errorf("violation: %+v", a)
	}
	s.want("1.0.0", "1.0.0 active")
}

func TestNoProbationWhenNoneIsAsked(t *testing.T) {
	s := begin(t)
	s.load(rev("1.0.0", func(r *life.Revision) { r.ProbationRuns = 0 }))
	s.want("1.0.0", "1.0.0 active")
}

func TestViolationInProbation(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  changed
		kind    life.ActionKind
		inForce string
		states  []string
	}{
		{"revert returns to last good", func(*life.Revision) {}, life.ActionRevert, "1.0.0", []string{"1.0.0 active", "2.0.0 quarantined"}},
		{"quarantine makes the name refuse", onQuarantine, life.ActionQuarantine, "", []string{"1.0.0 retired", "2.0.0 quarantined"}},
		{"kill only kills", onKill, life.ActionAlert, "2.0.0", []string{"1.0.0 retired", "2.0.0 probation"}},
		{"an empty budget quarantines", budget(0), life.ActionQuarantine, "", []string{"1.0.0 retired", "2.0.0 quarantined"}},
		{"a return does not cross the floor", floor("2.0.0"), life.ActionQuarantine, "", []string{"1.0.0 retired", "2.0.0 quarantined"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, v1, v2 := begin(t), rev("1.0.0"), rev("2.0.0", tt.change)
			s.load(v1)
			s.runs(v1, 1)
			s.load(v2)
			a := s.ended(v2, "ptrace")
			if a.Kind != tt.kind || !strings.Contains(a.Reason, "ptrace") {
				t.Errorf("action %+v, want %s with the violation", a, tt.kind)
			}
			s.want(tt.inForce, tt.states...)
			if (s.c.Refusal != "") != (tt.inForce == "") {
				t.Errorf("refusal = %q", s.c.Refusal)
			}
			if tt.kind != life.ActionAlert && s.c.Generation != s.gen {
				t.Errorf("generation %d, want %d", s.c.Generation, s.gen)
			}
			if r, _ := s.c.Revision(v2.Digest); r.Violations != 1 || r.LastViolation != "ptrace" {
				t.Errorf("recorded %+v", r)
			}
		})
	}
}

func TestViolationAfterProbationChangesNothing(t *testing.T) {
	s, v1, v2 := begin(t), rev("1.0.0"), rev("2.0.0")
	s.load(v1)
	s.runs(v1, 1)
	s.load(v2)
	s.runs(v2, 2)
	if a := s.ended(v2, "ptrace"); a.Kind != life.ActionAlert {
		t.Errorf("action %+v", a)
	}
	s.want("2.0.0", "2.0.0 active")
}

func TestBeingSupersededEndsProbation(t *testing.T) {
	s, v1, v2 := begin(t), rev("1.0.0"), rev("2.0.0")
	s.load(v1)
	s.load(v2)
	// A run of the old one that began before ends with a violation now.
	if a := s.ended(v1, "ptrace"); a.Kind != life.ActionAlert {
		t.Errorf("action %+v", a)
	}
	s.want("2.0.0", "1.0.0 retired", "2.0.0 probation")
}

func TestTwoRunsOfTheSameBadRevisionRevertOnce(t *testing.T) {
	s, v1, v2 := begin(t), rev("1.0.0"), rev("2.0.0", budget(5))
	s.load(v1)
	s.runs(v1, 1)
	s.load(v2)
	s.ended(v2, "ptrace")
	if a := s.ended(v2, "ptrace"); a.Kind != life.ActionAlert {
		t.Errorf("second violation: %+v", a)
	}
	if s.want("1.0.0", "2.0.0 quarantined"); len(s.c.Reverts) != 1 {
		t.Errorf("reverts: %v", s.c.Reverts)
	}
}

func TestLastGood(t *testing.T) {
	s := begin(t)
	v1, v2, v3, v4 := rev("1.0.0"), rev("2.0.0"), rev("3.0.0"), rev("4.0.0")
	expect := func(what, except, want string) {
		t.Helper()
		if r, _ := s.c.LastGood(s.isRevoked, except); r.Version != want {
			t.Errorf("%s: %q, want %q", what, r.Version, want)
		}
	}
	expect("nothing was ever there", "", "")
	s.load(v1)
	expect("no run has ended: the newest that passed its checks", "", "1.0.0")
	expect("and that is excepted", v1.Digest, "")
	s.runs(v1, 1)
	s.load(v2)
	expect("one with a run goes before a newer one without", "", "1.0.0")
	s.runs(v2, 1)
	expect("the newest with a run", "", "2.0.0")
	s.load(v3)
	s.runs(v3, 2)
	s.ended(v3, "ptrace")
	expect("one with a violation is passed over", "", "2.0.0")
	s.load(v4)
	s.revoked[v2.Digest] = true
	expect("a revoked one is passed over", "", "1.0.0")
	s.c, _ = s.c.SetFloor("1.1.0")
	expect("below the floor: the newest that passed its checks", "", "4.0.0")
	expect("the next newest that passed, though it violated after probation", v4.Digest, "3.0.0")
	s.revoked[v3.Digest], s.revoked[v4.Digest] = true, true
	expect("none", "", "")
	unproved := s.c
	unproved.Floor, unproved.Revisions = "", []life.Revision{{Digest: digest("x"), Version: "1.0.0", State: life.Retired, Runs: 1}}
	if r, ok := unproved.LastGood(nil, ""); ok {
		t.Errorf("%+v never passed its checks", r)
	}
}

func TestRevertBudget(t *testing.T) {
	s, v1 := begin(t), rev("1.0.0")
	s.load(v1)
	s.runs(v1, 1)
	bad := func(version string) life.ActionKind {
		v := rev(version, budget(2))
		s.load(v)
		return s.ended(v, "ptrace").Kind
	}
	for i, want := range []life.ActionKind{life.ActionRevert, life.ActionRevert, life.ActionQuarantine} {
		if got := bad(fmt.Sprintf("2.0.%d", i)); got != want {
			t.Errorf("bad revision %d: %s, want %s", i, got, want)
		}
	}
	if s.c.InForce != "" || !strings.Contains(s.c.Refusal, "budget") {
		t.Errorf("in force %q, refusal %q", s.c.InForce, s.c.Refusal)
	}
	// The clock goes back: the budget stays spent.
	s.now = epoch.Add(-72 * time.Hour)
	if got := bad("2.0.3"); got != life.ActionQuarantine {
		t.Errorf("after the clock went back: %s", got)
	}
	// The window passes.
	s.now = epoch.Add(25 * time.Hour)
	if got := bad("2.0.4"); got != life.ActionRevert {
		t.Errorf("after the window: %s", got)
	}
	s.want("1.0.0")
}
