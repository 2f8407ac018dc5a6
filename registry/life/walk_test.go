package life

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// edge is one transition.
type edge struct{ from, to State }

// TestStatesFile: the list in states.md is the table in the code.
func TestStatesFile(t *testing.T) {
	text, err := os.ReadFile("states.md")
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[edge]bool{}
	for _, m := range regexp.MustCompile(`(?m)^    ([a-z]+) +-> ([a-z]+) +\S`).FindAllStringSubmatch(string(text), -1) {
		var e edge
		if e.from.UnmarshalText([]byte(m[1])) != nil || e.to.UnmarshalText([]byte(m[2])) != nil {
			t.Errorf("states.md: %q is no transition of states", m[0])
		}
		if drawn[e] {
			t.Errorf("states.md: %s -> %s is there twice", e.from, e.to)
		}
		drawn[e] = true
	}
	if coded := table(); !reflect.DeepEqual(drawn, coded) {
		t.Errorf("states.md has %v, the code %v", drawn, coded)
	}
}

func table() map[edge]bool {
	out := map[edge]bool{}
	for from, list := range transitions {
		for _, to := range list {
			out[edge{from, to}] = true
		}
	}
	return out
}

// TestNames: every state and reaction survives being written as a text.
func TestNames(t *testing.T) {
	for s := Candidate; s <= Retired; s++ {
		var got State
		if text, err := s.MarshalText(); err != nil || got.UnmarshalText(text) != nil || got != s {
			t.Errorf("%d became %s (%v)", s, got, err)
		}
	}
	for o := OnViolationRevert; o <= OnViolationKill; o++ {
		var got OnViolation
		if text, err := o.MarshalText(); err != nil || got.UnmarshalText(text) != nil || got != o {
			t.Errorf("%d became %s (%v)", o, got, err)
		}
	}
	for _, bad := range []interface{ MarshalText() ([]byte, error) }{State(0), Retired + 1, OnViolationKill + 1} {
		if text, err := bad.MarshalText(); err == nil {
			t.Errorf("%v is written as %q", bad, text)
		}
	}
	var s State
	var o OnViolation
	if s.UnmarshalText(nil) == nil || s.UnmarshalText([]byte("Active")) == nil || o.UnmarshalText([]byte("x")) == nil {
		t.Error("an unknown name was accepted")
	}
}

// walk drives one command by bytes: each step takes the next few. It checks
// the invariants after every step.
type walk struct {
	t       *testing.T
	data    []byte
	c       Command
	gen     uint64
	now     time.Time
	revoked map[string]bool
	seen    map[edge]int
	log     []string
}

func (w *walk) byte() byte {
	if len(w.data) == 0 {
		return 0
	}
	b := w.data[0]
	w.data = w.data[1:]
	return b
}

func (w *walk) isRevoked(r Revision) bool { return w.revoked[r.Digest] || w.revoked[r.KeyID] }

// candidate makes one of some 200 revisions: few enough to meet again.
func (w *walk) candidate() Revision {
	a, b, d := w.byte(), w.byte(), w.byte()
	r := Revision{
		Digest: fmt.Sprintf("sha256:%064x", a%25), Version: fmt.Sprintf("1.%d.0", a%25/2), Proved: true,
		Host: fmt.Sprint("host", d%2), ProbationRuns: uint64(b % 3), ProbationWindow: time.Duration(b>>2%3) * time.Hour,
		OnViolation: OnViolation(b >> 4 % 3), BudgetCount: uint64(b >> 6), BudgetWindow: 3 * time.Hour,
	}
	if a%3 == 0 {
		r.KeyID = fmt.Sprint("key", a%2)
	}
	if a > 128 {
		r.Counter = map[string]uint64{"a": uint64(a % 5), "b": uint64(a % 3)}
	}
	if d > 250 {
		r.Floor = fmt.Sprintf("1.%d.0", a%25/4)
	}
	return r
}

// known picks the digest of a revision, or one that is not there.
func (w *walk) known() string {
	i := int(w.byte())
	if len(w.c.Revisions) == 0 || i == 255 {
		return "sha256:" + strings.Repeat("e", 64)
	}
	return w.c.Revisions[i%len(w.c.Revisions)].Digest
}

