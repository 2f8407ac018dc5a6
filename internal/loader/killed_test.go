package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/registry/chain"
)

// killing is one change that a loader is killed in.
type killing struct {
	// work is the child's; prepare makes the state that it finds.
	work    string
	prepare func(s *shop)
	// before and after are the versions in force; "" is none. together says
	// that the change is one batch: all of before or all of after.
	before, after map[string]string
	together      bool
	// never is a version that no run may be given, by the command: it has
	// violated its policy in probation, and its caller was told.
	never map[string]string
}

// marked writes a bundle whose plan can be told from every other's, also by
// what is in it.
func (s *shop) marked(name, version, extra string) {
	s.t.Helper()
	text := fmt.Sprintf("apiVersion: sbx/v1\nname: %s\nversion: %s\nexec: {path: /bin/sh, args: passthrough}\npolicy: {env: {set: {MARK: %s}}}\n%s",
		name, version, mark(name, version), extra)
	path := s.base + "/registry/" + name + ".yaml"
	s.must(os.WriteFile(path+"~", []byte(text), 0o644))
	s.must(os.Rename(path+"~", path))
}

func mark(name, version string) string { return name + "-" + version + "-mark" }

// counted puts an end of a run of what is in force into the journal.
func (s *shop) counted(name, violation string) {
	s.t.Helper()
	p := s.load(name)
	add := state.Append
	if violation != "" {
		add = state.AppendUrgent
	}
	_, err := add(state.Dir(), s.place.Key, state.Record{Time: time.Now(), Run: "run-" + name + p.Version, Command: name, Revision: p.Revision, Violation: violation})
	s.must(err)
}

var killings = map[string]killing{
	"the first load": {
		work: "load:a,b,c", prepare: func(s *shop) {
			for _, name := range []string{"a", "b", "c"} {
				s.marked(name, "1.0.0", "")
			}
		},
		before: map[string]string{"a": "", "b": "", "c": ""}, after: map[string]string{"a": "1.0.0", "b": "1.0.0", "c": "1.0.0"}, together: true,
	},
	"a batch": {
		work: "load:a,b,c,d", prepare: func(s *shop) {
			for _, name := range []string{"a", "b", "c"} {
				s.marked(name, "1.0.0", "")
				s.load(name)
			}
			s.marked("a", "2.0.0", "")
			s.marked("b", "2.0.0", "")
			s.marked("d", "1.0.0", "")
		},
		before:   map[string]string{"a": "1.0.0", "b": "1.0.0", "c": "1.0.0", "d": ""},
		after:    map[string]string{"a": "2.0.0", "b": "2.0.0", "c": "1.0.0", "d": "1.0.0"},
		together: true,
	},
	"runs one after the other": {
		work: "run:a,b", prepare: func(s *shop) {
			for _, name := range []string{"a", "b"} {
				s.marked(name, "1.0.0", "")
				s.load(name)
				s.marked(name, "2.0.0", "")
			}
		},
		before: map[string]string{"a": "1.0.0", "b": "1.0.0"}, after: map[string]string{"a": "2.0.0", "b": "2.0.0"},
	},
	"a verdict": {
		work: "settle:", prepare: violated,
		before: map[string]string{"a": "2.0.0", "b": "1.0.0"}, after: map[string]string{"a": "1.0.0", "b": "1.0.0"}, together: true,
		never: map[string]string{"a": "2.0.0"},
	},
	"a verdict beside a change": {
		work: "load:b", prepare: func(s *shop) {
			violated(s)
			s.marked("b", "2.0.0", "")
		},
		before: map[string]string{"a": "2.0.0", "b": "1.0.0"}, after: map[string]string{"a": "1.0.0", "b": "2.0.0"}, together: true,
		never: map[string]string{"a": "2.0.0"},
	},
}

func violated(s *shop) {
	s.marked("a", "1.0.0", "")
	s.marked("b", "1.0.0", "")
	s.load("b")
	s.counted("a", "")
	s.marked("a", "2.0.0", "")
	s.counted("a", "ptrace")
}

