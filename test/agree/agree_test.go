package agree_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/testenv"
)

// number reads a variable of the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number above 0", name, s)
	}
	return n
}

// violations is how many calls that are violations are tried under one policy:
// each ends a run, which in a guest takes a quarter of a second.
func violations() int {
	if testenv.Guest() {
		return 5
	}
	return 8
}

// due tells whether a policy is among those of today: where SBX_TEST_SHARE is
// set a guest tries one of so many, another one the next day and on the other
// kernel.
func due(i, share int) bool {
	return (i+testenv.Turn()+int(time.Now().Unix()/(24*60*60)))%share == 0
}

// counts are what was compared, so that a generator that has come to write
// only policies under which nothing can be tried is seen.
type counts struct {
	allowed, refused, killed, paths, opened, execs, facts int
	// seen is how often each call has been tried as a violation.
	seen map[uint32]int
}

// TestAgree runs the probe under generated policies.
func TestAgree(t *testing.T) {
	needAll(t)
	if os.Geteuid() != 0 {
		testenv.UserNamespaces(t)
	}
	testenv.NoLeaks(t, testenv.Watch{Programs: []string{"probe"}})
	n := number(t, "SBX_AGREE_POLICIES", 60)
	share := number(t, "SBX_TEST_SHARE", 1)
	seed := uint64(number(t, "SBX_AGREE_SEED", 20251122))
	all := callers(t)
	for turn, c := range all {
		t.Run(c.who, func(t *testing.T) {
			got := &counts{seen: map[uint32]int{}}
			tried := 0
			for i := range n {
				if testenv.Guest() && (i%len(all) != turn || !due(i/len(all), share)) {
					continue // there the callers take turns, for the time it takes
				}
				tried++
				g := generate(seed, i, c.tree)
				t.Run(g.name, func(t *testing.T) {
					one := &trial{T: t, caller: c, policy: g, counts: got, rand: rand.New(rand.NewPCG(seed, uint64(i)+1<<32))}
					defer one.keep()
					one.all()
				})
			}
			if tried == 0 {
				return // fewer policies than callers
			}
			t.Logf("%d policies: calls %d let through, %d refused, %d violations of %d calls; %d attempts at files of which %d worked; %d at executing; %d other facts",
				tried, got.allowed, got.refused, got.killed, len(got.seen), got.paths, got.opened, got.execs, got.facts)
			if each := func(have, least int) bool { return have >= least*tried }; !each(got.allowed, 50) || !each(got.refused, 50) || !each(got.killed, 4) ||
				!each(got.paths, 100) || !each(got.opened, 20) || got.execs == 0 || !each(got.facts, 4) {
				t.Errorf("too little was compared: %+v", got)
			}
		})
	}
}

// trial is one policy tried by one caller.
type trial struct {
	*testing.T
	caller *caller
	policy generated
	counts *counts
	rand   *rand.Rand
	file   string
	force  force
}

// keep shows a policy that did not agree, and saves it where that is wanted.
func (t *trial) keep() {
	if !t.Failed() {
		return
	}
	t.Logf("policy:\n%s", t.policy.text)
	if dir := os.Getenv("SBX_AGREE_KEEP"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, t.caller.who+"-"+t.policy.name+".yaml"), []byte(t.policy.text), 0o644); err != nil {
			t.Log(err)
		}
	}
}

func (t *trial) all() {
	t.file = t.caller.policy(t.T, t.policy)
	// The first run makes the plan that the others use.
	if r, err := t.caller.sandboxed(t.file, "ran"); err != nil || r.status != 77 {
		t.Fatalf("the probe does not run: %v\n%s", err, r)
	}
	var err error
	if t.force.plan, err = t.caller.kept(t.file); err != nil {
		t.Fatalf("no plan is kept: %v", err)
	}
	if t.force.rules, err = ruleset(t.file, t.policy.text); err != nil {
		t.Fatalf("no ruleset: %v", err)
	}
	owner := uint32(t.caller.uid)
	if owner == 0 {
		owner = nobodyID
	}
	t.force.view = newView(t.force.plan, t.caller.tree.path("cwd"), owner)

	allowed, refused, killing := t.sort(append(allCalls(), t.policy.calls...))
	if t.speaks() {
		t.files()
		t.calls(allowed, refused)
	} else {
		// Its exit status tells of one call in each run.
		t.single(allowed, refused)
	}
	t.violate(killing)
	t.executing()
}

// verdict is the ruleset's; a plan that says otherwise fails the test.
func (t *trial) verdict(c call) filter.Verdict {
	t.Helper()
	v, err := t.force.verdict(c)
	if err != nil {
		t.Error(err)
	}
	return v
}

// sort tells the calls apart by what is to become of them. Those that cannot
// be let through in a test are left out where they would be.
func (t *trial) sort(all []call) (allowed, refused, killing []call) {
	for _, c := range all {
		if unfiltered[c.name()] {
			continue
		}
		switch v := t.verdict(c); v.Kind {
		case filter.Allow:
			if neverRun[c.name()] == "" {
				allowed = append(allowed, c)
			}
		case filter.Errno:
			refused = append(refused, c)
		case filter.Violation:
			killing = append(killing, c)
		default:
			t.Errorf("%v: verdict %v, which no policy can ask for", c, v)
		}
	}
	return allowed, refused, killing
}

