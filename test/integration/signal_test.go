package integration

import (
	"bufio"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestForward: what sbx is told it tells the workload, whose own status
// counts only when nothing told sbx to end.
func TestForward(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		cmd, file := h.command(context.Background(), h.act("", "catch"))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Process.Kill()
		lines := make(chan string, 16)
		go func() {
			defer close(lines)
			for s := bufio.NewScanner(out); s.Scan(); {
				lines <- s.Text()
			}
		}()
		expect := func(want string) {
			t.Helper()
			select {
			case got := <-lines:
				if got != want {
					t.Fatalf("the workload said %q, want %q", got, want)
				}
			case <-time.After(patience()):
				t.Fatalf("the workload did not say %q", want)
			}
		}
		expect("ready")
		for _, sig := range []syscall.Signal{unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGCONT, unix.SIGTERM} {
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			expect(unix.SignalName(sig))
		}
		status, _ := gone(t, cmd, slow(4*time.Second))
		report, err := readReport(file)
		if err != nil || report == nil {
			t.Fatalf("report: %v", err)
		}
		if status != 143 || report.Outcome != "canceled" || report.Signal != 15 || report.ExitCode != 143 {
			t.Errorf("status %d, report %+v; want 143, canceled by 15", status, report)
		}
	})
}

// TestEnd: sbx told to end takes the whole run with it, also one that ignores
// everything, within 4 s (SPEC 2).
func TestEnd(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		family := h.policy(t, "family", "filesystem: {read: [BIN], exec: [ACT]}\n")
		for _, tt := range []struct {
			name   string
			act    []string
			sig    syscall.Signal
			status int
			atMost time.Duration
		}{
			{"TERM to one that dies of it", []string{"sleep", "1m"}, unix.SIGTERM, 143, time.Second},
			{"TERM to one that ignores it", []string{"deaf", "1m"}, unix.SIGTERM, 143, 4 * time.Second},
			{"INT to one that ignores it", []string{"deaf", "1m"}, unix.SIGINT, 130, 4 * time.Second},
			{"HUP to one that ignores it", []string{"deaf", "1m"}, unix.SIGHUP, 129, 4 * time.Second},
			{"QUIT to one that ignores it", []string{"deaf", "1m"}, unix.SIGQUIT, 131, 4 * time.Second},
		} {
			t.Run(tt.name, func(t *testing.T) {
				cmd := h.started(t, h.act(family, tt.act...))
				if err := cmd.Process.Signal(tt.sig); err != nil {
					t.Fatal(err)
				}
				status, took := gone(t, cmd, slow(6*time.Second))
				if status != tt.status || took > slow(tt.atMost) {
					t.Errorf("status %d after %v, want %d within %v", status, took, tt.status, slow(tt.atMost))
				}
				nothingLeft(t, 100*time.Millisecond)
			})
		}
	})
}

// TestStopped: a stopped workload is ended like another.
func TestStopped(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		cmd := h.started(t, h.act("", "deaf", "1m"))
		for _, pid := range survivors() {
			if pid != cmd.Process.Pid {
				unix.Kill(pid, unix.SIGSTOP)
			}
		}
		if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if status, took := gone(t, cmd, slow(6*time.Second)); status != 143 || took > slow(4*time.Second) {
			t.Errorf("status %d after %v, want 143 within 4 s", status, took)
		}
		nothingLeft(t, time.Second)
	})
}

