package hostile_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// each runs f for a fixture of every caller whose policy kills, in a guest of
// one of them.
func each(t *testing.T, f func(t *testing.T, s *suite)) {
	needProgram(t)
	sbx := needSbx(t)
	list := slices.DeleteFunc(callers(), func(c caller) bool { return c.verdict != "kill" })
	if testenv.Guest() {
		list = list[testenv.Turn()%len(list):][:1]
	}
	for _, c := range list {
		t.Run(c.name, func(t *testing.T) {
			testenv.NoLeaks(t, testenv.Watch{Programs: []string{"hostile"}})
			s := newSuite(t, sbx, c)
			s.probe(t)
			f(t, s)
		})
	}
}

// start begins an act and returns when it says READY.
func (s *suite) start(t *testing.T, act string, o options) (*exec.Cmd, string, *bufio.Reader) {
	t.Helper()
	cmd, report := s.command(context.Background(), act, o)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr = w, &stderr
	err = start(cmd, o)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(r)
	r.SetReadDeadline(time.Now().Add(slow(20 * time.Second)))
	for {
		line, err := out.ReadString('\n')
		if strings.HasPrefix(line, "READY") {
			return cmd, report, out
		}
		if err != nil {
			cmd.Process.Kill()
			cmd.Wait()
			t.Fatalf("%s: no READY: %v, %.300q", act, err, stderr.String())
		}
	}
}

// none fails when processes of the program are left.
func (s *suite) none(t *testing.T, when string) {
	t.Helper()
	if pids := s.alive(slow(4 * time.Second)); len(pids) > 0 {
		t.Errorf("%s: processes %v are left", when, pids)
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// sweep runs once more: a launcher that was killed cannot remove its control
// group, which is empty then and goes with the next start.
func (s *suite) sweep(t *testing.T) {
	t.Helper()
	if r := s.run(t, "end-exit", options{}); r.status != 3 {
		t.Errorf("the run after a kill: status %d, %.200q", r.status, r.stderr)
	}
}

// TestKillLeavesNothing kills sbx at a random moment of its first 40 ms, and
// later: line 26.
func TestKillLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, s *suite) {
		rounds := 150
		if testing.Short() || testenv.Guest() {
			rounds = 10
		}
		for i := range rounds {
			cmd, _ := s.command(t.Context(), "end-stay", options{})
			if err := start(cmd, options{}); err != nil {
				t.Fatal(err)
			}
			window := 40 * time.Millisecond
			if i%2 == 0 {
				window = 8 * time.Millisecond // the launch itself
			}
			time.Sleep(slow(time.Duration(rand.Int64N(int64(window)))))
			cmd.Process.Kill()
			cmd.Wait()
			s.none(t, fmt.Sprintf("round %d", i))
		}
		cmd, _, _ := s.start(t, "end-stay", options{})
		if len(s.running(s.self)) == 0 {
			t.Error("the probe for processes sees none while one runs")
		}
		cmd.Process.Kill()
		cmd.Wait()
		s.none(t, "after READY")
		s.sweep(t)
	})
}

// TestTermEndsTheRun ends a program that ignores every signal: line 27.
func TestTermEndsTheRun(t *testing.T) {
	each(t, func(t *testing.T, s *suite) {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
			t.Run(sig.String(), func(t *testing.T) {
				cmd, report, _ := s.start(t, "end-stay", options{})
				begin := time.Now()
				cmd.Process.Signal(sig)
				done := time.AfterFunc(slow(8*time.Second), func() { cmd.Process.Kill() })
				cmd.Wait()
				done.Stop()
				if took := time.Since(begin); took > slow(4*time.Second) {
					t.Errorf("sbx ended after %v", took)
				}
				if got, want := cmd.ProcessState.ExitCode(), 128+int(sig); got != want {
					t.Errorf("status %d, want %d", got, want)
				}
				if r := (result{report: readReport(report)}); r.outcome() != "canceled" {
					t.Errorf("outcome %q, want canceled", r.outcome())
				}
				s.none(t, sig.String())
			})
		}
	})
}

// TestForwarded sends signals that the program handles.
func TestForwarded(t *testing.T) {
	each(t, func(t *testing.T, s *suite) {
		cmd, report, out := s.start(t, "forward-usr1", options{})
		cmd.Process.Signal(syscall.SIGUSR1)
		rest, _ := io.ReadAll(out)
		cmd.Wait()
		if _, ok := lastLine(string(rest), "HELD: "); !ok || cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("status %d, %.200q", cmd.ProcessState.ExitCode(), rest)
		}
		os.Remove(report)
	})
}

