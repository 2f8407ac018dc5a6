package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// needs puts a command that requires others.
func (s *shop) needs(name, version string, others ...string) {
	s.t.Helper()
	text := fmt.Sprintf("apiVersion: sbx/v1\nname: %s\nversion: %s\nexec: {path: /bin/sh, args: passthrough}\nrequires: {commands: [%s]}\n", name, version, strings.Join(others, ", "))
	s.must(os.WriteFile(s.base+"/registry/"+name+".yaml", []byte(text), 0o644))
}

// inForce are the versions in force after a load of names.
func (s *shop) inForce(names ...string) (text string, results map[string]*Result, events []Event) {
	s.t.Helper()
	l, err := OpenFor(s.place, Options{Registries: []string{s.place.Path}, Notify: func(es []Event) { events = append(events, es...) }})
	s.must(err)
	defer l.Close()
	results, err = l.Load(names...)
	s.must(err)
	var out []string
	for name, c := range l.Snapshot().Commands {
		if rev, ok := c.Current(); ok {
			out = append(out, name+" "+rev.Version)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", "), results, events
}

// TestIllegalTree: a tree that is not legal is refused whole, is told once,
// and comes in force as soon as it is legal, whichever bundle mends it.
func TestIllegalTree(t *testing.T) {
	tests := []struct {
		name         string
		is           error
		break_, mend func(s *shop)
		load         []string
		mended       string
	}{
		{"a circle", registry.ErrCycle,
			func(s *shop) { s.needs("a", "2.0.0", "b"); s.needs("b", "2.0.0", "a"); s.put("c", "2.0.0") },
			func(s *shop) { s.put("b", "2.0.1") }, []string{"a", "b", "c"}, "a 2.0.0, b 2.0.1, c 2.0.0"},
		{"itself", registry.ErrCycle,
			func(s *shop) { s.needs("a", "2.0.0", "a"); s.put("c", "2.0.0") },
			func(s *shop) { s.put("a", "2.0.1") }, []string{"a", "c"}, "a 2.0.1, b 1.0.0, c 2.0.0"},
		{"a circle of which one name is asked for", registry.ErrCycle,
			func(s *shop) { s.needs("a", "2.0.0", "b"); s.needs("b", "2.0.0", "a") },
			func(s *shop) { s.put("b", "2.0.1") }, []string{"a"}, "a 2.0.0, b 2.0.1, c 1.0.0"},
		{"not there", registry.ErrRequires,
			func(s *shop) { s.needs("a", "2.0.0", "none"); s.put("c", "2.0.0") },
			func(s *shop) { s.put("none", "1.0.0") }, []string{"a", "c"}, "a 2.0.0, b 1.0.0, c 2.0.0, none 1.0.0"},
		{"taken away", registry.ErrRequires,
			func(s *shop) {
				s.needs("a", "1.5.0", "b")
				s.inForce("a")
				s.must(os.Remove(s.base + "/registry/b.yaml"))
				s.put("c", "2.0.0")
			},
			func(s *shop) { s.put("a", "2.0.0") }, []string{"b", "c"}, "a 2.0.0, c 2.0.0"},
		{"a command and a group", registry.ErrTree,
			func(s *shop) {
				s.needs("a", "2.0.0", "b")
				s.must(os.Mkdir(s.base+"/registry/b", 0o755))
				s.put("c", "2.0.0")
			},
			func(s *shop) { s.must(os.Remove(s.base + "/registry/b")) }, []string{"a", "c"}, "a 2.0.0, b 1.0.0, c 2.0.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newShop(t)
			for _, name := range []string{"a", "b", "c"} {
				s.put(name, "1.0.0")
			}
			s.inForce("a", "b", "c")
			tt.break_(s)
			was, _, _ := s.inForce()
			for i := range 2 {
				now, results, events := s.inForce(tt.load...)
				if now != was {
					t.Errorf("in force: %s, before %s", now, was)
				}
				for _, name := range tt.load {
					r := results[name]
					var rejected *RejectedError
					if r.Plan == nil || !errors.Is(r.Err, tt.is) || !errors.As(r.Err, &rejected) {
						t.Errorf("%s: %v, want %v", name, r.Err, tt.is)
					}
				}
				told := slices.ContainsFunc(events, func(e Event) bool { return e.Kind == Rejected && errors.Is(e.Err, tt.is) })
				// What no revision keeps is told to each one-shot run.
				if told != (i == 0) && tt.name != "taken away" {
					t.Errorf("look %d: told %t: %+v", i+1, told, events)
				}
			}
			tt.mend(s)
			load := tt.load
			if tt.name == "taken away" {
				load = append(load, "a")
			}
			if now, results, _ := s.inForce(load...); now != tt.mended {
				t.Errorf("mended: %s, want %s (%v)", now, tt.mended, results["a"].Err)
			}
		})
	}
}

// TestIllegalTreeNew: with nothing in force the names are refused, not absent,
// and a one-shot run of one sees what is wrong with the other.
func TestIllegalTreeNew(t *testing.T) {
	s := newShop(t)
	s.needs("a", "1.0.0", "b")
	s.needs("b", "1.0.0", "a")
	_, _, _, err := Run(s.place.Path, []string{"a"}, Options{})
	var rejected *RejectedError
	if !errors.Is(err, registry.ErrCycle) || !errors.As(err, &rejected) || !strings.Contains(err.Error(), `"a": requires itself: a -> b -> a`) {
		t.Errorf("%v", err)
	}
	s.put("b", "1.0.0")
	if p, _, _, err := Run(s.place.Path, []string{"a"}, Options{}); err != nil || p.Version != "1.0.0" {
		t.Errorf("mended: %v", err)
	}
}

