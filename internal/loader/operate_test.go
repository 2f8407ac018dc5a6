package loader

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry/life"
)

// TestRollbackOfAGoneBundle: what has no bundle on the disk is not put in force
// for as long as nobody looks.
func TestRollbackOfAGoneBundle(t *testing.T) {
	s := newShop(t)
	for _, version := range []string{"1.0.0", "2.0.0"} {
		s.put("tool", version)
		s.put("other", version)
		s.inForce("tool", "other")
	}
	s.must(os.Remove(s.base + "/registry/tool.yaml"))
	for _, seen := range []bool{false, true} {
		if seen {
			s.inForce("tool")
		}
		l := s.open()
		before := l.Snapshot().Generation
		if err := l.Rollback("tool", "1.0.0", life.Act{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "its bundle is gone") {
			t.Errorf("seen %v: %v", seen, err)
		}
		if l.Snapshot().Generation != before {
			t.Errorf("seen %v: generation %d became %d", seen, before, l.Snapshot().Generation)
		}
		s.must(l.Close())
	}
	l := s.open()
	defer l.Close()
	s.must(l.RollbackAll(1, life.Act{}))
	for name, want := range map[string]string{"tool": "", "other": "1.0.0"} {
		if r, _ := l.Snapshot().Commands[name].Current(); r.Version != want {
			t.Errorf("%s is on %q, want %q", name, r.Version, want)
		}
	}
}

// TestEveryGenerationSaysWhy: also one that only ends a probation.
func TestEveryGenerationSaysWhy(t *testing.T) {
	for name, end := range map[string]func(s *shop){
		"runs":            func(s *shop) { s.counted("a", "") },
		"window":          func(*shop) { <-time.After(2 * time.Millisecond) },
		"last, and kills": func(s *shop) { s.counted("a", "ptrace") },
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			s := newShop(t)
			s.marked("a", "1.0.0", map[string]string{
				"runs": "probation: {runs: 1}\n", "window": "probation: {window: 1ms}\n",
				"last, and kills": "probation: {runs: 1}\non_violation: kill\n",
			}[name])
			s.load("a")
			end(s)
			s.load("a")
			l := s.open()
			defer l.Close()
			history, err := l.History()
			s.must(err)
			if len(history) != 2 || !strings.Contains(history[0].Why, "a 1.0.0: ") || !strings.Contains(history[0].Why, "probation is over") {
				t.Errorf("%+v", history)
			}
			if state.Unfinished(s.base+"/state", s.place.Key) {
				t.Error("unfinished")
			}
		})
	}
}
