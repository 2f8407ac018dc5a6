package systemd

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestGroups: every run has a control group below the unit's own, so that the
// service manager bounds, counts and ends it, and the daemon keeps out of them.
func TestGroups(t *testing.T) {
	fresh(t)
	for _, uid := range []uint32{0, ordinary} {
		c := start(t, uid, "act", "sleep", "1m")
		child := c.child(t)
		leaf := groupOf(t, child)
		if !strings.HasPrefix(leaf, unitPath+"/sbx/") {
			t.Errorf("uid %d: the run is in %s, want it below %s/sbx", uid, leaf, unitPath)
		}
		if g := groupOf(t, mainPID(t)); !strings.HasPrefix(g, unitPath+"/") || strings.HasPrefix(leaf, g+"/") {
			t.Errorf("the daemon is in %s, above the run's %s", g, leaf)
		}
		send(t, c.cmd.Process.Pid, unix.SIGTERM)
		c.end(t)
		until(t, 5*time.Second, "the run's group is gone", func() bool { return !exists(leaf) })
		if alive(child) {
			t.Errorf("uid %d: a process of the run is left", uid)
		}
	}
}

// TestLimits: memory, pids and cpu are held by the kernel, each with its outcome,
// and the daemon outlives them.
func TestLimits(t *testing.T) {
	fresh(t)
	sbx(t, ordinary, "hello").want(t, 0, "ok")
	daemon := mainPID(t)
	for _, uid := range []uint32{0, ordinary} {
		r := sbx(t, uid, "hungry", "eat", "300")
		r.want(t, 137, "oom")
		held(t, r, "cgroup.memory")
		if peak := r.report.Usage.MemPeak; peak < 32<<20 || peak > 65<<20 {
			t.Errorf("peak of %d MiB, want about 64", peak>>20)
		}
		sbx(t, uid, "hungry", "eat", "16").want(t, 0, "ok")

		r = sbx(t, uid, "few", "children", "100")
		r.want(t, r.status, "pids")
		held(t, r, "cgroup.pids")
		if peak := r.report.Usage.Pids; peak < 20 || peak > 42 || r.status == 0 { // with init and its watcher
			t.Errorf("peak of %d processes, want at most 42\n%s", peak, r)
		}
		sbx(t, uid, "few", "children", "2").want(t, 0, "ok")

		r = sbx(t, uid, "share", "spin", "3s")
		r.want(t, 0, "ok")
		held(t, r, "cgroup.cpu")
		used := r.report.Usage.CPUUser + r.report.Usage.CPUSys
		if share := used / r.report.Usage.Wall; share > 0.35 || used <= 0.1 {
			t.Errorf("used %.2f s of %.2f s, want about 20 %%", used, r.report.Usage.Wall)
		}
	}
	if now := mainPID(t); now != daemon || show(t, "NRestarts") != "0" {
		t.Errorf("the daemon was %d and is %d", daemon, now)
	}
	// The warm pool keeps groups for the next calls; the unit's end takes all.
	ctl(t, "stop", service)
	until(t, 5*time.Second, "the unit's control group is gone", func() bool { return !exists(unitPath) })
}

// TestMetrics: the statistics of all runs are those of the place of their groups.
func TestMetrics(t *testing.T) {
	fresh(t)
	c := start(t, ordinary, "act", "sleep", "1m")
	c.child(t)
	if n := metric(t, "sbx_cgroup_pids"); n < 2 { // init and the workload
		t.Errorf("sbx_cgroup_pids is %v while a run goes on", n)
	}
	send(t, c.cmd.Process.Pid, unix.SIGTERM)
	c.end(t)
}

func held(t *testing.T, r result, layer string) {
	t.Helper()
	if got := r.report.layer(layer); got != "applied" {
		t.Errorf("%s is %s, want applied\n%s", layer, got, r)
	}
}