// speaks tells whether the probe can say what it saw.
func (t *trial) speaks() bool {
	return t.verdict(named("write", 1, somewhere, 100)).Kind == filter.Allow && t.verdict(named("close", 3)).Kind == filter.Allow
}

// batch runs many items in one run.
func (t *trial) batch(items []string) []answer {
	t.Helper()
	r, err := t.caller.sandboxed(t.file, append([]string{"all"}, items...)...)
	if err != nil {
		t.Fatal(err)
	}
	if r.status != 0 {
		t.Fatalf("of %d items that the dump does not call a violation one ended the run: %s", len(items), r)
	}
	out, err := answers(r.stdout, len(items))
	if err != nil {
		t.Fatalf("%v\n%s", err, r)
	}
	return out
}

// calls compares what is let through and what is refused with an errno.
func (t *trial) calls(allowed, refused []call) {
	var items []string
	for _, c := range append(slices.Clone(refused), allowed...) {
		items = append(items, c.item())
	}
	bare, err := t.caller.bare(items[len(refused):])
	if err != nil || bare.status != 0 {
		t.Fatalf("the probe without a sandbox: %v\n%s", err, bare)
	}
	natural, err := answers(bare.stdout, len(allowed))
	if err != nil {
		t.Fatal(err)
	}
	got := t.batch(items)
	for i, c := range refused {
		if want := unix.Errno(t.verdict(c).Errno); got[i].errno != want {
			t.Errorf("%v: %s, the dump says %s", c, errnoName(got[i].errno), errnoName(want))
		}
	}
	for i, c := range allowed {
		if g := got[len(refused)+i].errno; g != natural[i].errno {
			t.Errorf("%v: %s, the dump says allow, and the kernel answers %s", c, errnoName(g), errnoName(natural[i].errno))
		}
	}
	t.counts.refused += len(refused)
	t.counts.allowed += len(allowed)
}

// single tries some calls of a probe that cannot write.
func (t *trial) single(allowed, refused []call) {
	for _, c := range t.some(allowed, violations()) {
		bare, err := t.caller.bare([]string{c.item()})
		if err != nil {
			t.Fatal(err)
		}
		natural, err := answers(bare.stdout, 1)
		if err != nil {
			t.Fatal(err)
		}
		t.one(c, natural[0].errno)
		t.counts.allowed++
	}
	for _, c := range t.some(refused, violations()) {
		t.one(c, unix.Errno(t.verdict(c).Errno))
		t.counts.refused++
	}
}

func (t *trial) one(c call, want unix.Errno) {
	t.Helper()
	r, err := t.caller.sandboxed(t.file, "one", c.item())
	if err != nil {
		t.Fatal(err)
	}
	if r.status != int(want) {
		t.Errorf("%v: status %d, the dump says %s\n%s", c, r.status, errnoName(want), r)
	}
}

func (t *trial) some(from []call, n int) []call {
	var out []call
	for _, i := range t.rand.Perm(len(from))[:min(n, len(from))] {
		out = append(out, from[i])
	}
	return out
}

// violate tries calls that end the run, those first that have been tried least
// often.
func (t *trial) violate(killing []call) {
	t.rand.Shuffle(len(killing), func(i, j int) { killing[i], killing[j] = killing[j], killing[i] })
	// Half of them are about the policy's own rules, where it has any.
	slices.SortStableFunc(killing, func(a, b call) int { return t.counts.seen[a.nr] - t.counts.seen[b.nr] })
	var chosen []call
	for _, c := range killing {
		if slices.Contains(t.policy.calls, c) && len(chosen) < violations()/2 {
			chosen = append(chosen, c)
		}
	}
	for _, c := range killing {
		if len(chosen) < violations() && !slices.Contains(chosen, c) {
			chosen = append(chosen, c)
		}
	}
	for _, c := range chosen {
		r, err := t.caller.sandboxed(t.file, "one", c.item())
		if err != nil {
			t.Fatal(err)
		}
		t.named(c, r)
		t.counts.seen[c.nr]++
		t.counts.killed++
	}
}

// named checks that a run ended as a violation by exactly this call.
func (t *trial) named(c call, r result) {
	t.Helper()
	arch := runtime.GOARCH
	if c.nr&x32 != 0 {
		arch = "x32"
	}
	want := []violation{{Syscall: c.name(), NR: int32(c.nr), Arch: arch, Args: c.args}}
	if r.status != 159 || r.Outcome != "violation" {
		t.Errorf("%v: the dump says violation\n%s", c, r)
		return
	}
	if d := cmp.Diff(want, r.Violations); d != "" {
		t.Errorf("%v: the report names another call (-want +got):\n%s", c, d)
	}
}

func errnoName(e unix.Errno) string {
	if e == 0 {
		return "success"
	}
	if s := unix.ErrnoName(e); s != "" {
		return s
	}
	return fmt.Sprint(uint(e))
}