// TestKilled: SIGKILL of sbx at any moment, above all in its first 40 ms,
// leaves no process and no mount; a leaf that nobody could remove goes with
// the next run.
func TestKilled(t *testing.T) {
	rounds := rounds(200)
	if !soak() && !testenv.Guest() {
		rounds = 500
	}
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		wantEnd(t, h.run(t, h.act("", "exit", "0")), 0, "ok") // compiles the plan
		rng := rand.New(rand.NewPCG(3, 4))
		pids := map[string]bool{}
		started, since := 0, 0 // rounds since one had a child
		window, launch := 40*time.Millisecond, 8*time.Millisecond
		for i := range rounds {
			c := h.act("", "deaf", "1m")
			c.plain = true
			cmd, _ := h.command(context.Background(), c)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if i >= 200 && !soak() {
				window = launch // the launch itself, and for the time that it takes
			}
			time.Sleep(time.Duration(rng.Int64N(int64(slow(window)))))
			if since++; len(survivors()) > 1 {
				started++
				since = 0
			}
			if since == max(10, rounds/20) { // a launch takes longer here, or now
				window, launch, since = 2*window, 2*launch, 0
			}
			cmd.Process.Kill()
			cmd.Wait()
			pids[strconv.Itoa(cmd.Process.Pid)] = true
			if nothingLeft(t, time.Second); t.Failed() {
				t.Fatalf("in round %d of %d", i+1, rounds)
			}
		}
		// The moments must lie on both sides of the launch.
		if started < rounds/10 || started == rounds {
			t.Errorf("%d of %d rounds had a child when they were killed", started, rounds)
		}
		wantEnd(t, h.run(t, h.act("", "exit", "0")), 0, "ok")
		for _, leaf := range leaves() {
			if _, pid, _ := strings.Cut(filepath.Base(leaf)[len("run-"):], "-"); pids[pid] {
				t.Errorf("control group %s was not swept", leaf)
			}
		}
		for _, name := range []string{"mount", "sbx"} {
			if text, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(text), bin+"/"+name) {
				t.Errorf("a mount of %s is left", name)
			}
		}
	})
}

// leaves are the control groups of runs.
func leaves() []string {
	found, _ := filepath.Glob(testenv.CgroupMount() + "/sbx/run-*")
	return found
}

// TestKilledCold: so does SIGKILL while no plan is fresh and sbxd makes one,
// however long that takes: here for ever, since sbxd is stopped.
func TestKilledCold(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		for caught, i := 0, 0; caught < 5; i++ {
			if i == 200 {
				t.Fatalf("sbxd was met at work %d times in %d rounds", caught, i)
			}
			// Another file each time: the plan that was kept is stale.
			c := h.act(h.policy(t, "cold", "env: {set: {ROUND: \""+strconv.Itoa(i)+"\"}}\n"), "deaf", "1m")
			c.plain = true
			cmd, _ := h.command(context.Background(), c)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for watch := testenv.Begin(); !watch.Over(slow(time.Second)); {
				if pid := loaderOf(cmd.Process.Pid); pid != 0 && unix.Kill(pid, unix.SIGSTOP) == nil {
					caught++
					break
				}
			}
			cmd.Process.Kill()
			cmd.Wait()
			if nothingLeft(t, time.Second); t.Failed() {
				t.Fatalf("in round %d", i+1)
			}
		}
		wantEnd(t, h.run(t, h.act("", "exit", "0")), 0, "ok") // sweeps
	})
}

// loaderOf is the pid of the sbxd that a process waits for, or 0.
func loaderOf(parent int) int {
	dir := "/proc/" + strconv.Itoa(parent) + "/task/"
	threads, _ := os.ReadDir(dir)
	for _, thread := range threads {
		text, _ := os.ReadFile(dir + thread.Name() + "/children")
		for _, child := range strings.Fields(string(text)) {
			if exe, _ := os.Readlink("/proc/" + child + "/exe"); exe == bin+"/sbxd" {
				pid, _ := strconv.Atoi(child)
				return pid
			}
		}
	}
	return 0
}

// TestInitKilled: should init be killed from outside, the run ends and is not
// taken for a good one.
func TestInitKilled(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		c := h.act("", "deaf", "1m")
		cmd := h.started(t, c)
		// sbx writes it beside the run, which may say sooner that it is ready.
		var child string
		for end, whole := time.Now().Add(patience()), false; !whole; time.Sleep(time.Millisecond) {
			text, err := os.ReadFile(h.path("result/" + strconv.Itoa(h.runs)))
			if err != nil || time.Now().After(end) {
				t.Fatalf("no child-pid: %v, %q", err, text)
			}
			child, _ = strings.CutPrefix(string(text), `{"child-pid":`)
			child, whole = strings.CutSuffix(child, "}\n")
		}
		if err := unix.Kill(mustInt(t, child), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if status, _ := gone(t, cmd, slow(4*time.Second)); status != 137 {
			t.Errorf("status %d, want 137", status)
		}
		nothingLeft(t, time.Second)
	})
}
