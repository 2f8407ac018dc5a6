// Package metrics counts what the daemon does and shows it in Prometheus's
// format. [New] makes the counters; they are an Observer of the daemon and an
// HTTP handler. Which groups of them are shown is switched by [Metrics.Select]
// while everything runs; what is not shown is counted all the same.
//
// No label holds what a caller chose freely: names of commands come from loaded
// plans and are bounded in number, everything else is one of a fixed list.
package metrics

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sbx-project/sbx/internal/daemon"
	"github.com/sbx-project/sbx/runner"
)

// Bounds of what is shown.
const (
	// maxCommands is how many commands have labels of their own; further ones
	// share Other. Each has at most 13 outcomes: 6,500 series, a twentieth of
	// what one Prometheus takes easily.
	maxCommands = 500
	// Other stands for what is beyond a bound or not in a list.
	Other = "(other)"
	// maxScrapes bounds answers that are made at once.
	maxScrapes = 4
)

// The collectors, by the names that the configuration uses.
const (
	Runs     = "runs"     // runs, outcomes, violations, refusals, histograms, in flight
	Registry = "registry" // generation, reloads, revisions by state
	Pool     = "pool"     // the warm pool
	Audit    = "audit"    // the audit log
	Cgroup   = "cgroup"   // statistics and events of all sandboxes together
	Go       = "go"       // the daemon's Go runtime
	Process  = "process"  // the daemon's process
)

// All lists the collectors. It is the default.
func All() []string { return []string{Runs, Registry, Pool, Audit, Cgroup, Go, Process} }

// Source is asked at each scrape. Nil functions leave their metrics out.
type Source struct {
	InFlight   func() int
	Generation func() uint64
	// Revisions counts the revisions of all commands by state.
	Revisions func() map[string]int
	// Pool is the warm pool.
	Pool func() daemon.PoolStats
	// AuditLines is the newest line's number; AuditErr is not nil when
	// nothing can be written.
	AuditLines func() uint64
	AuditErr   func() error
	// Cgroup is the directory that holds the leaves of all runs; empty where
	// there is none.
	Cgroup string
	// Version and Build are this program's.
	Version, Build string
}

// Metrics are all counters. Safe for concurrent use.
type Metrics struct {
	groups  map[string][]prometheus.Collector
	current atomic.Pointer[prometheus.Registry]

	runs       *prometheus.CounterVec
	violations *prometheus.CounterVec
	refusals   *prometheus.CounterVec
	reloads    *prometheus.CounterVec
	run        prometheus.Histogram
	launch     prometheus.Histogram
	reloadOK   prometheus.Gauge
	reloadTime prometheus.Gauge

	mu       sync.Mutex
	commands map[string]bool // those with labels of their own
}

// outcomes are the words of SPEC 2.
var outcomes = []runner.Outcome{
	runner.OK, runner.Exit, runner.Signal, runner.Violation, runner.OOM, runner.Pids, runner.Timeout, runner.OutputLimit,
	runner.EgressDenied, runner.DeviceDenied, runner.Refused, runner.SetupError, runner.Canceled,
}

// violationKinds are the kinds of violations that there are.
var violationKinds = []string{"syscall", "bpf"}

// refusalStatuses are the statuses that a refused caller is told.
var refusalStatuses = []int{runner.StatusSetup, runner.StatusRefused, runner.StatusNotFound}

