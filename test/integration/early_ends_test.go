package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestEarlyEnds: what happens to a run that was launched early is acted upon as
// ever: by its timeout, its memory, its output, a signal to sbx.
func TestEarlyEnds(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		e := early(t, h, "on_violation: kill\n", setsWhich+"limits: {timeout: 3s, -memory_max: 64M}\n")
		t.Run("timeout", func(t *testing.T) {
			r := e.run(t, e.call("deaf", "1m"))
			if r.status != 124 || r.took > slow(6*time.Second) || !strings.Contains(r.stderr, "timeout") {
				t.Error(r)
			}
		})
		t.Run("memory", func(t *testing.T) {
			if r := e.run(t, e.call("eat", "200", "1m")); r.status != 137 || !strings.Contains(r.stderr, "out of memory") {
				t.Error(r)
			}
		})
		for _, after := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond} {
			t.Run("SIGTERM after "+after.String(), func(t *testing.T) {
				cmd, _ := e.command(context.Background(), e.call("deaf", "1m"))
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				for end := begin.Add(after); time.Now().Before(end); {
					time.Sleep(100 * time.Microsecond)
				}
				cmd.Process.Signal(syscall.SIGTERM)
				if status, took := gone(t, cmd, slow(4*time.Second)); status != 143 {
					t.Errorf("status %d after %v, want 143", status, took)
				}
			})
		}
		t.Run("report", func(t *testing.T) {
			file, err := os.Create(e.path("result/early"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			c := e.call("probe")
			c.flags, c.files = append(c.flags, "--status-fd", "3"), []*os.File{file}
			if !e.launchedEarly(c) {
				t.Error("not launched early")
			}
			rep, err := readReport(file.Name())
			if err != nil {
				t.Fatal(err)
			}
			long := e.call("probe")
			long.plain = false
			want := e.run(t, long).report
			if rep.Outcome != "ok" || rep.Child == 0 || rep.Version != "1.0.0" || rep.Counted != want.Counted || fmt.Sprint(rep.Layers) != fmt.Sprint(want.Layers) {
				t.Errorf("early %+v\nlong  %+v", rep, want)
			}
		})
		nothingLeft(t, time.Second)
	})
}

// TestEarlyCounts: each early run in probation is one record, and a violation in
// probation reverts.
func TestEarlyCounts(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		e := early(t, h, "probation: {runs: 100, window: 24h}\n", "")
		before := e.history(t, "tool").Command.Revisions[0].Runs
		e.prime() // the history took the journal
		const runs = 7
		for range runs {
			if r := e.run(t, e.call("exit", "3")); r.status != 3 {
				t.Fatal(r)
			}
		}
		after := e.history(t, "tool").Command.Revisions[0].Runs
		if want := before + 3 + runs; after != want { // prime makes three
			t.Errorf("%d runs, then %d, want %d", before, after, want)
		}
		e.revision(t, "tool", "2.0.0", "", setsWhich)
		os.RemoveAll(e.path("state/launch"))
		e.prime()
		if r := e.run(t, e.call("forbid")); r.status != 159 {
			t.Fatal(r)
		}
		if e.launchedEarly(e.call("probe")) {
			t.Error("launched from the image of a revision that is out")
		}
		if got := e.history(t, "tool").Command.Revisions; got[0].Version != "1.0.0" {
			t.Errorf("in force: %+v", got)
		}
	})
}

// TestEarlyKilled: sbx killed at any moment of an early run leaves nothing but a
// control group that the next run sweeps.
func TestEarlyKilled(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		e := early(t, h, "", "")
		for i := range rounds(100) {
			cmd, _ := e.command(context.Background(), e.call("deaf", "1m"))
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			kill := time.AfterFunc(time.Duration(i%40)*100*time.Microsecond, func() { cmd.Process.Kill() })
			err := cmd.Wait()
			kill.Stop()
			if exit := (*exec.ExitError)(nil); err == nil || !asExit(err, &exit) {
				t.Fatalf("round %d: %v", i, err)
			}
			if nothingLeft(t, time.Second); t.Failed() {
				t.Fatalf("in round %d", i)
			}
		}
		if !e.launchedEarly(e.call("probe")) { // sweeps
			t.Error("the image is not used any more")
		}
	})
}

func asExit(err error, to **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError)
	*to = e
	return ok
}