// TestKilledAtEachStep: a loader is killed before each of its changes of what
// is on the disk: the journal, the mark, the store, the generation, the plans.
// At once and after the next start every command is on an old or a new good
// revision; none is lost, none is mixed, and nothing that has violated its
// policy runs. SBX_TEST_SOAK=1 takes every step, else some of them.
func TestKilledAtEachStep(t *testing.T) {
	for what, k := range killings {
		t.Run(strings.ReplaceAll(what, " ", "-"), func(t *testing.T) {
			s := newShop(t)
			k.prepare(s)
			s.must(os.MkdirAll(state.Dir(), 0o755))
			s.must(os.Rename(state.Dir(), s.base+"/template"))
			steps := k.until(s, 0)
			k.check(s, fmt.Sprintf("after all %d steps", steps), true)
			kills := someOf(steps, 10)
			for n := range kills {
				at := 1 + n*steps/kills
				k.until(s, at)
				k.check(s, fmt.Sprintf("killed at step %d of %d", at, steps), false)
				if t.Failed() {
					return
				}
			}
			t.Logf("%d kills, %d steps", kills, steps)
		})
	}
}

// someOf is how many of the steps are tried: some of them, or all.
func someOf(steps, some int) int {
	switch {
	case os.Getenv("SBX_TEST_SOAK") == "1":
		return steps
	case testing.Short():
		return min(steps, 3)
	}
	return min(steps, some)
}

// needsRoom are the calls that a disk without room refuses.
var needsRoom = []int{
	unix.SYS_OPENAT, unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FSYNC,
	unix.SYS_FDATASYNC, unix.SYS_SYNCFS, unix.SYS_RENAMEAT2, unix.SYS_RENAMEAT, unix.SYS_MKDIRAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT,
}

// TestNoRoomAtEachStep: each of the changes of a loader finds no room, and so do
// all that follow, or none of them. At once, and with room again, every command
// is on an old or a new good revision. SBX_TEST_SOAK=1 takes every step.
func TestNoRoomAtEachStep(t *testing.T) {
	if !testenv.CanFail {
		t.Skip("calls cannot be made to fail on this architecture")
	}
	for what, k := range killings {
		t.Run(strings.ReplaceAll(what, " ", "-"), func(t *testing.T) {
			s := newShop(t)
			k.prepare(s)
			s.must(os.MkdirAll(state.Dir(), 0o755))
			s.must(os.Rename(state.Dir(), s.base+"/template"))
			steps := k.until(s, 0)
			k.together = false // one bundle may find no room, and the others of the batch may
			tries, hits := someOf(steps, 4), 0
			for n := range tries {
				at := 1 + n*steps/tries
				for _, full := range []bool{false, true} {
					hit := false
					_, ended := k.child(s, func(step int, c testenv.Call) testenv.Act {
						if step < at || hit && !full || !slices.Contains(needsRoom, c.Number) {
							return testenv.Act{}
						}
						hit = true
						return testenv.Act{Fail: unix.ENOSPC}
					})
					if !ended.Exited() {
						t.Fatalf("step %d of %d: the child ended with %#x", at, steps, ended)
					}
					if hit {
						hits++
					}
					k.check(s, fmt.Sprintf("no room at step %d of %d, full %v", at, steps, full), false)
					if t.Failed() {
						return
					}
				}
			}
			if hits < tries {
				t.Errorf("room was missing %d times, want %d", hits, tries)
			}
			t.Logf("%d tries, %d steps", tries, steps)
		})
	}
}

// until lets a child work from the template on and kills it before change at,
// 0 for never. It returns how many changes there were.
func (k killing) until(s *shop, at int) (steps int) {
	s.t.Helper()
	steps, ended := k.child(s, func(step int, _ testenv.Call) testenv.Act { return testenv.Act{Kill: step == at} })
	if at == 0 && ended.ExitStatus() != 0 || at > 0 && ended.Signal() != unix.SIGKILL {
		s.t.Fatalf("step %d: the child ended with %#x", at, ended)
	}
	return steps
}

