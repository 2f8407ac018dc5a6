package metrics

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/sbx-project/sbx/internal/daemon"
	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/runner"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func full(group string) Source {
	return Source{
		InFlight: func() int { return 3 }, Generation: func() uint64 { return 7 }, Revisions: func() map[string]int { return map[string]int{"active": 2, "held": 1} },
		Pool: func() daemon.PoolStats { return daemon.PoolStats{Ready: 4, Taken: 5} }, AuditLines: func() uint64 { return 9 }, AuditErr: func() error { return nil },
		Cgroup: group, Version: "0.3.0", Build: "b",
	}
}

// group is a directory like a control group.
func group(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sbx")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"cpu.stat":        "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
		"cpu.pressure":    "some avg10=0.00 avg60=0.00 avg300=0.00 total=500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"memory.current":  "4096\n",
		"memory.max":      "max\n",
		"memory.stat":     "anon 4096\n",
		"memory.events":   "low 0\nhigh 0\nmax 4\noom 1\noom_kill 2\noom_group_kill 1\n",
		"memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=250000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"pids.current":    "6\n",
		"pids.max":        "max\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func ended(m *Metrics, command string, r *runner.Report) {
	m.RunEnded(daemon.RunInfo{Command: command, Start: time.Now().Add(-3 * time.Millisecond)}, r)
}