// step does one thing and returns its name and whether a person did it.
func (w *walk) step() (name string, person bool) {
	w.gen++
	w.now = w.now.Add(time.Duration(int8(w.byte())) * time.Minute * 2)
	act := Act{Who: "root", Why: "walk"}
	switch op := w.byte() % 32; {
	case op < 8:
		r := w.candidate()
		v := w.c.Offer(r, w.isRevoked)
		switch bad := w.byte() % 8; {
		case v.Unchanged:
		case !v.Accepted():
			r.Verdict, r.Reason = v.Code, v.Reason
			w.c, _ = w.c.Reject(r, w.now)
		case bad < 2:
			r.Reason, r.HostCause = "check", bad == 0
			if r.Version[2]%2 == 0 {
				r.Version, r.Floor = "", "" // it could not be parsed
			}
			w.c, _ = w.c.Reject(r, w.now)
		default:
			w.c = w.c.Activate(r, w.gen, w.now)
		}
		return "offer", false
	case op < 18:
		violation := ""
		if w.byte()%4 == 0 {
			violation = "ptrace"
		}
		digest := w.c.InForce
		if w.byte()%4 == 0 {
			digest = w.known()
		}
		w.ended(digest, violation)
		return "ended " + violation, false
	case op < 20:
		w.c, _ = w.c.Tick(w.now)
		return "tick", false
	case op < 22:
		w.c, _ = w.c.Absent(w.gen, w.now)
		return "absent", false
	case op < 25:
		digest := w.known()
		if op == 22 {
			digest = w.c.Base
		}
		w.c, _ = w.c.Return(digest, w.gen, w.now, w.isRevoked)
		return "return", false
	case op < 26:
		w.revoked[w.known()] = w.byte()%2 == 0
		w.revoked[fmt.Sprint("key", w.byte()%2)] = w.byte()%8 == 0
		return "revocations", false
	case op < 27:
		w.c, _ = w.c.Revoke(w.gen, w.now, w.isRevoked)
		return "revoke", false
	case op < 29:
		to := ""
		if b := w.byte() % 4; b == 1 {
			to = fmt.Sprintf("1.%d.0", w.byte()%13)
		} else if b > 1 {
			to = w.known()
		}
		w.c, _ = w.c.Rollback(to, w.gen, w.now, act, w.isRevoked)
		return "rollback", true
	case op < 30:
		w.c = w.c.Hold(w.gen, w.now, act)
		return "hold", true
	case op < 31:
		w.c, _ = w.c.Release(w.now, act)
		return "release", true
	}
	w.c, _ = w.c.SetFloor(fmt.Sprintf("1.%d.0", w.byte()%4))
	return "floor", true
}

// ended checks what a violation may lead to.
func (w *walk) ended(digest, violation string) {
	before, _ := w.c.Revision(digest)
	ticked, _ := w.c.Tick(w.now)
	trial, _ := ticked.Revision(digest)
	want, good := w.lastGood(digest)
	inWindow := uint64(0)
	for _, at := range w.c.Reverts {
		if w.now.Sub(at) < before.BudgetWindow {
			inWindow++
		}
	}
	inForce := w.c.InForce
	var a Action
	w.c, a = w.c.Ended(digest, violation, w.gen, w.now, w.isRevoked)
	mayChange := violation != "" && trial.State == Probation && trial.OnViolation != OnViolationKill
	if !mayChange && w.c.InForce != inForce {
		w.t.Fatalf("a run of %s (%s, %q) changed what is in force: %+v", before.Version, trial.State, violation, a)
	}
	if mayChange {
		revert := trial.OnViolation == OnViolationRevert && good && inWindow < trial.BudgetCount
		if revert && w.c.InForce != want || !revert && w.c.InForce != "" {
			w.t.Fatalf("violation of %+v: in force is %q, last good is %q (%v), %d reverts in the window", trial, w.c.InForce, want, good, inWindow)
		}
	}
}

// lastGood is SPEC 1 once more, word by word: newest with at least one ended
// run, no violation, not quarantined, revoked or below the floor; else the
// newest that passed its checks.
func (w *walk) lastGood(except string) (digest string, ok bool) {
	for _, needsRun := range []bool{true, false} {
		for _, r := range w.c.Revisions {
			if r.Digest == except || !slices.Contains([]State{Probation, Active, Retired}, r.State) || w.isRevoked(r) {
				continue
			}
			if w.c.Floor != "" && below(r.Version, w.c.Floor) || !r.Proved {
				continue
			}
			if !needsRun || r.Runs > 0 && r.Violations == 0 {
				return r.Digest, true
			}
		}
	}
	return "", false
}