// New makes the counters, all collectors shown.
func New(src Source) *Metrics {
	m := &Metrics{commands: map[string]bool{}}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "sbx", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "sbx", Name: name, Help: help})
	}
	m.runs = counter("runs_total", "Ended runs by command and outcome.", "command", "outcome")
	m.violations = counter("violations_total", "Refused calls that ended a run, by kind.", "kind")
	m.refusals = counter("refusals_total", "Requests that became no run, by the exit status that the caller was told.", "status")
	m.reloads = counter("reloads_total", "Reloads by result: loaded, rejected (a candidate was not taken), error (nothing was loaded).", "result")
	// A launch takes 1 to 3 ms; 100 ms is a host in trouble.
	m.launch = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "sbx", Name: "launch_duration_seconds", Help: "Time from the request to the workload's start.",
		Buckets: []float64{.00025, .0005, .001, .002, .003, .005, .01, .025, .05, .1, .25, 1, 5},
	})
	m.run = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "sbx", Name: "run_duration_seconds", Help: "Time from the request to the end of the run.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800},
	})
	m.reloadOK = gauge("reload_last_successful", "1 when the last reload loaded everything that it found, else 0.")
	m.reloadTime = gauge("reload_last_success_timestamp_seconds", "When a reload last loaded everything, in seconds since 1970; 0 before the first.")
	// Known values are there from the start: a rate over a counter that
	// appears with its first event misses that event.
	for _, k := range append(violationKinds, Other) {
		m.violations.WithLabelValues(k)
	}
	for _, s := range refusalStatuses {
		m.refusals.WithLabelValues(strconv.Itoa(s))
	}
	for _, r := range []string{"loaded", "rejected", "error"} {
		m.reloads.WithLabelValues(r)
	}
	m.groups = map[string][]prometheus.Collector{
		Runs:     append([]prometheus.Collector{m.runs, m.violations, m.refusals, m.launch, m.run}, inFlight(src)...),
		Registry: append([]prometheus.Collector{m.reloads, m.reloadOK, m.reloadTime}, registryOf(src)...),
		Pool:     poolOf(src),
		Audit:    auditOf(src),
		Cgroup:   cgroupOf(src),
		Go:       {collectors.NewGoCollector()},
		Process:  {collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})},
	}
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "sbx", Name: "build_info", Help: "Always 1; version and build of the daemon as labels.",
		ConstLabels: prometheus.Labels{"version": src.Version, "build": src.Build},
	}, func() float64 { return 1 })
	m.groups[""] = []prometheus.Collector{info}
	if err := m.Select(All()); err != nil {
		panic("bug: " + err.Error())
	}
	return m
}

// Check accepts a list of collectors for Select.
func Check(names []string) error {
	for i, n := range names {
		if !slices.Contains(All(), n) {
			return fmt.Errorf("unknown collector %q: want some of %s", n, strings.Join(All(), ", "))
		}
		if slices.Contains(names[:i], n) {
			return fmt.Errorf("collector %q twice", n)
		}
	}
	return nil
}

// Select shows these collectors and no other from the next scrape on. After an
// error what was shown before is shown still.
func (m *Metrics) Select(names []string) error {
	if err := Check(names); err != nil {
		return err
	}
	r := prometheus.NewPedanticRegistry()
	for _, n := range append([]string{""}, names...) {
		for _, c := range m.groups[n] {
			if err := r.Register(c); err != nil {
				return fmt.Errorf("collector %q: %w", n, err)
			}
		}
	}
	m.current.Store(r)
	return nil
}

// ServeHTTP answers a scrape.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.handler().ServeHTTP(w, r) }

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.current.Load(), promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: 10 * time.Second, DisableCompression: true})
}

// RunStarted counts nothing: a run counts when it has ended.
func (m *Metrics) RunStarted(daemon.RunInfo) error { return nil }

// RunLaunched counts how long it took until the workload ran.
func (m *Metrics) RunLaunched(_ daemon.RunInfo, took time.Duration) { m.launch.Observe(took.Seconds()) }

// RunEnded counts a run.
func (m *Metrics) RunEnded(i daemon.RunInfo, r *runner.Report) {
	outcome := Other
	if slices.Contains(outcomes, r.Outcome) {
		outcome = string(r.Outcome)
	}
	m.runs.WithLabelValues(m.command(i.Command), outcome).Inc()
	for _, v := range r.Violations {
		kind := Other
		if slices.Contains(violationKinds, v.Kind) {
			kind = v.Kind
		}
		m.violations.WithLabelValues(kind).Inc()
	}
	m.run.Observe(time.Since(i.Start).Seconds())
}

// command is the label of a name.
func (m *Metrics) command(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.commands[name] {
		if len(m.commands) >= maxCommands {
			return Other
		}
		m.commands[name] = true
	}
	return name
}

// Refused counts a refusal.
func (m *Metrics) Refused(r daemon.Refusal) {
	status := Other
	if slices.Contains(refusalStatuses, r.Status) {
		status = strconv.Itoa(r.Status)
	}
	m.refusals.WithLabelValues(status).Inc()
}

// Reloaded counts a reload.
func (m *Metrics) Reloaded(r daemon.Reload) {
	switch {
	case r.Err != nil:
		m.reloads.WithLabelValues("error").Inc()
		m.reloadOK.Set(0)
	case len(r.Rejected) > 0:
		m.reloads.WithLabelValues("rejected").Inc()
		m.reloadOK.Set(0)
	default:
		m.reloads.WithLabelValues("loaded").Inc()
		m.reloadOK.Set(1)
		m.reloadTime.Set(float64(r.Time.UnixNano()) / 1e9)
	}
}