// TestLeftovers ends runs in every way and looks for what is left (with
// NoLeaks): line 31.
func TestLeftovers(t *testing.T) {
	each(t, func(t *testing.T, s *suite) {
		for _, tt := range []struct {
			act, outcome string
			flags        []string
		}{
			{"end-exit", "exit", nil}, {"end-violation", "violation", nil}, {"end-segv", "signal", nil},
			{"end-stay", "timeout", []string{"--timeout", "1s"}},
		} {
			r := s.run(t, tt.act, options{flags: tt.flags})
			if r.outcome() != tt.outcome {
				t.Errorf("%s: outcome %q, want %q; %.200q", tt.act, r.outcome(), tt.outcome, r.stderr)
			}
			s.none(t, tt.act)
			if found := s.escaped(t); len(found) > 0 {
				t.Errorf("%s: %v", tt.act, found)
			}
		}
	})
}

// TestNothingSurvives leaves marks and objects in one run and looks for them
// in the next, and on the host: line 13.
func TestNothingSurvives(t *testing.T) {
	each(t, func(t *testing.T, s *suite) {
		for _, pair := range [][2]string{{"mark", "find-mark"}, {"leave-shm", "find-shm"}, {"leave-sem", "find-sem"}, {"leave-msg", "find-msg"}, {"leave-mq", "find-mq"}, {"leave-key", "find-key"}} {
			first := s.run(t, pair[0], options{})
			if pair[0] == "mark" && !strings.Contains(first.stdout, "PUT: /tmp/") {
				t.Errorf("no mark could be left in /tmp: %.300q %.300q", first.stdout, first.stderr)
			}
			for line := range strings.Lines(first.stdout) {
				if path, ok := strings.CutPrefix(strings.TrimSpace(line), "PUT: "); ok {
					if _, err := os.Lstat(path); err == nil {
						t.Errorf("%s is on the host", path)
						os.Remove(path)
					}
				}
			}
			second := s.run(t, pair[1], options{})
			verdict, what := second.judge(act{name: pair[1]})
			record(s.name, act{line: 13, class: 'E', name: pair[1]}, verdict, what)
			if verdict != held {
				t.Errorf("%s: %s: %s", pair[1], verdict, what)
			}
		}
	})
}

// TestNobodyReads gives output that nobody takes: the timeout must still end
// the run.
func TestNobodyReads(t *testing.T) {
	each(t, func(t *testing.T, s *suite) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cmd, _ := s.command(t.Context(), "endless-write", options{flags: []string{"--timeout", "2s"}})
		cmd.Stdout = w
		begin := time.Now()
		if err := start(cmd, options{}); err != nil {
			t.Fatal(err)
		}
		w.Close()
		stop := time.AfterFunc(slow(8*time.Second), func() { cmd.Process.Kill() })
		cmd.Wait()
		stop.Stop()
		if took := time.Since(begin); took > slow(6*time.Second) || cmd.ProcessState.ExitCode() != 124 {
			t.Errorf("status %d after %v, want 124", cmd.ProcessState.ExitCode(), took)
		}
		s.none(t, "after the timeout")
	})
}

// TestForeignABI asks for what a kill by the 32-bit entry is called, in the
// program and in a child of it.
func TestForeignABI(t *testing.T) {
	each(t, func(t *testing.T, s *suite) {
		for _, name := range []string{"i386-getpid", "x32-getpid", "i386-in-child"} {
			r := s.run(t, name, options{})
			if strings.Contains(r.stdout, "ENOSYS") {
				continue // this kernel has no such entry
			}
			if r.status != 159 || r.outcome() != "violation" {
				t.Errorf("%s: status %d outcome %q, want 159 violation; %.200q", name, r.status, r.outcome(), r.stdout)
			}
		}
	})
}

// TestCgroupsAreGone looks for control groups that the suite left anywhere,
// both hierarchies.
func TestCgroupsAreGone(t *testing.T) {
	each(t, func(t *testing.T, s *suite) {
		count := func() map[string]bool {
			out := map[string]bool{}
			filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					out[path] = true
				}
				return nil
			})
			return out
		}
		s.run(t, "end-exit", options{}) // what is made once and kept does not count
		before := count()
		for range 5 {
			s.run(t, "end-exit", options{})
			s.run(t, "end-violation", options{})
		}
		// A killed launcher may leave an empty leaf until the next run.
		cmd, _, _ := s.start(t, "end-stay", options{})
		cmd.Process.Kill()
		cmd.Wait()
		s.none(t, "killed")
		s.run(t, "end-exit", options{})
		for path := range count() {
			if before[path] || !strings.Contains(path, "sbx") {
				continue
			}
			// Other runs on the host have leaves too, which go by themselves.
			for end := time.Now().Add(slow(5 * time.Second)); ; time.Sleep(20 * time.Millisecond) {
				if _, err := os.Stat(path); err != nil {
					break
				}
				if time.Now().After(end) {
					t.Errorf("control group %s is left", path)
					break
				}
			}
		}
	})
}