func (w *walk) run() {
	for len(w.data) > 0 {
		before := w.c
		kept := before.clone()
		name, person := w.step()
		w.log = append(w.log, name)
		if !reflect.DeepEqual(before, kept) {
			w.t.Fatalf("%s changed the value that it was given", name)
		}
		w.invariants(name, person, before)
		if w.t.Failed() {
			text, _ := json.Marshal(before)
			w.t.Fatalf("steps: %q\nbefore: %s", w.log[max(0, len(w.log)-20):], text)
		}
	}
}

// invariants are what holds after any step.
func (w *walk) invariants(name string, person bool, before Command) {
	if err := w.c.Check(); err != nil {
		w.t.Errorf("%s: %v", name, err)
	}
	if below(w.c.Floor, before.Floor) {
		w.t.Errorf("%s: the floor went from %s to %s", name, before.Floor, w.c.Floor)
	}
	if changed := w.c.InForce != before.InForce; changed {
		if w.c.Generation != w.gen {
			w.t.Errorf("%s: in force changed in %d, not %d", name, w.gen, w.c.Generation)
		}
		if r, ok := w.c.Current(); ok {
			was, _ := before.Revision(r.Digest)
			switch {
			case w.isRevoked(r):
				w.t.Errorf("%s: revoked %s came in force", name, r.Version)
			case !r.Proved:
				w.t.Errorf("%s: %s came in force unproved", name, r.Version)
			case was.State == Quarantined, was.State == Held && !person:
				w.t.Errorf("%s: %s came in force from %s", name, r.Version, was.State)
			}
		}
	}
	good, ok := w.c.LastGood(w.isRevoked, "")
	if want, wantOK := w.lastGood(""); want != good.Digest || ok != wantOK {
		w.t.Errorf("%s: last good is %q, want %q", name, good.Digest, want)
	}
	for _, old := range before.Revisions {
		r, ok := w.c.Revision(old.Digest)
		bad := old.State == Quarantined || old.State == Held
		switch {
		case !ok && (bad && name != "release" || old.Digest == before.InForce):
			w.t.Errorf("%s: %s, %s, was forgotten", name, old.Version, old.State)
		case ok && r.State != old.State:
			w.seen[edge{old.State, r.State}]++
			if bad && !person {
				w.t.Errorf("%s: %s went from %s to %s without a person", name, old.Version, old.State, r.State)
			}
		}
		if ok && name != "release" && r.Violations < old.Violations {
			w.t.Errorf("%s: violations of %s were forgotten", name, old.Version)
		}
	}
	for _, r := range w.c.Revisions {
		if _, ok := before.Revision(r.Digest); !ok {
			w.seen[edge{Candidate, r.State}]++
		}
	}
}

func newWalk(t *testing.T, data []byte) *walk {
	return &walk{t: t, data: data, c: Command{Name: "jq"}, revoked: map[string]bool{}, seen: map[edge]int{},
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// TestWalk walks at random and finds every transition of the table, and no
// other.
func TestWalk(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 60
	}
	seen := map[edge]int{}
	for seed := range rounds {
		rng := rand.New(rand.NewPCG(5, uint64(seed)))
		data := make([]byte, 2000)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		w := newWalk(t, data)
		w.run()
		for e, n := range w.seen {
			seen[e] += n
		}
	}
	for e := range table() {
		if seen[e] == 0 {
			t.Errorf("%s -> %s is in the table and never happened", e.from, e.to)
		}
	}
	for e, n := range seen {
		if !table()[e] {
			t.Errorf("%s -> %s happened %d times and is not in the table", e.from, e.to, n)
		}
	}
}

func FuzzWalk(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x00\x00\x01\x01\x00\x07\x00\x08\x00\x01"))
	rng := rand.New(rand.NewPCG(7, 7))
	for range 4 {
		data := make([]byte, 400)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 10_000 {
			return
		}
		newWalk(t, data).run()
	})
}
