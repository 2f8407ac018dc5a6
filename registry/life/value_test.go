package life_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/registry/life"
)

func TestBounds(t *testing.T) {
	s := begin(t)
	good := rev("0.0.1")
	s.load(good)
	s.runs(good, 1)
	for i := range 60 {
		s.load(rev(fmt.Sprintf("1.0.%d", i)))
		r := rev(fmt.Sprintf("2.0.%d", i))
		s.c, _ = s.c.Reject(r, s.now)
	}
	if n := len(s.c.Revisions); n > 30 {
		t.Errorf("%d revisions", n)
	}
	if r, _ := s.c.LastGood(nil, ""); r.Digest != good.Digest {
		t.Errorf("last good is %q: the only one with a run was dropped", r.Version)
	}

	bad := begin(t)
	for i := range life.MaxBad {
		r := rev(fmt.Sprintf("1.0.%d", i), onQuarantine)
		bad.c = bad.c.Activate(r, 1, bad.now)
		bad.c, _ = bad.c.Ended(r.Digest, "ptrace", 1, bad.now, nil)
	}
	bad.check()
	for i := range life.MaxBad {
		if r, _ := bad.c.Revision(digest(fmt.Sprintf("1.0.%d", i))); r.State != life.Quarantined {
			t.Fatalf("quarantined digest %d was forgotten", i)
		}
	}
	if v := bad.offer(rev("3.0.0")); v.Code != life.Conflict || !strings.Contains(v.Hint, "release") {
		t.Errorf("verdict %+v", v)
	}
}

func TestText(t *testing.T) {
	s := begin(t)
	s.load(rev("1.0.0"))
	s.ended(rev("1.0.0"), "open \xff\x1b[31m\n"+strings.Repeat("é", 4000))
	r, _ := s.c.Revision(digest("1.0.0"))
	if len(r.LastViolation) > 1100 || strings.ContainsAny(r.LastViolation, "\n\x1b") || !utf8.ValidString(r.LastViolation) {
		t.Errorf("stored %q", r.LastViolation)
	}
}

func TestJSON(t *testing.T) {
	s := begin(t)
	s.now = time.Now() // a monotonic reading and a zone
	s.load(rev("1.0.0", signed, counter(vector{"host-a": 2}), onKill))
	s.runs(rev("1.0.0"), 1)
	s.load(rev("2.0.0", floor("1.0.0")))
	s.ended(rev("2.0.0"), "ptrace")
	text, err := json.Marshal(s.c)
	if err != nil {
		t.Fatal(err)
	}
	var got life.Command
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.c, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*life.Command){
		"in force is not there":   func(c *life.Command) { c.InForce = digest("x") },
		"two in force":            func(c *life.Command) { c.Revisions[1].State = life.Active },
		"in force is quarantined": func(c *life.Command) { c.Revisions[0].State = life.Quarantined },
		"in force, not named":     func(c *life.Command) { c.InForce = "" },
		"below the floor":         func(c *life.Command) { c.Floor = "3.0.0" },
		"not proved":              func(c *life.Command) { c.Revisions[0].Proved = false },
		"twice":                   func(c *life.Command) { c.Revisions[1].Digest = c.Revisions[0].Digest },
		"no digest":               func(c *life.Command) { c.Revisions[1].Digest = "sha256:" + strings.Repeat("A", 64) },
		"no version":              func(c *life.Command) { c.Revisions[1].Version = "2" },
		"no state":                func(c *life.Command) { c.Revisions[1].State = 0 },
		"candidate":               func(c *life.Command) { c.Revisions[1].State = life.Candidate },
		"no reaction":             func(c *life.Command) { c.Revisions[1].OnViolation = 9 },
		"no verdict":              func(c *life.Command) { c.Revisions[1].Verdict = 200 },
		"negative window":         func(c *life.Command) { c.Revisions[1].BudgetWindow = -1 },
		"refuses and runs":        func(c *life.Command) { c.Refusal = "no" },
		"base and in force":       func(c *life.Command) { c.Base = c.Revisions[1].Digest },
		"base is not there":       func(c *life.Command) { c.Base, c.InForce, c.Revisions = digest("x"), "", c.Revisions[1:] },
		"base was never in force": func(c *life.Command) {
			c.Base, c.InForce, c.Revisions = c.Revisions[1].Digest, "", c.Revisions[1:]
			c.Revisions[0].State = life.Rejected
		},
		"long text":           func(c *life.Command) { c.Revisions[1].Reason = strings.Repeat("x", 5000) },
		"not UTF-8":           func(c *life.Command) { c.Revisions[1].KeyID = "\xff" },
		"floor is no version": func(c *life.Command) { c.Floor = "one" },
		"reverts":             func(c *life.Command) { c.Reverts = make([]time.Time, 300) },
		"revisions":           func(c *life.Command) { c.Revisions = make([]life.Revision, 2000) },
	} {
		s := begin(t)
		s.load(rev("1.0.0"))
		s.load(rev("2.0.0"))
		c := s.c
		c.Revisions = slices.Clone(c.Revisions)
		spoil(&c)
		if c.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
