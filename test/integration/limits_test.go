package integration

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// holds tells whether the kernel can hold limits of this controller for the
// caller: root on a host whose version 2 hierarchy has it. An ordinary user is
// delegated nothing in these tests.
func (h *host) holds(controller string) bool {
	text, err := os.ReadFile(testenv.CgroupMount() + "/cgroup.controllers")
	return err == nil && h.uid == 0 && slices.Contains(strings.Fields(string(text)), controller)
}

// TestStatedLimit: a limit that is stated is applied, or the run is refused
// with the feature and what mends it.
func TestStatedLimit(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		for _, tt := range []struct{ limit, controller string }{
			{"memory_max: 64M", "memory"}, {"pids_max: 32", "pids"}, {"cpu_max: 50%", "cpu"},
		} {
			t.Run(tt.controller, func(t *testing.T) {
				p := h.policy(t, tt.controller, "limits: {"+tt.limit+"}\n")
				r := h.run(t, h.act(p, "exit", "0"))
				if h.holds(tt.controller) {
					wantEnd(t, r, 0, "ok")
					if state, why := r.report.layer("cgroup." + tt.controller); state != "applied" {
						t.Errorf("layer is %q: %s", state, why)
					}
					return
				}
				wantEnd(t, r, 125, r.report.Outcome)
				if o := r.report.Outcome; o != "refused" && o != "setup-error" {
					t.Errorf("outcome %q", o)
				}
				if !strings.Contains(r.stderr, "cgroup."+tt.controller) || !strings.Contains(r.stderr, "hint: ") {
					t.Errorf("feature and fix are not named\n%s", r)
				}
				// The same as optional: it runs, and says what is lost.
				p = h.policy(t, tt.controller+"-optional", "limits: {-"+tt.limit+"}\n")
				r = h.run(t, h.act(p, "exit", "0"))
				wantEnd(t, r, 0, "ok")
				if state, why := r.report.layer("cgroup." + tt.controller); state != "degraded" {
					t.Errorf("layer is %q: %s", state, why)
				}
				// A limit that the caller states is stated.
				r = h.run(t, call{flags: []string{"--limit", strings.Replace(tt.limit, ": ", "=", 1)}, words: []string{bin + "/act", "exit", "0"}})
				wantEnd(t, r, 125, r.report.Outcome)
			})
		}
	})
}

// TestUnknownDevice: a value that the kernel does not take is not a feature that
// the host lacks.
func TestUnknownDevice(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		r := h.run(t, h.act(h.policy(t, "device", "limits: {io_max: \"4095:0 rbps=1M\"}\n"), "exit", "0"))
		wantEnd(t, r, 125, r.report.Outcome)
		want := `hold io_max: write "io.max": no such device`
		if !h.holds("io") {
			want = "cgroup.io"
		}
		if !strings.Contains(r.stderr, want) || !strings.Contains(r.stderr, "hint: ") || !strings.Contains(r.stderr, "-io_max") {
			t.Errorf("want %q\n%s", want, r)
		}
		wantEnd(t, h.run(t, h.act(h.policy(t, "device-optional", "limits: {-io_max: \"4095:0 rbps=1M\"}\n"), "exit", "0")), 0, "ok")
	})
}

// TestFileCount: a tmpfs holds as many files as its policy says.
func TestFileCount(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		p := h.policy(t, "files", "filesystem: {tmpfs: [{path: /tmp, size: 64K, files: 3}]}\n")
		r := h.run(t, call{flags: []string{"--policy", p}, words: []string{"/bin/sh", "-c", "for i in 1 2 3 4; do : > /tmp/$i && echo $i; done"}})
		if r.stdout != "1\n2\n3\n" {
			t.Errorf("want three files\n%s", r)
		}
	})
}

// TestMemory: memory counts over the processes of a run. Where the kernel
// holds the limit its group is killed as one; else the supervisor sums.
func TestMemory(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		family := h.policy(t, "family", "filesystem: {read: [BIN], exec: [ACT]}\n")
		for _, tt := range []struct {
			name string
			args []string
		}{
			{"one process", []string{"eat", "400", "1m"}},
			{"eight processes of 64 MiB", []string{"eat-many", "8", "64", "1m"}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				r := h.run(t, h.act(family, tt.args...))
				wantEnd(t, r, 137, "oom")
				if !strings.Contains(r.stderr, "sbx: out of memory") {
					t.Errorf("stderr does not say it\n%s", r)
				}
				want := "degraded"
				if h.holds("memory") {
					want = "applied"
				}
				if state, why := r.report.layer("cgroup.memory"); state != want {
					t.Errorf("layer is %q, want %q: %s", state, want, why)
				}
				if peak := r.report.Usage.MemPeak; peak < 200<<20 || h.holds("memory") && peak > 260<<20 {
					t.Errorf("peak is %d MiB", peak>>20)
				}
				nothingLeft(t, time.Second)
			})
		}
		// Below the limit nothing happens.
		r := h.run(t, h.act(family, "eat-many", "2", "32", "100ms"))
		wantEnd(t, r, 0, "ok")
	})
}