func TestMetrics(t *testing.T) {
	m := New(full(group(t)))
	ended(m, "jq", &runner.Report{Outcome: runner.OK})
	ended(m, "jq", &runner.Report{Outcome: runner.Violation, Violations: []runner.Call{{Kind: "syscall"}, {Kind: "$(new)"}}})
	ended(m, "jq", &runner.Report{Outcome: "another"})
	m.RunLaunched(daemon.RunInfo{}, 1500*time.Microsecond)
	m.Refused(daemon.Refusal{Status: 126})
	m.Refused(daemon.Refusal{Status: 3})
	m.Reloaded(daemon.Reload{Time: time.Unix(1700000000, 0)})
	m.Reloaded(daemon.Reload{Time: time.Unix(1700000001, 0), Rejected: map[string]string{"x": "y"}})
	m.Reloaded(daemon.Reload{Err: errors.New("no"), Time: time.Unix(1700000002, 0)})
	text := scrape(t, m)
	for _, want := range []string{
		`sbx_build_info{build="b",version="0.3.0"} 1`,
		`sbx_runs_total{command="jq",outcome="ok"} 1`, `sbx_runs_total{command="jq",outcome="violation"} 1`, `sbx_runs_total{command="jq",outcome="(other)"} 1`,
		`sbx_violations_total{kind="syscall"} 1`, `sbx_violations_total{kind="(other)"} 1`, `sbx_refusals_total{status="126"} 1`, `sbx_refusals_total{status="(other)"} 1`,
		`sbx_refusals_total{status="127"} 0`, `sbx_runs_in_flight 3`, `sbx_run_duration_seconds_bucket{le="0.0025"} 0`, `sbx_run_duration_seconds_count 3`,
		`sbx_launch_duration_seconds_bucket{le="0.002"} 1`, `sbx_reload_last_successful 0`, `sbx_reload_last_success_timestamp_seconds 1.7e+09`,
		`sbx_reloads_total{result="loaded"} 1`, `sbx_reloads_total{result="rejected"} 1`, `sbx_reloads_total{result="error"} 1`,
		`sbx_generation 7`, `sbx_revisions{state="active"} 2`, `sbx_revisions{state="quarantined"} 0`, `sbx_pool_ready 4`, `sbx_pool_taken_total 5`,
		`sbx_audit_lines_total 9`, `sbx_audit_writable 1`, `sbx_cgroup_cpu_seconds_total{mode="user"} 2`, `sbx_cgroup_memory_bytes 4096`, `sbx_cgroup_pids 6`,
		`sbx_cgroup_memory_events_total{event="oom_kill"} 2`, `sbx_cgroup_pressure_seconds_total{resource="memory"} 0.25`, `sbx_cgroup_pressure_seconds_total{resource="cpu"} 0.5`,
		`go_goroutines `, `process_open_fds `,
	} {
		if !strings.Contains(text, "\n"+want) && !strings.HasPrefix(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestLint(t *testing.T) {
	m := New(full(group(t)))
	ended(m, "jq", &runner.Report{})
	problems, err := promlint.New(strings.NewReader(scrape(t, m))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestBounds: no caller makes more series than there may be.
func TestBounds(t *testing.T) {
	m := New(Source{})
	for i := range maxCommands + 50 {
		ended(m, fmt.Sprint("c", i), &runner.Report{Outcome: runner.OK})
	}
	ended(m, "c0", &runner.Report{Outcome: runner.OK})
	text := scrape(t, m)
	if n := strings.Count(text, "\nsbx_runs_total{"); n != maxCommands+1 {
		t.Errorf("%d series, want %d", n, maxCommands+1)
	}
	for _, want := range []string{`sbx_runs_total{command="(other)",outcome="ok"} 50`, `sbx_runs_total{command="c0",outcome="ok"} 2`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}

// TestSelect: switched while it runs, and a bad list changes nothing.
func TestSelect(t *testing.T) {
	m := New(full(group(t)))
	marks := map[string]string{Runs: "sbx_runs_in_flight", Registry: "sbx_generation", Pool: "sbx_pool_ready", Audit: "sbx_audit_writable", Cgroup: "sbx_cgroup_pids", Go: "go_goroutines", Process: "process_open_fds"}
	for _, list := range [][]string{{Runs}, {}, {Go, Process, Cgroup}, All()} {
		if err := m.Select(list); err != nil {
			t.Fatal(err)
		}
		text := scrape(t, m)
		for name, mark := range marks {
			if got, want := strings.Contains(text, "\n"+mark), slices.Contains(list, name); got != want {
				t.Errorf("%v: %s shown: %v", list, name, got)
			}
		}
		if !strings.Contains(text, "sbx_build_info") {
			t.Errorf("%v: no build_info", list)
		}
	}
	if err := m.Select([]string{Runs}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]string{{"rnus"}, {Go, Go}, {""}} {
		if err := m.Select(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if text := scrape(t, m); !strings.Contains(text, "sbx_runs_in_flight") || strings.Contains(text, "go_goroutines") {
		t.Error("a bad list changed what is shown")
	}
	// Counted while not shown, and switched while scraped.
	if err := m.Select([]string{Go}); err != nil {
		t.Fatal(err)
	}
	ended(m, "jq", &runner.Report{Outcome: runner.OK})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				scrape(t, m)
				m.RunLaunched(daemon.RunInfo{}, time.Millisecond)
			}
		})
	}
	for i := range 20 {
		if err := m.Select(All()[:1+i%len(All())]); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if err := m.Select(All()); err != nil {
		t.Fatal(err)
	}
	if text := scrape(t, m); !strings.Contains(text, `sbx_runs_total{command="jq",outcome="ok"} 1`) || !strings.Contains(text, "sbx_launch_duration_seconds_count 80") {
		t.Errorf("what was not shown was not counted: %s", text)
	}
}

// TestNoControllers: what a hierarchy cannot tell is absent, never zero.
func TestNoControllers(t *testing.T) {
	dir := group(t)
	for _, f := range []string{"memory.current", "memory.events", "memory.stat", "memory.max", "pids.current", "pids.max"} {
		if err := os.Remove(filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	text := scrape(t, New(full(dir)))
	if strings.Contains(text, "sbx_cgroup_memory") || strings.Contains(text, "sbx_cgroup_pids") || !strings.Contains(text, "sbx_cgroup_cpu") {
		t.Error(text)
	}
	if text := scrape(t, New(full("/nonexistent/sbx"))); strings.Contains(text, "sbx_cgroup") {
		t.Error("statistics of a group that is not there")
	}
}
