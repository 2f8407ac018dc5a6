package hostile_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

// callers are who the battery runs for: the superuser, and an ordinary user,
// each under a policy that kills and one that answers with an errno.
func callers() []caller {
	if os.Geteuid() != 0 {
		self := uint32(os.Getuid())
		return []caller{{name: "user", uid: self, verdict: "kill"}, {name: "user-errno", uid: self, verdict: "errno"}}
	}
	return []caller{
		{name: "root", verdict: "kill"}, {name: "user", uid: ordinary, verdict: "kill"},
		{name: "root-errno", verdict: "errno"}, {name: "user-errno", uid: ordinary, verdict: "errno"},
	}
}

// TestBattery runs every act of the table for every caller; in a guest the
// callers take turns (turns_test.go).
func TestBattery(t *testing.T) {
	needProgram(t)
	sbx := needSbx(t)
	everyone, share := callers(), testShare(t)
	noLeaks(t)
	for _, c := range everyone {
		t.Run(c.name, func(t *testing.T) {
			if !testenv.Guest() {
				t.Parallel() // each has a fixture of its own
			}
			battery(t, newSuite(t, sbx, c), func(i int, a act) bool {
				return !testenv.Guest() || due(i, share) && taker(i, a, everyone).name == c.name
			})
		})
	}
}

// TestWithoutUserNamespaces is the battery for root where user namespaces are
// disabled and the launch is another one: no maps, ids set by init. No tree of
// others can be written then, so what is the write tree else is read.
func TestWithoutUserNamespaces(t *testing.T) {
	needProgram(t)
	sbx := needSbx(t)
	testenv.Root(t)
	if !testenv.Guest() {
		t.Skip("it writes a setting of the whole machine: in guests only")
	}
	const setting = "/proc/sys/user/max_user_namespaces"
	was, err := os.ReadFile(setting)
	if err != nil {
		t.Fatal(err)
	}
	noLeaks(t)
	s := newSuite(t, sbx, caller{name: "root-nouserns", verdict: "kill", nouserns: true})
	if err := os.WriteFile(setting, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(setting, was, 0); err != nil {
			t.Error(err)
		}
	})
	share := testShare(t)
	battery(t, s, func(i int, a act) bool { return due(i, share) && a.name != ofUserNS })
	if s.unwritten > 60 {
		t.Errorf("%d acts could not prepare what they try in the tree that is not writable: too many to speak of a battery", s.unwritten)
	}
}

func noLeaks(t *testing.T) { testenv.NoLeaks(t, testenv.Watch{Programs: []string{"hostile"}}) }

// battery runs the acts that are wanted.
func battery(t *testing.T, s *suite, wanted func(i int, a act) bool) {
	s.probe(t)
	for i, a := range all() {
		if a.setup == nil {
			t.Fatalf("%s has no setup", a.name)
		}
		if !wanted(i, a) {
			continue
		}
		t.Run(fmt.Sprintf("%02d/%s", a.line, a.name), func(t *testing.T) {
			pin(t, a, s.caller)
			if a.needs != nil {
				a.needs(t, s.caller)
			}
			if s.verdict == "errno" && a.long {
				t.Skip("takes long and does not depend on the verdict of the filter")
			}
			s.act(t, a)
		})
	}
}

// probe demands that an honest program runs: without it every act would be
// held by a sandbox that does nothing.
func (s *suite) probe(t *testing.T) {
	t.Helper()
	if r := s.run(t, "status-0", options{}); r.status != 0 || r.outcome() != "ok" {
		t.Fatalf("an honest program: status %d, outcome %q, %.300q", r.status, r.outcome(), r.stderr)
	}
}

// act runs one act and judges it from inside and from outside.
func (s *suite) act(t *testing.T, a act) {
	t.Helper()
	o := a.setup(t, s)
	r := s.run(t, a.name, o)
	verdict, what := r.judge(a)
	if a.check != nil {
		verdict, what = a.check(s, r, verdict, what)
	}
	if s.nouserns && verdict == broken && strings.Contains(what, "Read-only file system") {
		// What it tries begins with a file in the write tree: refused there.
		verdict = held
		s.unwritten++
	}
	if found := s.escaped(t); len(found) > 0 {
		verdict, what = through, fmt.Sprintf("%v (the act said %q)", found, what)
		s.restore(t)
	}
	record(s.name, a, verdict, what)
	if *verbose {
		t.Logf("%s: %s", verdict, what)
	}
	if verdict != held {
		t.Errorf("%s: %s", verdict, what)
	}
}

// restore makes the present state of the trees the sealed one, so that one
// escape is not reported again for each later act.
func (s *suite) restore(t *testing.T) {
	t.Helper()
	s.sealed = s.manifest(t)
	if gone(s.victim.Process.Pid) {
		t.Log("the victim is gone: later acts against it are void")
	}
}

// summary prints the verdicts by caller and class, then what did not hold.
func summary() {
	tally.mu.Lock()
	defer tally.mu.Unlock()
	if len(tally.count) == 0 {
		return
	}
	names := []string{}
	for name := range tally.count {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Printf("%-12s", name)
		for _, class := range []byte("ESHRLXF") {
			row := tally.count[name][class]
			fmt.Printf(" %c %d/%d", class, row[held], row[held]+row[through]+row[broken])
		}
		fmt.Println()
	}
	slices.Sort(tally.notes)
	for _, note := range tally.notes {
		fmt.Println(note)
	}
}