// TestProcesses: a run cannot have more processes and threads than its limit.
func TestProcesses(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		few := h.policy(t, "few", "filesystem: {read: [BIN], exec: [ACT]}\nlimits: {-pids_max: 40}\n")
		r := h.run(t, h.act(few, "children", "100"))
		switch {
		case h.holds("pids"):
			wantEnd(t, r, r.status, "pids")
			if peak := r.report.Usage.Pids; peak < 20 || peak > 42 { // with init and its watcher
				t.Errorf("peak of %d processes, want at most 42", peak)
			}
		case r.report != nil && r.report.Outcome != "pids": // by RLIMIT_NPROC
			wantEnd(t, r, r.status, "exit")
		}
		// Each is a Go program of several threads; 100 would be far beyond.
		said := regexp.MustCompile(`(?m)^(\d+) children`).FindStringSubmatch(r.stdout)
		if r.status == 0 || said != nil && mustInt(t, said[1]) > 40 {
			t.Errorf("not contained\n%s", r)
		}
		nothingLeft(t, time.Second)
	})
}

func mustInt(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestForkBomb: the host stays usable, and the bomb ends at the timeout at
// the latest.
func TestForkBomb(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		p := h.policy(t, "bomb", "filesystem: {read: [BIN], exec: [ACT]}\nlimits: {timeout: 2s}\n")
		ctx, cancel := context.WithTimeout(context.Background(), patience())
		defer cancel()
		cmd, file := h.command(ctx, h.act(p, "bomb"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		most := 0
		for running := true; running; {
			select {
			case <-done:
				running = false
			case <-time.After(10 * time.Millisecond):
				most = max(most, len(survivors()))
			}
		}
		// sbx, init and 64 of the run's own; a look takes a while, in
		// which one can be born.
		if most < 3 || most > 70 {
			t.Errorf("up to %d processes were seen, want 3 to 70", most)
		}
		report, err := readReport(file)
		if err != nil || report == nil {
			t.Fatalf("report: %v", err)
		}
		if o := report.Outcome; o != "timeout" && o != "pids" && o != "oom" && o != "exit" || statusOf(cmd.ProcessState) == 0 {
			t.Errorf("outcome %q, status %d", o, statusOf(cmd.ProcessState))
		}
		nothingLeft(t, time.Second)
	})
}

// TestCPU: what a stated share of a processor comes to.
func TestCPU(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		if !h.holds("cpu") {
			p := h.policy(t, "share", "limits: {-cpu_max: 20%}\n")
			r := h.run(t, h.act(p, "spin", "100ms"))
			wantEnd(t, r, 0, "ok")
			if state, why := r.report.layer("cgroup.cpu"); state != "degraded" || why == "" {
				t.Errorf("layer is %q: %s", state, why)
			}
			return
		}
		p := h.policy(t, "share", "limits: {cpu_max: 20%}\n")
		r := h.run(t, h.act(p, "spin", "3s"))
		wantEnd(t, r, 0, "ok")
		used := r.report.Usage.CPUUser + r.report.Usage.CPUSys
		if share := used / r.report.Usage.Wall; share > 0.35 || used <= 0.1 && r.took > time.Second {
			t.Errorf("used %.2f s of %.2f s, want about 20 %%", used, r.report.Usage.Wall)
		}
	})
}

// TestTimeout: the bound on wall time holds for a whole tree that ignores
// every signal.
func TestTimeout(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		family := h.policy(t, "family", "filesystem: {read: [BIN], exec: [ACT]}\nlimits: {timeout: 800ms}\n")
		for _, act := range [][]string{{"deaf", "1m"}, {"spin", "1m"}, {"eat-many", "3", "1", "1m"}} {
			t.Run(act[0], func(t *testing.T) {
				r := h.run(t, h.act(family, act...))
				wantEnd(t, r, 124, "timeout")
				if !strings.Contains(r.stderr, "sbx: timeout") {
					t.Errorf("stderr does not say it\n%s", r)
				}
				if wall := r.report.Usage.Wall; wall < 0.8 || r.took > slow(3*time.Second) {
					t.Errorf("wall %.2f s, want 0.8 s and little more", wall)
				}
				nothingLeft(t, time.Second)
			})
		}
	})
}