// TestRequiredIsTakenAway: what a command in force requires goes on, from the
// store, until that command is gone as well.
func TestRequiredIsTakenAway(t *testing.T) {
	s := newShop(t)
	s.needs("a", "1.0.0", "b")
	s.put("b", "1.0.0")
	s.inForce("a", "b")
	s.must(os.Remove(s.base + "/registry/b.yaml"))
	var said []Event
	p, _, used, err := Run(s.place.Path, []string{"b", "x"}, Options{Notify: func(es []Event) { said = append(said, es...) }})
	if err != nil || p.Command != "b" || p.Version != "1.0.0" || used != 1 || len(said) != 1 || !errors.Is(said[0].Err, registry.ErrRequires) {
		t.Errorf("%+v, %v, %+v", p, err, said)
	}
	s.must(os.Remove(s.base + "/registry/a.yaml"))
	if _, _, _, err := Run(s.place.Path, []string{"b"}, Options{}); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("without its user: %v", err)
	}
}

// TestRejectedPartOfALegalTree: the tree on disk is legal; what is rejected of
// it stays as it was, and the rest makes no illegal tree with that.
func TestRejectedPartOfALegalTree(t *testing.T) {
	s := newShop(t)
	s.needs("a", "1.0.0", "b")
	s.put("b", "1.0.0")
	s.put("gone", "1.0.0")
	s.needs("c", "1.0.0", "gone")
	s.inForce("a", "b", "c", "gone")
	bad := "apiVersion: sbx/v1\nname: %s\nversion: 2.0.0\nexec: {path: /nonexistent}\n"
	for _, name := range []string{"a", "c"} {
		s.must(os.WriteFile(s.base+"/registry/"+name+".yaml", fmt.Appendf(nil, bad, name), 0o644))
	}
	s.needs("b", "2.0.0", "a")
	s.must(os.Remove(s.base + "/registry/gone.yaml"))
	now, results, _ := s.inForce("a", "b", "c", "gone")
	if now != "a 1.0.0, b 1.0.0, c 1.0.0, gone 1.0.0" || !errors.Is(results["b"].Err, registry.ErrCycle) {
		t.Errorf("%s, %v", now, results["b"].Err)
	}
	s.put("a", "3.0.0")
	s.put("c", "3.0.0")
	if now, _, _ := s.inForce("a", "b", "c", "gone"); now != "a 3.0.0, b 2.0.0, c 3.0.0" {
		t.Errorf("mended: %s", now)
	}
}

// TestTreeBeforeTheChange: what the change did not make refuses nothing.
func TestTreeBeforeTheChange(t *testing.T) {
	s := newShop(t)
	s.put("x", "1.0.0")
	s.needs("a", "1.0.0", "x")
	s.inForce("a", "x")
	s.put("a", "2.0.0")
	s.inForce("a")
	s.must(os.Remove(s.base + "/registry/x.yaml"))
	s.inForce("x")
	l := s.open()
	s.must(l.Rollback("a", "1.0.0", life.Act{Who: "test"}))
	s.must(l.Close())
	s.put("c", "1.0.0")
	if now, results, _ := s.inForce("c"); now != "a 1.0.0, c 1.0.0" {
		t.Errorf("%s, %v", now, results["c"].Err)
	}
}

// TestHeldManifests: a batch whose manifests are too many to keep reads them
// twice.
func TestHeldManifests(t *testing.T) {
	s := newShop(t)
	pad := "# " + strings.Repeat("x", 1000<<10) + "\n"
	var names []string
	for i := range maxHeld/(1000<<10) + 3 {
		name := fmt.Sprintf("c%d", i)
		names = append(names, name)
		text := fmt.Sprintf("apiVersion: sbx/v1\nname: %s\nversion: 1.0.0\nexec: {path: /bin/sh, args: passthrough}\n", name)
		s.must(os.WriteFile(s.base+"/registry/"+name+".yaml", []byte(text+pad), 0o644))
	}
	if now, _, _ := s.inForce(names...); strings.Count(now, "1.0.0") != len(names) {
		t.Errorf("in force: %s", now)
	}
}

// TestOneChangeIsToldAtOnce: what a change came to is told together, so that
// who must make it durable waits once.
func TestOneChangeIsToldAtOnce(t *testing.T) {
	s := newShop(t)
	var told [][]Event
	l, err := OpenFor(s.place, Options{Registries: []string{s.place.Path}, Notify: func(events []Event) { told = append(told, events) }})
	s.must(err)
	defer l.Close()
	s.put("a", "1.0.0")
	s.put("b", "1.0.0")
	s.put("c", "1.0.0")
	_, err = l.Load("a", "b", "c")
	s.must(err)
	if len(told) != 1 || len(told[0]) != 3 {
		t.Fatalf("told %v", told)
	}
	for i, name := range []string{"a", "b", "c"} {
		if e := told[0][i]; e.Name != name || e.Kind != Registered || e.Generation != 1 {
			t.Errorf("%+v", e)
		}
	}
	_, err = l.Load("a", "b", "c")
	s.must(err)
	if len(told) != 1 {
		t.Errorf("that nothing changed is told: %v", told)
	}
}
