package loader

import (
	"fmt"
	"os"
	"testing"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/state"
)

// TestSettleJudgesNothing: the plan that a verdict leaves behind is fresh only
// while the disk has what was looked at before. What came since is for the next
// load of the command, whatever else is loaded meanwhile.
func TestSettleJudgesNothing(t *testing.T) {
	const dir = "/registry/tool"
	for _, tt := range []struct {
		name   string
		change func(s *shop) error
		fresh  bool
	}{
		{"as it was", func(*shop) error { return nil }, true},
		{"a new version", func(s *shop) error { s.ship("3.0.0"); return nil }, false},
		{"gone", func(s *shop) error { return os.RemoveAll(s.base + dir) }, false},
		{"a shipped file", func(s *shop) error { return os.Rename(s.base+dir+"/data", s.base+dir+"/renamed") }, false},
		{"open to others", func(s *shop) error { return os.Chmod(s.base+dir, 0o777) }, false},
		{"no plan that says what was looked at", func(s *shop) error { return os.Remove(s.planPath("tool")) }, false},
	} {
		t.Run(tt.name+", probation over", func(t *testing.T) {
			s := newShop(t)
			s.ship("1.0.0")
			p := s.load("tool")
			for n := range p5 {
				s.ended(p, fmt.Sprint("good-", n), "")
			}
			s.must(tt.change(s))
			s.settledBeside("active", tt.fresh)
		})
		t.Run(tt.name+", reverted", func(t *testing.T) {
			s := newShop(t)
			s.ship("1.0.0")
			s.ended(s.load("tool"), "good", "")
			s.ship("2.0.0")
			p := s.load("tool")
			s.ended(p, "bad", "ptrace")
			s.must(tt.change(s))
			s.settledBeside("active", tt.fresh)
		})
	}
}

// ship puts a version of "tool" into the registry, as a directory with a file.
func (s *shop) ship(version string) {
	s.t.Helper()
	s.must(os.MkdirAll(s.base+"/registry/tool", 0o755))
	text := "apiVersion: sbx/v1\nname: tool\nversion: " + version + "\nexec: {path: /bin/sh, args: passthrough}\n"
	s.must(os.WriteFile(s.base+"/registry/tool/bundle.yaml", []byte(text), 0o644))
	s.must(os.WriteFile(s.base+"/registry/tool/data", []byte("text"), 0o644))
}

// settledBeside loads another command, which takes the journal into account, and
// looks at what is left of "tool": 1.0.0 in that state, and whether its plan is
// fresh.
func (s *shop) settledBeside(inState string, fresh bool) {
	s.t.Helper()
	s.put("other", "1.0.0")
	s.load("other")
	v, err := Look(s.place, Options{})
	s.must(err)
	p, err := state.Read(s.planPath("tool"))
	s.must(err)
	if cur, _ := v.Snapshot.Commands["tool"].Current(); p.Version != "1.0.0" || cur.Version != "1.0.0" || cur.State.String() != inState {
		s.t.Fatalf("the plan is of %s, in force is %s, %s; want 1.0.0, %s", p.Version, cur.Version, cur.State, inState)
	}
	if why, is := state.Fresh(p, buildinfo.Build); is != fresh {
		s.t.Errorf("fresh: %v (%s), want %v", is, why, fresh)
	}
}