// TestDescriptorsAndCore: the resource limits of the default policy hold.
func TestDescriptorsAndCore(t *testing.T) {
	needPrograms(t, "/usr/bin/grep")
	each(t, func(t *testing.T, h *host) {
		r := h.run(t, call{words: []string{"/usr/bin/grep", "-E", "core file|open files", "/proc/self/limits"}})
		wantEnd(t, r, 0, "ok")
		for _, want := range []string{`Max core file size +0 +0 `, `Max open files +256 +256 `} {
			if !regexp.MustCompile(want).MatchString(r.stdout) {
				t.Errorf("want %q in\n%s", want, r.stdout)
			}
		}
	})
}

// TestLowerAlready: a resource limit is an upper bound. Who may have less than
// an optional one runs with what he may have, also where an earlier call had
// more; a stated one is refused by name.
func TestLowerAlready(t *testing.T) {
	needPrograms(t, "/usr/bin/grep")
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		// Fewer processes than the bound of the default policy, which is held by
		// this limit where there is no control group for it.
		low := []string{"rlimit=NOFILE:100", "rlimit=MEMLOCK:4096", "rlimit=NPROC:60"}
		with := func(policy string, wrap []string, flags ...string) result {
			c := call{flags: flags, words: []string{"/usr/bin/grep", "-E", "open files|locked memory", "/proc/self/limits"}, wrap: wrap, plain: len(flags) > 0}
			if policy != "" {
				c.flags = append(c.flags, "--policy", h.policy(t, "low", policy))
			}
			return h.run(t, c)
		}
		shows := func(r result, limits ...string) {
			t.Helper()
			for _, limit := range limits {
				if r.status != 0 || !regexp.MustCompile(limit).MatchString(r.stdout) {
					t.Errorf("want %q\n%s", limit, r)
				}
			}
		}
		for range 3 { // the last by an image of the call
			shows(with("", nil, "-q"), "open files +256 +256 ")
		}
		shows(with("", low), "open files +100 +100 ")
		for range 3 {
			shows(with("", low, "-q"), "open files +100 +100 ")
		}
		shows(with("", nil, "-q"), "open files +256 +256 ")
		shows(with("limits: {-rlimit_memlock: 16K, -rlimit_nofile: 200}\n", low), "open files +100 +100 ", "locked memory +4096 +4096 ")
		shows(with("limits: {rlimit_nofile: 90, rlimit_memlock: 4K}\n", low), "open files +90 +90 ", "locked memory +4096 +4096 ")
		const stated = "limits: {rlimit_nofile: 200}\n"
		for range 3 {
			shows(with(stated, nil, "-q"), "open files +200 +200 ")
		}
		r := with(stated, low)
		wantEnd(t, r, 125, "refused")
		if !strings.Contains(r.stderr, "hold rlimit_nofile: who starts the run may have 100 at most") || !strings.Contains(r.stderr, "hint: raise the hard limit") {
			t.Errorf("limit and fix are not named\n%s", r)
		}
		if r = with(stated, low, "-q"); r.status != 125 || !strings.Contains(r.stderr, "hold rlimit_nofile") {
			t.Errorf("after a call that could have it\n%s", r)
		}
		nothingLeft(t, time.Second)
	})
}

// started starts an invocation whose workload says "ready".
func (h *host) started(t testing.TB, c call) *exec.Cmd {
	t.Helper()
	cmd, _ := h.command(context.Background(), c)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	ready := make(chan error, 1)
	go func() {
		b := make([]byte, 6)
		_, err := out.Read(b)
		ready <- err
	}()
	select {
	case err := <-ready:
		if err != nil {
			t.Fatalf("the workload did not say that it is ready: %v", err)
		}
	case <-time.After(patience()):
		t.Fatal("the workload did not say that it is ready")
	}
	return cmd
}

// waiting starts an invocation whose workload, the act "echo", ends when end is
// called.
func (h *host) waiting(t testing.TB, c call) (cmd *exec.Cmd, end func()) {
	t.Helper()
	in, out, err := os.Pipe()
	check(t, err)
	t.Cleanup(func() { in.Close(); out.Close() })
	_, err = out.WriteString("ready\n")
	check(t, err)
	c.stdin = in
	return h.started(t, c), func() { in.Close(); out.Close() }
}

// gone waits for a process to end and tells how, and how long it took a machine
// that had room.
func gone(t testing.TB, cmd *exec.Cmd, within time.Duration) (status int, took time.Duration) {
	t.Helper()
	watch := testenv.Begin()
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	for !watch.Over(within) {
		select {
		case <-done:
			return statusOf(cmd.ProcessState), watch.Took()
		case <-time.After(20 * time.Millisecond):
		}
	}
	unix.Kill(cmd.Process.Pid, unix.SIGKILL)
	<-done
	t.Fatalf("sbx is still there after %v", within)
	return 0, 0
}
