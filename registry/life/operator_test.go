package life_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/registry/life"
)

func TestRollback(t *testing.T) {
	for _, tt := range []struct {
		name, to string
		err      error
		inForce  string
	}{
		{"to the last good", "", nil, "2.0.0"},
		{"to a version", "1.5.0", nil, "1.5.0"},
		{"to a digest", digest("1.5.0"), nil, "1.5.0"},
		{"below the floor", "1.0.0", life.ErrFloor, "3.0.0"},
		{"revoked", "1.6.0", life.ErrRevoked, "3.0.0"},
		{"quarantined", "2.5.0", life.ErrQuarantined, "3.0.0"},
		{"in force", "3.0.0", life.ErrInForce, "3.0.0"},
		{"unknown", "0.1.0", life.ErrUnknown, "3.0.0"},
		{"rejected", "2.9.0", life.ErrUnknown, "3.0.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := begin(t)
			for _, v := range []string{"1.0.0", "1.5.0", "1.6.0", "2.0.0", "2.5.0"} {
				s.load(rev(v))
				if v != "2.5.0" {
					s.runs(rev(v), 1)
				}
			}
			s.ended(rev("2.5.0"), "ptrace")
			s.c, _ = s.c.Reject(rev("2.9.0"), s.now)
			s.load(rev("3.0.0", floor("1.5.0")))
			s.revoked[digest("1.6.0")] = true
			if err := s.rollback(tt.to); !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			s.want(tt.inForce)
			if tt.err == nil {
				s.want(tt.inForce, "3.0.0 held", tt.inForce+" active")
				if v := s.offer(rev("3.0.0")); v.Code != life.Conflict || !v.Known || !strings.Contains(v.Reason, "root") {
					t.Errorf("what was displaced came back: %+v", v)
				}
				if v := s.offer(rev("3.0.0", content("y"))); !v.Accepted() {
					t.Errorf("with other content: %+v", v)
				}
			}
		})
	}
}

func TestReleaseLetsOfferAgain(t *testing.T) {
	s, v1, v2 := begin(t), rev("1.0.0"), rev("2.0.0", onQuarantine)
	s.load(v1)
	s.runs(v1, 1)
	s.load(v2)
	s.ended(v2, "ptrace")
	if v := s.offer(v2); v.Code != life.Conflict || !v.Known {
		t.Fatalf("quarantined: %+v", v)
	}
	var released []string
	s.c, released = s.c.Release(s.now, life.Act{Who: "root"})
	s.check()
	if diff := cmp.Diff([]string{v2.Digest}, released); diff != "" {
		t.Errorf("released (-want +got):\n%s", diff)
	}
	if s.c.Refusal != "" {
		t.Errorf("refusal %q", s.c.Refusal)
	}
	s.load(v2)
	s.want("2.0.0", "2.0.0 probation")
}

func TestHoldRefusesUntilReleased(t *testing.T) {
	s, v1 := begin(t), rev("1.0.0")
	s.load(v1)
	s.c = s.c.Hold(7, s.now, life.Act{Who: "root", Why: "incident"})
	s.check()
	s.want("", "1.0.0 held")
	if !strings.Contains(s.c.Refusal, "incident") || s.c.Generation != 7 {
		t.Errorf("refusal %q, generation %d", s.c.Refusal, s.c.Generation)
	}
	if v := s.offer(v1); v.Code != life.Conflict {
		t.Errorf("held, offered: %+v", v)
	}
	if err := s.rollback("1.0.0"); err != nil {
		t.Errorf("named by an operator: %v", err)
	}
	s.want("1.0.0", "1.0.0 probation")
}

func TestTheFloorOnlyGrows(t *testing.T) {
	s := begin(t)
	s.load(rev("2.0.0", floor("1.0.0")))
	for _, tt := range []struct {
		to  string
		err error
	}{{"1.5.0", nil}, {"1.2.0", life.ErrFloor}, {"2.0.0", nil}, {"2.0.1", life.ErrFloor}} {
		c, err := s.c.SetFloor(tt.to)
		if !errors.Is(err, tt.err) {
			t.Errorf("floor %s: %v, want %v", tt.to, err, tt.err)
		}
		s.c = c
	}
	if _, err := s.c.SetFloor("2"); err == nil {
		t.Error("2 is no version")
	}
	// A manifest that asks for less does not lower it.
	s.load(rev("3.0.0", floor("0.1.0")))
	if s.c.Floor != "2.0.0" {
		t.Errorf("floor %s", s.c.Floor)
	}
}

func TestAbsentAndThereAgain(t *testing.T) {
	s, v1 := begin(t), rev("1.0.0")
	s.load(v1)
	s.runs(v1, 1)
	absent := func() bool {
		s.gen++
		c, changed := s.c.Absent(s.gen, s.now)
		s.c = c
		s.check()
		return changed
	}
	if !absent() || absent() {
		t.Error("want one change")
	}
	s.want("", "1.0.0 retired")
	if v := s.offer(rev("0.9.0")); v.Code != life.Conflict {
		t.Errorf("an older one in the place of what went away: %+v", v)
	}
	c, changed := s.c.Return(digest("0.9.0"), 9, s.now, s.isRevoked)
	if changed || !cmp.Equal(c, s.c) {
		t.Error("an unknown digest returned")
	}
	if s.c, changed = s.c.Return(v1.Digest, 9, s.now, s.isRevoked); !changed {
		t.Error("did not return")
	}
	s.check()
	s.want("1.0.0", "1.0.0 probation") // it had one run of two
	s.runs(v1, 1)
	s.want("1.0.0", "1.0.0 active")
	absent()
	s.c, _ = s.c.Return(v1.Digest, 10, s.now, s.isRevoked)
	s.want("1.0.0", "1.0.0 active")
	absent()
	s.revoked[v1.Digest] = true
	if _, changed = s.c.Return(v1.Digest, 11, s.now, s.isRevoked); changed {
		t.Error("a revoked digest returned")
	}
	// An operator who releases may go back to an older one.
	s.c, _ = s.c.Release(s.now, life.Act{Who: "root"})
	s.load(rev("0.9.0"))
}

func TestAQuarantinedBundleThatIsThereAgainRefuses(t *testing.T) {
	s, v1 := begin(t), rev("1.0.0")
	s.load(v1)
	s.ended(v1, "ptrace")
	s.c, _ = s.c.Absent(5, s.now)
	if s.c.Refusal != "" {
		t.Errorf("refusal of what is gone: %q", s.c.Refusal)
	}
	s.c, _ = s.c.Return(v1.Digest, 6, s.now, s.isRevoked)
	s.check()
	if s.want("", "1.0.0 quarantined"); !strings.Contains(s.c.Refusal, "ptrace") {
		t.Errorf("refusal %q", s.c.Refusal)
	}
}
