package integration

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestThousandRuns: many runs of every kind leave nothing: processes, control
// groups, mounts, files, network namespaces.
func TestThousandRuns(t *testing.T) {
	rounds := rounds(200)
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.revision(t, "tool", "1.0.0", "on_violation: kill\nprobation: {runs: 1, window: 1h}\n", "")
		kinds := []struct {
			args   []string
			status int
		}{
			{[]string{"exit", "0"}, 0}, {[]string{"exit", "0"}, 0}, {[]string{"exit", "7"}, 7},
			{[]string{"forbid"}, 159}, {[]string{"die", "TERM"}, 143}, {[]string{"write", "/tmp/file", "text"}, 0},
		}
		one := func(i int) {
			kind := kinds[i%len(kinds)]
			r := h.run(t, call{verb: "run", plain: true, flags: []string{"--registry", h.path("registry")}, words: append([]string{"tool"}, kind.args...)})
			if r.status != kind.status {
				t.Fatalf("run %d: want status %d\n%s", i, kind.status, r)
			}
		}
		for i := range kinds {
			one(i)
		}
		files, namespaces, objects := unjournaled(t, h.base), netNamespaces(), netObjects()
		for i := range rounds {
			one(i)
		}
		if diff := cmp.Diff(files, unjournaled(t, h.base)); diff != "" {
			t.Errorf("files (-before +after):\n%s", diff)
		}
		// The kernel takes namespaces down in a worker; other programs of
		// the host may make theirs meanwhile, so a leak is what grows with
		// the runs.
		var grown, more int
		for end := time.Now().Add(patience()); ; time.Sleep(50 * time.Millisecond) {
			grown, more = len(netNamespaces())-len(namespaces), netObjects()-objects
			if grown < rounds/10 && more < rounds/4 || time.Now().After(end) {
				break
			}
		}
		if grown >= rounds/10 {
			t.Errorf("%d more network namespaces after %d runs", grown, rounds)
		}
		if more >= rounds/4 {
			t.Errorf("the kernel holds %d more network namespaces after %d runs", more, rounds)
		}
		nothingLeft(t, time.Second)
	})
}

// unjournaled is tree without the reports of runs and the journal, which has the violations until a
// loader empties it.
func unjournaled(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := tree(t, dir)
	for name := range files {
		// Of the newest runs that were not ok the reports are kept.
		if strings.Contains(filepath.Base(name), "journal") || strings.Contains(name, "state/reports") {
			delete(files, name)
		}
	}
	return files
}

// netNamespaces are those that some process is in.
func netNamespaces() map[string]bool {
	out := map[string]bool{}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range links {
		if ns, err := os.Readlink(link); err == nil {
			out[ns] = true
		}
	}
	return out
}

// netObjects is how many network namespaces the kernel has, also without a
// process, by slabinfo(5); 0 where it cannot be read.
func netObjects() int {
	text, _ := os.ReadFile("/proc/slabinfo")
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "net_namespace" {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	return 0
}

// TestParallel: twenty at once, cold and warm, do not disturb each other.
func TestParallel(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "tool", bin+"/act", "")
		for _, round := range []string{"cold", "warm"} {
			t.Run(round, func(t *testing.T) {
				var all sync.WaitGroup
				errs := make([]error, 20)
				for i := range errs {
					own := *h // its own counter of result files
					own.base = h.base
					own.runs = 1000 * (i + 1)
					if round == "warm" {
						own.runs += 500
					}
					all.Go(func() {
						r, err := own.try(call{verb: "run", flags: []string{"--registry", h.path("registry")}, words: []string{"tool", "exit", strconv.Itoa(i)}, limit: time.Minute})
						want := "exit"
						if i == 0 {
							want = "ok"
						}
						if err == nil && (r.status != i || r.report == nil || r.report.Outcome != want) {
							err = fmt.Errorf("want status %d\n%s", i, r)
						}
						errs[i] = err
					})
				}
				all.Wait()
				for _, err := range errs {
					if err != nil {
						t.Error(err)
					}
				}
				nothingLeft(t, time.Second)
			})
		}
		// Nothing half written stays in the state.
		for name := range maps.Keys(tree(t, h.path("state"))) {
			if base := filepath.Base(name); strings.Contains(base, "tmp") || strings.HasPrefix(base, ".") && !strings.HasSuffix(base, "lock") {
				t.Errorf("left in the state directory: %s", name)
			}
		}
	})
}
