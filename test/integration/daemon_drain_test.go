package integration

import (
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestDrain: a daemon that is told to end lets its runs end and takes no more.
func TestDrain(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "act", bin+"/act", "")
		daemon := h.serve(t)
		client, end := h.waiting(t, h.both(false, call{words: []string{"act", "echo"}}))
		daemon.Process.Signal(unix.SIGTERM)
		for late := time.Now().Add(patience()); len(h.sockets()) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(late) {
				t.Fatal("the socket is still there")
			}
		}
		r := h.run(t, h.both(false, call{words: []string{"act", "exit", "0"}}))
		if wantEnd(t, r, 0, "ok"); r.report.Via != "direct" {
			t.Errorf("via %q while the daemon drains", r.report.Via)
		}
		if len(workloads()) == 0 {
			t.Error("the run was ended before its time")
		}
		end()
		if status, _ := gone(t, client, patience()); status != 0 {
			t.Errorf("the run ended with %d", status)
		}
		if status, _ := gone(t, daemon, patience()); status != 0 {
			t.Errorf("the daemon ended with %d", status)
		}
	})
}

// TestDrainUnderCalls: while daemons come and are told to go no call fails: each
// is carried out by one of them, or by sbx itself.
func TestDrainUnderCalls(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "act", bin+"/act", "")
		var callers sync.WaitGroup
		var over atomic.Bool
		var direct, served atomic.Int64
		for worker := range 8 {
			own := *h // its own counter of result files
			own.runs = 100_000 * (worker + 1)
			callers.Go(func() {
				for !over.Load() && !t.Failed() {
					r, err := own.try(own.both(false, call{words: []string{"act", "exit", "0"}}))
					if err != nil || r.report == nil || r.status != 0 || r.report.Outcome != "ok" {
						t.Errorf("%v\n%s", err, r)
						return
					}
					os.Remove(own.path("result/" + strconv.Itoa(own.runs)))
					if r.report.Via == "daemon" {
						served.Add(1)
					} else {
						direct.Add(1)
					}
				}
			})
		}
		for range rounds(8) {
			daemon := h.serve(t)
			for was, end := served.Load(), time.Now().Add(patience()); served.Load() < was+8 && !t.Failed(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Error("the daemon carries nothing out")
				}
			}
			check(t, daemon.Process.Signal(unix.SIGTERM))
			if status, _ := gone(t, daemon, patience()); status != 0 {
				t.Errorf("the daemon ended with %d", status)
			}
		}
		over.Store(true)
		callers.Wait()
		t.Logf("%d calls by daemons, %d without", served.Load(), direct.Load())
	})
}
