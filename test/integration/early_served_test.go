package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestEarlyServed: without a report a client asks the daemon before Go's runtime
// starts, and what the workload gets and how the call ends is the same as with
// one, which takes the long way.
func TestEarlyServed(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.revision(t, "tool", "1.0.0", "on_violation: kill\n", "env: {pass: [LANG, \"GIVEN_*\"]}\nlimits: {timeout: 20s}\n")
		h.serve(t)
		many := make([]string, 5000)
		for i := range many {
			many[i] = fmt.Sprint("argument ", i)
		}
		big := make([]string, 10)
		for i := range big {
			big[i] = strings.Repeat(string(rune('a'+i)), 120_000)
		}
		for _, tt := range []struct {
			name  string
			words []string
			stdin string
		}{
			{"ok", []string{"exit", "0"}, ""},
			{"status", []string{"exit", "200"}, ""},
			{"signal", []string{"die", "TERM"}, ""},
			{"odd arguments", append([]string{"args"}, "", "\n", "-q", "--", "\xff\xfe"), ""},
			{"many arguments", append([]string{"args"}, many...), ""},
			{"large arguments", append([]string{"args"}, big...), ""},
			{"stdin", []string{"echo"}, "binary \x00\xff\n" + strings.Repeat("x", 300_000)},
			{"violation", []string{"forbid"}, ""},
			{"longer than the patience", []string{"sleep", "60ms"}, ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				run := func(plain bool) result {
					return h.run(t, call{
						verb: "run", plain: plain, flags: []string{"--registry", h.path("registry")}, words: append([]string{"tool"}, tt.words...),
						stdin: strings.NewReader(tt.stdin), env: []string{"LANG=C", "GIVEN_A=1", "GIVEN_A=2", "OTHER=no", "NOVALUE"},
					})
				}
				for range 2 { // a whole launch, and a sandbox that waited
					a, b := run(true), run(false)
					if a.status != b.status || a.stdout != b.stdout || withoutNumbers(a.stderr) != withoutNumbers(b.stderr) {
						t.Errorf("early: %s\nlong: %s", a, b)
					}
					if b.report == nil || b.report.Via != "daemon" {
						t.Errorf("the daemon has nothing to do with it: %s", b)
					}
				}
			})
		}
		t.Run("environment", func(t *testing.T) {
			r := h.run(t, call{verb: "run", plain: true, flags: []string{"--registry", h.path("registry")}, words: []string{"tool", "probe"}, env: []string{"LANG=C", "GIVEN_A=1"}})
			var s surroundings
			if err := json.Unmarshal([]byte(r.stdout), &s); err != nil || !strings.Contains(fmt.Sprint(s.Env), "GIVEN_A=1") || strings.Contains(fmt.Sprint(s.Env), "HOME="+h.path("home")) {
				t.Errorf("%v\n%s", err, r)
			}
		})
		nothingElse(t, h)
	})
}

// nothingElse: of the runs nothing is left but what waits in the pool.
func nothingElse(t *testing.T, h *host) {
	t.Helper()
	const waiting = 4 + 2 // sandboxes of one key, the daemon and its loader
	for end := time.Now().Add(patience()); ; time.Sleep(10 * time.Millisecond) {
		left := len(survivors())
		if left <= waiting {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%d processes are left", left)
			return
		}
	}
}

// TestWaitingIsSmall: the init of a sandbox that waits is no copy of the daemon.
func TestWaitingIsSmall(t *testing.T) {
	testenv.Root(t) // nobody else may look at an init
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.revision(t, "tool", "1.0.0", "", "")
		daemon := h.serve(t)
		const most = 256 << 10 // SPEC 7
		for end := time.Now().Add(patience()); ; time.Sleep(10 * time.Millisecond) {
			h.run(t, call{verb: "run", plain: true, flags: []string{"--registry", h.path("registry")}, words: []string{"tool", "exit", "0"}})
			sizes := initSizes(daemon.Process.Pid)
			if len(sizes) > 1 && slices.Max(sizes) <= most {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("waiting inits of %d bytes, want some of at most %d", sizes, most)
			}
		}
	})
}

// TestRunningIsSmall: nor is that of a run for which none waited.
func TestRunningIsSmall(t *testing.T) {
	testenv.Root(t)
	each(t, func(t *testing.T, h *host) {
		h.revision(t, "tool", "1.0.0", "", "")
		daemon := h.serve(t)
		const runs, most = 10, 256 << 10 // SPEC 7
		for range runs {
			h.started(t, call{verb: "run", plain: true, flags: []string{"--registry", h.path("registry")}, words: []string{"tool", "sleep", "1m"}})
		}
		if sizes := initSizes(daemon.Process.Pid); len(sizes) < runs || slices.Max(sizes) > most {
			t.Errorf("inits of %d bytes, want %d of at most %d", sizes, runs, most)
		}
	})
}

// initSizes are the proportional sizes, in bytes, of a daemon's inits.
func initSizes(daemon int) (sizes []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", daemon))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, pid := range strings.Fields(string(text)) {
			comm, _ := os.ReadFile("/proc/" + pid + "/comm")
			rollup, _ := os.ReadFile("/proc/" + pid + "/smaps_rollup")
			for line := range strings.Lines(string(rollup)) {
				if f := strings.Fields(line); strings.TrimSpace(string(comm)) == "sbx-init" && len(f) > 1 && f[0] == "Pss:" {
					kib, _ := strconv.Atoi(f[1])
					sizes = append(sizes, kib<<10)
				}
			}
		}
	}
	return sizes
}