// child lets a child work from the template on, and asks at each of its changes
// what shall become of it. It returns how many there were, and how it ended.
func (k killing) child(s *shop, at func(step int, c testenv.Call) testenv.Act) (steps int, ended syscall.WaitStatus) {
	s.t.Helper()
	s.must(os.RemoveAll(state.Dir()))
	if out, err := exec.Command("cp", "-a", s.base+"/template", state.Dir()).CombinedOutput(); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.Stderr = append(os.Environ(), childEnv+"="+k.work+" "+s.place.Path), os.Stderr
	ended = testenv.Trace(s.t, cmd, func(c testenv.Call) testenv.Act {
		if c.Done || !c.Changes(state.Dir()) {
			return testenv.Act{}
		}
		steps++
		return at(steps, c)
	})
	return steps, ended
}

// check looks at what a kill has left, then starts again.
func (k killing) check(s *shop, when string, complete bool) {
	t := s.t
	t.Helper()
	o := Options{Registries: []string{s.place.Path}}
	fits := func(what, name, version string, allowed ...string) {
		t.Helper()
		if !slices.Contains(allowed, version) || version == k.never[name] && version != "" {
			t.Errorf("%s: %s: %s is on %q, want one of %q", when, what, name, version, allowed)
		}
	}
	// What is durable: one generation, whole.
	inForce := func(want ...map[string]string) {
		t.Helper()
		got := map[string]string{}
		c, err := chain.Open(state.Dir()+"/"+s.place.Key, chain.ReadOnly)
		if err == nil {
			defer c.Close()
			snap, damaged, err := c.Newest()
			if len(damaged) > 0 || err != nil && !errors.Is(err, chain.ErrEmpty) {
				t.Errorf("%s: %v, %v", when, damaged, err)
				return
			}
			for name := range k.before {
				if snap == nil {
					break
				}
				if r, ok := snap.Commands[name].Current(); ok {
					got[name] = r.Version
					if b, err := c.Load(name, r.Digest); err != nil || b.Manifest.Version != r.Version {
						t.Errorf("%s: the stored %s: %v", when, name, err)
					}
				}
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", when, err)
		}
		same := func(w map[string]string) bool {
			for name, version := range w {
				if got[name] != version {
					return false
				}
			}
			return true
		}
		if k.together && !slices.ContainsFunc(want, same) {
			t.Errorf("%s: in force is %v, want one of %v", when, got, want)
		}
		for name, version := range got {
			if version != k.before[name] && version != k.after[name] {
				t.Errorf("%s: %s is on %s", when, name, version)
			}
		}
	}
	if complete {
		inForce(k.after)
	} else {
		inForce(k.before, k.after)
	}
	// What a run would be given: by sbx itself, and by sbxd beside another
	// loader.
	for name := range k.before {
		if p, _, err := made(s.place, name, o); err == nil {
			fits("its plan", name, p.Version, k.before[name], k.after[name])
		}
		if p, _, err := held(s.place, name); err == nil {
			fits("its plan beside a loader", name, p.Version, k.before[name], k.after[name])
		}
	}
	// The next start.
	for name, version := range k.after {
		r, err := provide(s.place, name, o)
		if err != nil || r.Plan == nil {
			t.Errorf("%s: %s is lost: %+v, %v", when, name, r, err)
			continue
		}
		fits("started again", name, r.Plan.Version, version)
		if !slices.ContainsFunc(r.Plan.Env.Set, func(v string) bool { return strings.HasSuffix(v, "="+mark(name, version)) }) {
			t.Errorf("%s: %s %s is mixed: %q", when, name, version, r.Plan.Env.Set)
		}
	}
	inForce(k.after)
	if state.Unfinished(state.Dir(), s.place.Key) {
		t.Errorf("%s: still unfinished", when)
	}
	for _, pattern := range []string{"/*/.*~", "/*/*/.*~", "/*/tmp*"} {
		if found, _ := filepath.Glob(state.Dir() + pattern); len(found) > 0 {
			t.Errorf("%s: left behind: %q", when, found)
		}
	}
}
