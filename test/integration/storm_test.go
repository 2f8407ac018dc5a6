package integration

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestRunsUnderReload: runs go on while their bundle changes all the time,
// without a daemon and by one. None fails, none is a mixture of two revisions,
// none goes back; and the daemon's memory and descriptors stay as they were.
// SBX_TEST_SOAK=1 makes it 1,000 reloads at least, and for a minute at least.
func TestRunsUnderReload(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		reloads, callers, lasts := 25, 8, time.Second
		if soak() {
			reloads, callers, lasts = 1000, 50, time.Minute
		}
		n := 0
		// The exit status tells which revision's arguments were used.
		put := func() {
			n++
			text := fmt.Sprintf("apiVersion: sbx/v1\nname: tool\nversion: 1.%d.0\nexec: {path: %s/act, args: declared, argv: [exit, \"%d\"]}\n", n, bin, stormStatus(n))
			h.write(t, "registry/.tool.new", text, 0o644)
			check(t, os.Rename(h.path("registry/.tool.new"), h.path("registry/tool.yaml")))
		}
		put()
		for _, direct := range []bool{true, false} {
			var daemon *exec.Cmd
			if !direct {
				daemon = h.serve(t)
			}
			var took []time.Duration
			begin, done := time.Now(), 0
			storm := func(until func() bool) {
				var stop atomic.Bool
				var mu sync.Mutex
				var runs sync.WaitGroup
				for i := range callers {
					runs.Go(func() {
						own := *h
						own.runs = 1_000_000 * (i + 1) // result files of its own
						last := 0
						for !stop.Load() {
							begin := time.Now()
							r, err := own.try(own.both(direct, call{words: []string{"tool"}}))
							if err != nil {
								t.Error(err)
								return
							}
							os.Remove(own.path("result/" + strconv.Itoa(own.runs)))
							now := 0
							fmt.Sscanf(r.report.Version, "1.%d.0", &now)
							if r.status != stormStatus(now) || now < last || r.report.Outcome != "exit" {
								t.Errorf("direct %v, after 1.%d.0\n%s", direct, last, r)
								return
							}
							last = now
							mu.Lock()
							took = append(took, time.Since(begin))
							mu.Unlock()
						}
					})
				}
				count := func() int { mu.Lock(); defer mu.Unlock(); return len(took) }
				for ; !until() && !t.Failed(); done++ {
					put()
					// The next change when somebody has run meanwhile.
					before := count()
					for end := time.Now().Add(patience()); count() == before && !t.Failed(); time.Sleep(time.Millisecond) {
						if time.Now().After(end) {
							t.Error("nobody runs any more")
						}
					}
				}
				stop.Store(true)
				runs.Wait()
			}
			storm(func() bool { return done >= reloads/2 })
			// At rest: what runs need goes with them, and a reload throws away
			// what is kept ready for the next.
			before := h.atRest(t, daemon, heldBy{})
			storm(func() bool { return done >= reloads && time.Since(begin) >= lasts })
			// A sandbox that is kept ready has some six, and two may not yet be
			// gone; what a run or a reload leaves is more by far.
			most := heldBy{before.descriptors + 12, before.kib + 16<<10}
			after := h.atRest(t, daemon, most)
			slices.Sort(took)
			if len(took) < reloads {
				t.Fatalf("%d runs of %d reloads", len(took), reloads)
			}
			t.Logf("direct %v: %d reloads in %v, %d runs by %d callers, p50 %v, p99 %v; daemon %+v, then %+v", direct, done,
				time.Since(begin).Round(time.Millisecond), len(took), callers, took[len(took)/2], took[len(took)*99/100], before, after)
			if after.descriptors > most.descriptors || after.kib > most.kib {
				t.Errorf("the daemon has grown: %+v, then %+v", before, after)
			}
		}
	})
}

// stormStatus is the exit status of version 1.n.0: none that sbx has itself.
func stormStatus(n int) int { return 1 + n%100 }

// heldBy is what a process has.
type heldBy struct{ descriptors, kib int }

// atRest is what a daemon has when it no longer does anything: its least within
// two seconds; or as soon as it has no more than most, which is waited for.
func (h *host) atRest(t testing.TB, daemon *exec.Cmd, most heldBy) (least heldBy) {
	t.Helper()
	if daemon == nil {
		return least
	}
	h.reload(t)
	limit := slow(2 * time.Second)
	if most != (heldBy{}) {
		limit = patience()
	}
	for watch := testenv.Begin(); ; time.Sleep(20 * time.Millisecond) {
		now := readHeld(daemon.Process.Pid)
		if least.descriptors == 0 || now.descriptors < least.descriptors {
			least = now
		}
		if least.descriptors <= most.descriptors || watch.Over(limit) {
			return least
		}
	}
}

func readHeld(pid int) (h heldBy) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	fds, _ := os.ReadDir(dir + "fd")
	h.descriptors = len(fds)
	text, _ := os.ReadFile(dir + "status")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			h.kib, _ = strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return h
}
