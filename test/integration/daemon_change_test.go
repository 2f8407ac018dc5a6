package integration

import (
	"fmt"
	"testing"
	"time"
)

// TestDaemonKilledWhileChanging: the daemon is killed at random moments while
// bundles change and runs violate their policies. What it once said of a
// violation holds, and there is always something good to run.
func TestDaemonKilledWhileChanging(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.revision(t, "tool", "1.0.0", "", allowSyslog)
		daemon := h.serve(t)
		wantEnd(t, h.run(t, h.both(false, call{words: []string{"tool", "forbid"}})), statusBroken, "exit")
		verdicts := 0
		for n := range rounds(20) {
			version, policy := fmt.Sprintf("1.%d.0", n+1), allowSyslog
			if n%2 == 0 {
				policy = ""
			}
			h.revision(t, "tool", version, "revert_budget: {count: 1000, window: 24h}\n", policy)
			killed := make(chan bool)
			go func() {
				defer close(killed)
				time.Sleep(time.Duration(60+n*13%140) * time.Millisecond) // the moment of the kill, not a wait
				daemon.Process.Kill()
			}()
			var bad []string
			for over := false; !over; {
				select {
				case <-killed:
					over = true
				default:
				}
				r := h.run(t, h.both(false, call{words: []string{"tool", "forbid"}}))
				if r.report.Outcome == "violation" && r.report.Counted {
					bad = append(bad, r.report.Version)
				}
			}
			gone(t, daemon, patience())
			daemon = h.serve(t)
			past := h.history(t, "tool")
			for _, v := range bad {
				verdicts++
				if state := past.state(v); state != "quarantined" {
					t.Fatalf("%s is %s after its violation\n%+v", v, state, past)
				}
			}
			r := h.run(t, h.both(false, call{words: []string{"tool", "exit", "6"}}))
			if wantEnd(t, r, 6, "exit"); past.state(r.report.Version) == "quarantined" {
				t.Fatalf("quarantined, and runs\n%s", r)
			}
		}
		if verdicts == 0 {
			t.Error("no verdict came in")
		}
	})
}
