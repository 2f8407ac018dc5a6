package life_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/registry/life"
)

func TestAReturnNeverMeetsARevokedDigest(t *testing.T) {
	s, v1, v2 := begin(t), rev("1.0.0"), rev("2.0.0")
	s.load(v1)
	s.runs(v1, 1)
	s.load(v2)
	s.revoked[v1.Digest] = true
	if a := s.ended(v2, "ptrace"); a.Kind != life.ActionQuarantine {
		t.Errorf("action %+v", a)
	}
	s.want("", "1.0.0 retired")
}

func TestRevokedInForceIsTakenOut(t *testing.T) {
	s, v1, v2 := begin(t), rev("1.0.0"), rev("2.0.0", signed)
	s.load(v1)
	s.load(v2)
	if _, a := s.c.Revoke(9, s.now, s.isRevoked); a.Kind != life.ActionNone {
		t.Errorf("nothing is revoked: %+v", a)
	}
	s.revoked["K1"] = true
	var a life.Action
	if s.c, a = s.c.Revoke(9, s.now, s.isRevoked); a.Kind != life.ActionRevert || a.To != v1.Digest {
		t.Errorf("action %+v", a)
	}
	s.want("1.0.0", "2.0.0 quarantined")
	if len(s.c.Reverts) != 0 {
		t.Error("a revocation spent the budget")
	}
	s.revoked[v1.Digest] = true
	if s.c, a = s.c.Revoke(10, s.now, s.isRevoked); a.Kind != life.ActionQuarantine {
		t.Errorf("action %+v", a)
	}
	s.want("")
	if s.c.Refusal == "" {
		t.Error("no refusal")
	}
}

func TestRejected(t *testing.T) {
	s, v1 := begin(t), rev("1.0.0")
	s.load(v1)
	reject := func(r life.Revision) bool {
		t.Helper()
		c, changed := s.c.Reject(r, s.now)
		s.c = c
		s.check()
		return changed
	}
	bad := rev("2.0.0", func(r *life.Revision) { r.Reason, r.Host = "policy: unknown key", "h1" })
	events := 0
	for range 10 {
		if v := s.offer(bad); !v.Known && reject(bad) {
			events++
		}
	}
	bad.Verdict = life.Conflict
	if reject(bad) {
		t.Error("the verdict about a bad digest took the place of its cause")
	}
	bad.Verdict = 0
	if events != 1 {
		t.Errorf("the same bad digest ten times: %d events", events)
	}
	bad.Host = "h2"
	if v := s.offer(bad); v.Code != life.Conflict || !v.Known {
		t.Errorf("bad content on another host: %+v", v)
	}

	host := rev("2.1.0", func(r *life.Revision) { r.Reason, r.Host, r.HostCause = "program missing", "h1", true })
	if reject(host); s.offer(host).Code != life.Conflict {
		t.Error("rejected for the host, offered on the same host")
	}
	host.Host = "h2"
	if v := s.offer(host); !v.Accepted() {
		t.Errorf("after the host changed: %+v", v)
	}
	if !reject(host) || reject(host) {
		t.Error("want one report for the other host")
	}
	host.Host = "h3"
	s.load(host)
	s.want("2.1.0", "2.0.0 rejected", "2.1.0 probation")
	if reject(host) {
		t.Error("a revision in force was rejected")
	}
	if reject(rev("1.0.0", func(r *life.Revision) { r.Reason, r.Verdict = "older", life.Conflict })) != true {
		t.Error("the first refusal of a retired revision was not reported")
	}
	s.want("2.1.0", "1.0.0 retired")
}

func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		have    life.Revision
		offered life.Revision
		code    life.Code
		reason  string
	}{
		{"newer", rev("1.2.0"), rev("1.10.0"), 200, ""},
		{"older", rev("1.10.0"), rev("1.9.0"), 409, "older"},
		{"older though signed", rev("1.10.0", signed), rev("1.9.0", signed), 409, "older"},
		{"a pre-release is older", rev("2.0.0"), rev("2.0.0-rc.1"), 409, "older"},
		{"the same version with other content, unsigned", rev("1.0.0"), rev("1.0.0", content("x")), 200, ""},
		{"the same version with other content, signed", rev("1.0.0", signed), rev("1.0.0", signed, content("x")), 409, "other content"},
		{"the same version with other content, was signed", rev("1.0.0", signed), rev("1.0.0", content("x")), 409, "other content"},
		{"the same version with other content, now signed", rev("1.0.0"), rev("1.0.0", signed, content("x")), 409, "other content"},
		{"vector dominating goes before an older version", rev("2.0.0", counter(vector{"a": 1})), rev("1.0.0", counter(vector{"a": 2})), 200, ""},
		{"vector equal", rev("1.0.0", counter(vector{"a": 1})), rev("1.0.0", content("x"), counter(vector{"a": 1, "b": 0})), 200, ""},
		{"vector equal, signed, the same version", rev("1.0.0", signed, counter(vector{"a": 1})), rev("1.0.0", signed, content("x"), counter(vector{"a": 1})), 409, "other content"},
		{"vector dominated", rev("1.0.0", counter(vector{"a": 2})), rev("2.0.0", counter(vector{"a": 1})), 409, "dominated"},
		{"vector concurrent", rev("1.0.0", counter(vector{"a": 2})), rev("2.0.0", counter(vector{"b": 1})), 409, "concurrent"},
		{"only one vector: the version decides", rev("1.0.0", counter(vector{"a": 2})), rev("2.0.0"), 200, ""},
		{"only one vector, older", rev("2.0.0"), rev("1.0.0", counter(vector{"a": 2})), 409, "older"},
		{"below the floor though the vector dominates", rev("2.0.0", floor("2.0.0"), counter(vector{"a": 1})), rev("1.0.0", counter(vector{"a": 2})), 409, "floor"},
		{"revoked", rev("1.0.0"), rev("9.0.0"), 412, "revoked"},
		{"no digest", rev("1.0.0"), rev("2.0.0", func(r *life.Revision) { r.Digest = "sha256:x" }), 412, "digest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := begin(t)
			s.load(tt.have)
			s.revoked[digest("9.0.0")] = true
			v := s.offer(tt.offered)
			if v.Code != tt.code || !strings.Contains(v.Reason, tt.reason) || (v.Reason == "") != (tt.reason == "") {
				t.Errorf("verdict %+v, want %d with %q", v, tt.code, tt.reason)
			}
			if again := s.offer(tt.have); tt.have.Digest != tt.offered.Digest && !again.Unchanged {
				t.Errorf("what is in force, offered again: %+v", again)
			}
		})
	}
}

