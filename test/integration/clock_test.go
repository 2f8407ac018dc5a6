package integration

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// turnClock sets the clock of the host by d, until the test ends.
func turnClock(t *testing.T, d time.Duration) {
	t.Helper()
	turn := func(d time.Duration) {
		var now unix.Timeval
		check(t, unix.Gettimeofday(&now))
		now.Sec += int64(d / time.Second)
		check(t, unix.Settimeofday(&now))
	}
	turn(d)
	t.Cleanup(func() { turn(-d) })
}

// TestClockMovedBack: the clock goes back by more than any window, while a
// daemon serves and while none does. What was in force goes on, updates come in
// force although their files are older than those before, a violation is put
// back, and the budget that was spent stays spent.
func TestClockMovedBack(t *testing.T) {
	if !testenv.Guest() {
		t.Skip("it sets the clock, which is a guest's to set")
	}
	each(t, func(t *testing.T, h *host) {
		served := func(version string, status int, outcome string) result {
			t.Helper()
			var r result
			for end := time.Now().Add(patience()); ; time.Sleep(10 * time.Millisecond) {
				r = h.run(t, h.both(false, call{words: []string{"tool", "forbid"}}))
				if r.report.Version == version || time.Now().After(end) {
					break
				}
			}
			if wantEnd(t, r, status, outcome); r.report.Version != version || r.report.Via != "daemon" {
				t.Fatalf("want %s by the daemon\n%s", version, r)
			}
			return r
		}
		h.revision(t, "tool", "1.0.0", "", allowSyslog)
		h.serve(t)
		served("1.0.0", statusBroken, "exit")
		h.revision(t, "tool", "1.1.0", "", "")
		if r := served("1.1.0", 159, "violation"); r.report.RevertedTo != "1.0.0" {
			t.Errorf("%s", r)
		}

		turnClock(t, -72*time.Hour)
		served("1.0.0", statusBroken, "exit")
		h.revision(t, "tool", "1.2.0", "", allowSyslog)
		served("1.2.0", statusBroken, "exit")
		// The budget of the day was spent on 1.1.0, in what is the future now.
		h.revision(t, "tool", "1.3.0", "", "")
		if r := served("1.3.0", 159, "violation"); r.report.RevertedTo != "" {
			t.Errorf("the budget came back with the clock\n%s", r)
		}
		if state := h.history(t, "tool").state("1.3.0"); state != "quarantined" {
			t.Errorf("1.3.0 is %s", state)
		}
		h.revision(t, "tool", "1.4.0", "", allowSyslog)
		served("1.4.0", statusBroken, "exit")
		direct := h.run(t, h.both(true, call{words: []string{"tool", "forbid"}}))
		if wantEnd(t, direct, statusBroken, "exit"); direct.report.Version != "1.4.0" {
			t.Errorf("%s", direct)
		}
		if r := h.run(t, call{verb: "audit", plain: true, words: []string{"verify"}}); r.status != 0 {
			t.Errorf("%s", r)
		}
	})
}
