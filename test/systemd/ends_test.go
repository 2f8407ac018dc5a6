package systemd

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWatchdog: a daemon that does nothing any more is started anew, its runs
// are gone, and the next call is answered.
func TestWatchdog(t *testing.T) {
	fresh(t)
	const watchdog = 10 * time.Second // an emulated processor may be held up for as long as a shorter one
	dropping(t, "[Service]\nWatchdogSec="+watchdog.String()+"\n")
	c := start(t, ordinary, "act", "sleep", "5m")
	child, daemon := c.child(t), mainPID(t)
	leaf := groupOf(t, child)
	began := time.Now()
	send(t, daemon, unix.SIGSTOP)
	until(t, watchdog+callLimit, "another daemon", func() bool {
		pid := show(t, "MainPID")
		return pid != "0" && state(service) == "active" && mainPID(t) != daemon
	})
	// Its last word may have been said half an interval before.
	t.Logf("another daemon after %v", time.Since(began))
	if took := time.Since(began); took < watchdog/2 {
		t.Errorf("another daemon after %v: not by the watchdog of %v", took, watchdog)
	}
	if n := show(t, "NRestarts"); n != "1" {
		t.Errorf("%s restarts, want 1", n)
	}
	gone(t, c, child, daemon, leaf)
	sbx(t, ordinary, "hello").want(t, 0, "ok")
}

// TestWatchdogIsTold: a daemon that is well says so again and again, and is left
// alone for it. (The interval is one that no processor is held up for.)
func TestWatchdogIsTold(t *testing.T) {
	fresh(t)
	dropping(t, "[Service]\nWatchdogSec=30s\n")
	c := start(t, ordinary, "act", "wait")
	c.child(t)
	last := show(t, "WatchdogTimestampMonotonic")
	for range 2 {
		until(t, callLimit, "the manager is told", func() bool { return show(t, "WatchdogTimestampMonotonic") != last })
		last = show(t, "WatchdogTimestampMonotonic")
	}
	c.stdin.Close()
	c.end(t).want(t, 0, "ok")
	if n := show(t, "NRestarts"); n != "0" {
		t.Errorf("%s restarts, want none", n)
	}
}

// TestKilled: a killed daemon is started anew and takes its runs with it.
func TestKilled(t *testing.T) {
	fresh(t)
	c := start(t, ordinary, "act", "sleep", "5m")
	child, daemon := c.child(t), mainPID(t)
	leaf := groupOf(t, child)
	send(t, daemon, unix.SIGKILL)
	gone(t, c, child, daemon, leaf)
	until(t, callLimit, "another daemon", func() bool { return state(service) == "active" && mainPID(t) != daemon })
	sbx(t, ordinary, "hello").want(t, 0, "ok")
}

// gone holds a run to its end with the daemon's.
func gone(t *testing.T, c *call, child, daemon int, leaf string) {
	t.Helper()
	if r := c.end(t); r.status == 0 || r.report.Outcome == "ok" {
		t.Errorf("the run of a daemon that is gone ended well\n%s", r)
	}
	until(t, 5*time.Second, "nothing of the daemon and its run is left", func() bool { return !alive(child) && !alive(daemon) && !exists(leaf) })
}

// TestReload: systemctl reload has the daemon look again, which changes nothing
// of what is going on.
func TestReload(t *testing.T) {
	fresh(t)
	c := start(t, ordinary, "act", "sleep", "5m")
	child, daemon := c.child(t), mainPID(t)
	before := metric(t, "sbx_reloads_total")
	ctl(t, "reload", service)
	until(t, callLimit, "a reload", func() bool { return metric(t, "sbx_reloads_total") > before })
	until(t, callLimit, "the unit is active", func() bool { return state(service) == "active" })
	if now := mainPID(t); now != daemon || !alive(child) {
		t.Errorf("the daemon was %d and is %d; its run goes on: %v", daemon, now, alive(child))
	}
	if text := show(t, "StatusText"); !strings.HasPrefix(text, "serving ") {
		t.Errorf("status %q", text)
	}
	send(t, c.cmd.Process.Pid, unix.SIGTERM)
	c.end(t)
}

// TestStopDrains: systemctl stop lets a run end by itself, and is done then.
func TestStopDrains(t *testing.T) {
	fresh(t)
	c := start(t, ordinary, "act", "wait")
	c.child(t)
	ctl(t, "stop", "--no-block", service)
	until(t, callLimit, "the daemon drains", func() bool { return show(t, "StatusText") == "waiting for runs" })
	wantState(t, service, "deactivating")
	c.stdin.Close()
	c.end(t).want(t, 0, "ok")
	until(t, callLimit, "the unit has ended", func() bool { return state(service) != "deactivating" })
	wantState(t, service, "inactive")
	wantState(t, socket, "active")
	if r := show(t, "Result"); r != "success" {
		t.Errorf("result %q", r)
	}
	if !exists("/run/sbx/sbx.sock") {
		t.Error("the unit's socket is gone")
	}
}

// TestCallWhileStopping: who calls while the daemon drains waits for the next one,
// which his call starts.
func TestCallWhileStopping(t *testing.T) {
	fresh(t)
	c := start(t, ordinary, "act", "wait")
	c.child(t)
	daemon := mainPID(t)
	ctl(t, "stop", "--no-block", service)
	until(t, callLimit, "the daemon drains", func() bool { return show(t, "StatusText") == "waiting for runs" })
	late := start(t, ordinary, "hello")
	c.stdin.Close()
	c.end(t).want(t, 0, "ok")
	late.end(t).want(t, 0, "ok")
	if now := mainPID(t); now == daemon {
		t.Errorf("the daemon that was told to stop, %d, is there still", now)
	}
}
