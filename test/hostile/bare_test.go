package hostile_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestBare runs the acts that are marked so without a sandbox: each must get
// through, or the act is no test. They run in mount, UTS and IPC namespaces
// of their own, so that what they do ends with them; acts that would do harm
// are not marked.
func TestBare(t *testing.T) {
	needProgram(t)
	testenv.Root(t)
	if testenv.Guest() {
		t.Skip("that the acts do something is shown on the host: a guest lacks files that they look for")
	}
	n := 0
	for _, a := range all() {
		if !a.bare {
			continue
		}
		n++
		t.Run(fmt.Sprintf("%02d/%s", a.line, a.name), func(t *testing.T) {
			if a.long && testing.Short() {
				t.Skip("-short")
			}
			s := &suite{fixture: newFixture(t), caller: caller{name: "bare"}}
			got := s.bare(t, a)
			if got.status != 66 && got.verdict != through {
				t.Errorf("%s did not get through without a sandbox: status %d, %.300q %.200q", a.name, got.status, got.stdout, got.stderr)
			}
		})
	}
	if n < 250 {
		t.Errorf("%d acts were tried without a sandbox, want at least 250", n)
	}
}

type bareResult struct {
	result
	verdict standing
}

func (s *suite) bare(t *testing.T, a act) bareResult {
	t.Helper()
	o := a.setup(t, s)
	line := []string{}
	if len(o.wrap) > 0 && o.wrap[0] != "+submount" {
		line = append(append([]string{s.self}, o.wrap...), "--")
	}
	if a.weak {
		line = []string{s.self, "+weak", "--"}
	}
	line = append(append(line, s.self, a.name), s.told()...)
	ctx, cancel := context.WithTimeout(t.Context(), slow(30*time.Second))
	defer cancel()
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(s.environ(), "HOSTILE_BARE=1")
	cmd.Dir = s.out
	cmd.Stdin = o.stdin
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if o.stdout != nil {
		cmd.Stdout = o.stdout
	}
	cmd.WaitDelay = time.Second
	cmd.Run()
	r := bareResult{result: result{status: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}}
	if o.stdout != nil {
		text, _ := os.ReadFile(o.stdout.Name())
		r.stdout = string(text)
	}
	r.verdict, _ = r.judge(a)
	if a.check != nil {
		r.verdict, _ = a.check(s, r.result, r.verdict, "")
	}
	if found := judgeTree(s.rw); len(found) > 0 {
		r.verdict = through
	}
	for _, pid := range s.running(s.self) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	return r
}

func judgeTree(dir string) []string {
	var found []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if !planted[e.Name()] {
			found = append(found, judge(dir+"/"+e.Name())...)
		}
	}
	return found
}