func TestAVersionThatWasRejectedMayBeSignedAnew(t *testing.T) {
	s := begin(t)
	s.c, _ = s.c.Reject(rev("1.0.0", func(r *life.Revision) { r.Reason = "check 1: exit status 1" }), s.now)
	if v := s.offer(rev("1.0.0", signed, content("x"))); !v.Accepted() {
		t.Errorf("verdict %+v", v)
	}
}

func TestCompare(t *testing.T) {
	for _, tt := range []struct {
		a, b vector
		want life.Order
	}{
		{nil, nil, life.Equal},
		{vector{"a": 0}, nil, life.Equal},
		{vector{"a": 1}, nil, life.Dominating},
		{nil, vector{"a": 1}, life.Dominated},
		{vector{"a": 1}, vector{"b": 1}, life.Concurrent},
		{vector{"a": 2, "b": 1}, vector{"a": 1, "b": 1}, life.Dominating},
		{vector{"a": 2, "b": 1}, vector{"a": 1, "b": 2}, life.Concurrent},
	} {
		if got := life.Compare(tt.a, tt.b); got != tt.want {
			t.Errorf("%v to %v: %s, want %s", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestAConflictIsJudgedAnewAndReportedOnce(t *testing.T) {
	s := begin(t)
	s.load(rev("1.0.0"))
	s.load(rev("2.0.0"))
	old := rev("1.5.0")
	v := s.offer(old)
	if v.Code != life.Conflict || v.Known {
		t.Fatalf("first: %+v", v)
	}
	old.Verdict, old.Reason = v.Code, v.Reason
	s.c, _ = s.c.Reject(old, s.now)
	if v := s.offer(old); v.Code != life.Conflict || !v.Known {
		t.Errorf("second: %+v", v)
	}
	if err := s.rollback("1.0.0"); err != nil {
		t.Fatal(err)
	}
	if v := s.offer(old); !v.Accepted() {
		t.Errorf("newer than what is in force now: %+v", v)
	}
	old.Verdict, old.Reason = 0, ""
	s.load(old)
	s.want("1.5.0", "2.0.0 held")
}

func TestASignatureThatArrivesLaterIsNoted(t *testing.T) {
	s := begin(t)
	s.load(rev("1.0.0"))
	s.runs(rev("1.0.0"), 1)
	before, _ := s.c.Current()
	s.c = s.c.Activate(rev("1.0.0", signed), 9, s.now)
	got, _ := s.c.Current()
	before.KeyID = "K1"
	if diff := cmp.Diff(before, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s.c.Generation == 9 {
		t.Error("in force did not change")
	}
}

// TestARefusalOpensNoWayToAnOlderVersion: with nothing in force offers are
// still compared with what was: who makes a command violate its policy, or
// takes its revision back, must not choose what comes next. An operator may.
func TestARefusalOpensNoWayToAnOlderVersion(t *testing.T) {
	for name, tt := range map[string]struct {
		change changed
		refuse func(s *story)
	}{
		"quarantine by a violation": {onQuarantine, func(s *story) { s.ended(rev("2.0.0"), "ptrace") }},
		"the budget is spent":       {budget(0), func(s *story) { s.ended(rev("2.0.0"), "ptrace") }},
		"quarantine, and away": {onQuarantine, func(s *story) {
			s.ended(rev("2.0.0"), "ptrace")
			s.gen++
			s.c, _ = s.c.Absent(s.gen, s.now)
		}},
		"revoked, nothing to return to": {budget(1), func(s *story) {
			s.revoked[digest("1.5.0")], s.revoked[digest("2.0.0")] = true, true
			s.gen++
			s.c, _ = s.c.Revoke(s.gen, s.now, s.isRevoked)
		}},
		"hold": {budget(1), func(s *story) {
			s.gen++
			s.c = s.c.Hold(s.gen, s.now, life.Act{Who: "root"})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t)
			s.load(rev("1.5.0"))
			s.runs(rev("1.5.0"), 1)
			s.load(rev("2.0.0", tt.change))
			tt.refuse(s)
			s.check()
			if s.c.InForce != "" {
				t.Fatalf("%s is in force", s.c.InForce)
			}
			if v := s.offer(rev("1.6.0", signed)); v.Code != life.Conflict || !strings.Contains(v.Reason, "older than 2.0.0") {
				t.Errorf("an older version: %+v", v)
			}
			if v := s.offer(rev("2.0.1")); !v.Accepted() {
				t.Errorf("a newer version: %+v", v)
			}
			s.c, _ = s.c.Release(s.now, life.Act{Who: "root"})
			s.check()
			if v := s.offer(rev("1.6.0", signed)); !v.Accepted() {
				t.Errorf("an older version after the release: %+v", v)
			}
		})
	}
}
