package metrics

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/prometheus/client_golang/prometheus"
)

// asked makes collectors of functions that are called at each scrape.
type asked struct{ list []prometheus.Collector }

func (a *asked) gauge(name, help string, f func() float64) {
	a.list = append(a.list, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "sbx", Name: name, Help: help}, f))
}

func (a *asked) counter(name, help string, f func() float64) {
	a.list = append(a.list, prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "sbx", Name: name, Help: help}, f))
}

func inFlight(src Source) []prometheus.Collector {
	var a asked
	if src.InFlight != nil {
		a.gauge("runs_in_flight", "Runs that are going.", func() float64 { return float64(src.InFlight()) })
	}
	return a.list
}

func registryOf(src Source) []prometheus.Collector {
	var a asked
	if src.Generation != nil {
		a.gauge("generation", "Generation of the registry that is in force.", func() float64 { return float64(src.Generation()) })
	}
	if src.Revisions != nil {
		a.list = append(a.list, &revisions{
			desc: prometheus.NewDesc("sbx_revisions", "Revisions of all commands by state.", []string{"state"}, nil), count: src.Revisions,
		})
	}
	return a.list
}

// revisionStates are the states of SPEC 3.
var revisionStates = []string{"candidate", "probation", "active", "rejected", "quarantined", "held", "retired"}

// revisions counts by state.
type revisions struct {
	desc  *prometheus.Desc
	count func() map[string]int
}

func (c *revisions) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c *revisions) Collect(ch chan<- prometheus.Metric) {
	other := 0
	counts := c.count()
	for s, n := range counts {
		if !slices.Contains(revisionStates, s) {
			other += n
		}
	}
	for _, s := range revisionStates {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(counts[s]), s)
	}
	if other > 0 {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(other), Other)
	}
}

func poolOf(src Source) []prometheus.Collector {
	if src.Pool == nil {
		return nil
	}
	var a asked
	a.gauge("pool_ready", "Sandboxes that wait for a run.", func() float64 { return float64(src.Pool().Ready) })
	a.gauge("pool_most", "How many sandboxes may wait.", func() float64 { return float64(src.Pool().Most) })
	a.counter("pool_taken_total", "Runs that found a sandbox waiting.", func() float64 { return float64(src.Pool().Taken) })
	a.counter("pool_missed_total", "Runs that found none.", func() float64 { return float64(src.Pool().Missed) })
	a.counter("pool_retired_total", "Sandboxes that were thrown away unused.", func() float64 { return float64(src.Pool().Retired) })
	return a.list
}

func auditOf(src Source) []prometheus.Collector {
	var a asked
	if src.AuditLines != nil {
		a.counter("audit_lines_total", "Lines of the audit log, those of earlier daemons included.", func() float64 { return float64(src.AuditLines()) })
	}
	if src.AuditErr != nil {
		a.gauge("audit_writable", "1 when the audit log can be written; else no run starts.", func() float64 {
			if src.AuditErr() != nil {
				return 0
			}
			return 1
		})
	}
	return a.list
}

func cgroupOf(src Source) []prometheus.Collector {
	if src.Cgroup == "" {
		return nil
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("sbx_cgroup_"+name, help, labels, nil)
	}
	return []prometheus.Collector{&cgroup{
		path:   src.Cgroup,
		cpu:    desc("cpu_seconds_total", "CPU time of all sandboxes together.", "mode"),
		memory: desc("memory_bytes", "Memory of all sandboxes together."),
		pids:   desc("pids", "Processes and threads of all sandboxes together."),
		events: desc("memory_events_total", "Memory events of all sandboxes together (memory.events, cgroup-v2.rst).", "event"),
		stall:  desc("pressure_seconds_total", "Time in which some thread of a sandbox waited for a resource (PSI, psi.rst).", "resource"),
	}}
}

// cgroup reads the group that holds the leaves of all runs: the kernel adds
// up what is below it, and goes on counting what has ended.
//
// containerd/cgroups reads; what it gets wrong is not used: groups are made and
// killed by internal/cgroup, and its event channel stops for good when a group
// becomes empty, which this one often is.
type cgroup struct {
	path                             string
	cpu, memory, pids, events, stall *prometheus.Desc
}

func (c *cgroup) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.cpu, c.memory, c.pids, c.events, c.stall} {
		ch <- d
	}
}

// Collect leaves out what the hierarchy has no controller for. Stat answers
// zeros in its place, so the files are looked for.
func (c *cgroup) Collect(ch chan<- prometheus.Metric) {
	// Load joins two paths and looks at neither: the mount point may be
	// anything above the group.
	m, err := cgroup2.Load("/"+filepath.Base(c.path), cgroup2.WithMountpoint(filepath.Dir(c.path)))
	if err != nil {
		return
	}
	has := func(file string) bool {
		_, err := os.Stat(filepath.Join(c.path, file))
		return err == nil
	}
	number := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	if has("cpu.stat") {
		if s, err := m.StatFiltered(cgroup2.StatCPU); err == nil {
			number(c.cpu, prometheus.CounterValue, float64(s.GetCPU().GetUserUsec())/1e6, "user")
			number(c.cpu, prometheus.CounterValue, float64(s.GetCPU().GetSystemUsec())/1e6, "system")
			if p := s.GetCPU().GetPSI().GetSome(); p != nil {
				number(c.stall, prometheus.CounterValue, float64(p.GetTotal())/1e6, "cpu")
			}
		}
	}
	if has("memory.current") {
		if s, err := m.StatFiltered(cgroup2.StatMemory | cgroup2.StatMemoryEvents); err == nil {
			number(c.memory, prometheus.GaugeValue, float64(s.GetMemory().GetUsage()))
			e := s.GetMemoryEvents()
			for name, n := range map[string]uint64{"low": e.GetLow(), "high": e.GetHigh(), "max": e.GetMax(), "oom": e.GetOom(), "oom_kill": e.GetOomKill()} {
				number(c.events, prometheus.CounterValue, float64(n), name)
			}
			if p := s.GetMemory().GetPSI().GetSome(); p != nil {
				number(c.stall, prometheus.CounterValue, float64(p.GetTotal())/1e6, "memory")
			}
		}
	}
	if has("pids.current") {
		if s, err := m.StatFiltered(cgroup2.StatPids); err == nil {
			number(c.pids, prometheus.GaugeValue, float64(s.GetPids().GetCurrent()))
		}
	}
	if has("io.pressure") {
		if s, err := m.StatFiltered(cgroup2.StatIO); err == nil {
			if p := s.GetIo().GetPSI().GetSome(); p != nil {
				number(c.stall, prometheus.CounterValue, float64(p.GetTotal())/1e6, "io")
			}
		}
	}
}
