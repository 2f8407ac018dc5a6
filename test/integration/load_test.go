package integration

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// loadFor is how long TestLoad goes on for each caller: SBX_TEST_LOAD, which
// `make soak` sets, or ten seconds.
func loadFor(t *testing.T) time.Duration {
	s := os.Getenv("SBX_TEST_LOAD")
	if s == "" {
		return 10 * time.Second
	}
	d, err := time.ParseDuration(s)
	check(t, err)
	return d
}

// daemonState is what load must leave of a daemon as it was.
type daemonState struct{ descriptors, groups, memory int }

func readDaemon(t testing.TB, pid int) (s daemonState) {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	fds, err := os.ReadDir(dir + "fd")
	check(t, err)
	s.descriptors, s.groups = len(fds), len(leaves())
	text, err := os.ReadFile(dir + "status")
	check(t, err)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			s.memory = mustInt(t, f[1]) // KiB
		}
	}
	return s
}

// quiet waits until a daemon has thrown away what it keeps ready and holds no
// more than it did; a zero value of most is: until two looks are alike.
func (h *host) quiet(t testing.TB, pid int, most daemonState) daemonState {
	t.Helper()
	if r := h.operator(t, "reload", "--wait"); r.status != 0 {
		t.Fatalf("what is left to be rejected when nothing changes?\n%s", r)
	}
	last := readDaemon(t, pid)
	for end := time.Now().Add(patience()); time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
		now := readDaemon(t, pid)
		if most == (daemonState{}) && now.descriptors == last.descriptors && now.groups == last.groups ||
			now.descriptors <= most.descriptors && now.groups <= most.groups {
			return now
		}
		last = now
	}
	return last
}

func wantStatus(t testing.TB, r result, status int) {
	t.Helper()
	if r.status != status {
		t.Fatalf("want status %d\n%s", status, r)
	}
}

// TestLoad: under reloads, violations, timeouts and killed clients at once no
// run of the daemon fails that should not, and afterwards the daemon holds
// what it held before.
func TestLoad(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "act", bin+"/act", "")
		h.revision(t, "moving", "1.0.0", "", "")
		daemon := h.serve(t)
		pid := daemon.Process.Pid
		log, _ := kernelLog(0)
		// What is made once and kept does not count.
		h.load(t, slow(2*time.Second), 0)
		before := h.quiet(t, pid, daemonState{})
		begin := time.Now()
		runs := h.load(t, loadFor(t), 1_000_000)
		took := time.Since(begin)
		after := h.quiet(t, pid, before)
		t.Logf("%d runs in %v; before %+v, after %+v", runs, took, before, after)
		if len(workloads()) > 0 {
			t.Errorf("workloads %v are left", workloads())
		}
		if after.descriptors > before.descriptors || after.groups > before.groups {
			t.Errorf("the daemon holds %+v, before %+v", after, before)
		}
		// Go's heap may double until it is collected.
		if after.memory > 2*before.memory+(16<<10) {
			t.Errorf("the daemon has %d KiB, before %d", after.memory, before.memory)
		}
		if _, faults := kernelLog(log); len(faults) > 0 {
			t.Errorf("the kernel says: %q", faults)
		}
		wantStatus(t, h.run(t, call{verb: "audit", plain: true, words: []string{"verify"}, env: []string{"SBX_REGISTRY=" + h.path("registry")}}), 0)
	})
}

// load mixes calls for a time and returns how many ended, each as it must.
// serial numbers their files.
func (h *host) load(t *testing.T, length time.Duration, serial int) (runs int) {
	t.Helper()
	end := time.Now().Add(length)
	var all, changes sync.WaitGroup
	var done atomic.Int64
	var version, floor atomic.Int64 // of the bundle that moves: written, and seen in force
	version.Store(int64(serial))
	// In any case until a change was seen in force.
	on := func() bool {
		now := time.Now()
		return (now.Before(end) || floor.Load() == 0 && now.Before(end.Add(patience()))) && !t.Failed()
	}
	changes.Go(func() {
		for on() {
			h.revision(t, "moving", fmt.Sprintf("1.%d.0", version.Add(1)), "", "")
			time.Sleep(30 * time.Millisecond) // 33 changes a second; nothing is waited for
		}
	})
	changes.Go(func() {
		for on() {
			own := *h
			r, err := own.try(call{verb: "reload", plain: true, words: []string{"--wait", "--registry", h.path("registry")}})
			if err != nil || r.status != 0 {
				t.Errorf("reload: %v\n%s", err, r)
			}
			time.Sleep(500 * time.Millisecond)
		}
	})
	kinds := []struct {
		words, flags []string
		status       int
		outcome      string
	}{
		{words: []string{"act", "exit", "0"}, outcome: "ok"},
		{words: []string{"moving", "exit", "0"}, outcome: "ok"},
		{words: []string{"act", "exit", "7"}, status: 7, outcome: "exit"},
		{words: []string{"act", "forbid"}, status: 159, outcome: "violation"},
		{words: []string{"moving", "exit", "0"}, outcome: "ok"},
		{words: []string{"act", "deaf", "1m"}, flags: []string{"--timeout", "200ms"}, status: 124, outcome: "timeout"},
		{words: []string{"act", "deaf", "1m"}}, // its client is killed
	}
	for worker := range 4 {
		own := *h // its own counter of result files
		own.runs = serial + 100_000*(worker+1)
		all.Go(func() {
			for n := worker; on(); n++ {
				kind := kinds[n%len(kinds)]
				if kind.outcome == "" {
					if err := own.killed(h.both(false, call{words: kind.words, plain: true})); err != nil {
						t.Error(err)
					}
					done.Add(1)
					continue
				}
				least := floor.Load()
				r, err := own.try(h.both(false, call{words: kind.words, flags: kind.flags}))
				if err != nil || r.report == nil || r.status != kind.status || r.report.Outcome != kind.outcome || r.report.Via != "daemon" {
					t.Errorf("%q: want %d by the daemon: %v\n%s", kind.words, kind.status, err, r)
					return
				}
				os.Remove(own.path("result/" + strconv.Itoa(own.runs)))
				if kind.words[0] == "moving" {
					minor, _ := strconv.ParseInt(strings.Split(r.report.Version, ".")[1], 10, 64)
					if minor < least {
						t.Errorf("version %s after 1.%d.0 was in force", r.report.Version, least)
					}
					for now := floor.Load(); minor > now && !floor.CompareAndSwap(now, minor); now = floor.Load() {
					}
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	changes.Wait()
	if floor.Load() == 0 {
		t.Error("no change came in force")
	}
	return int(done.Load())
}

// killed starts a call and kills its client once the workload runs.
func (h *host) killed(c call) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	defer cancel()
	cmd, _ := h.command(ctx, c)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, ready := out.Read(make([]byte, 1))
	cmd.Process.Signal(unix.SIGKILL)
	err = cmd.Wait()
	if ready != nil || statusOf(cmd.ProcessState) != 137 {
		return fmt.Errorf("a client to be killed: %w, %w", ready, err)
	}
	return nil
}
