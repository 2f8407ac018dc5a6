package systemd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// callLimit bounds one call.
const callLimit = 30 * time.Second

// report is what the tests read of a run's result.
type report struct {
	Child   int    `json:"child-pid"`
	Outcome string `json:"outcome"`
	Via     string `json:"via"`
	Run     string `json:"run"`
	Layers  []struct{ Name, State, Why string }
	Usage   struct {
		Wall    float64 `json:"time-wall"`
		CPUUser float64 `json:"cpu-user"`
		CPUSys  float64 `json:"cpu-sys"`
		MemPeak int64   `json:"cg-mem-peak"`
		Pids    int64   `json:"pids-peak"`
	}
}

// layer is the state of a kind of protection.
func (r *report) layer(name string) string {
	for _, l := range r.Layers {
		if l.Name == name {
			return strings.TrimSuffix(l.State+": "+l.Why, ": ")
		}
	}
	return "not there"
}

// call is a call of sbx run that is going on.
type call struct {
	cmd            *exec.Cmd
	file           string
	stdin          io.Closer // the act "wait" ends when it is closed
	stdout, stderr bytes.Buffer
	cancel         context.CancelFunc
}

// result is its end.
type result struct {
	status         int
	stdout, stderr string
	report         report
}

func (r result) String() string {
	return fmt.Sprintf("status %d, outcome %q, via %q\nstdout: %s\nstderr: %s", r.status, r.report.Outcome, r.report.Via, r.stdout, r.stderr)
}

// start begins a call of uid's.
func start(t *testing.T, uid uint32, words ...string) *call {
	t.Helper()
	dir, err := os.MkdirTemp("", "call-")
	if err == nil {
		err = os.Chown(dir, int(uid), int(uid))
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), slow(callLimit))
	c := &call{file: filepath.Join(dir, "result"), cancel: cancel}
	c.cmd = exec.CommandContext(ctx, "/usr/bin/sbx", append([]string{"run", "--result", c.file}, words...)...)
	c.cmd.Env, c.cmd.Dir = []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "LANG=C.UTF-8"}, dir
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	c.cmd.WaitDelay = time.Second
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		c.cmd.Wait() // done, where the test went well
		os.RemoveAll(dir)
	})
	return c
}

// read reads the stream of results as far as it has come.
func (c *call) read() (r report) {
	text, _ := os.ReadFile(c.file)
	for line := range bytes.Lines(text) {
		if err := json.Unmarshal(line, &r); err != nil {
			return report{} // half a line
		}
	}
	return r
}

// child waits for the run's init.
func (c *call) child(t *testing.T) int {
	t.Helper()
	until(t, callLimit, "a process of the run", func() bool { return c.read().Child > 0 })
	return c.read().Child
}

// end waits for the end of the call.
func (c *call) end(t *testing.T) result {
	t.Helper()
	err := c.cmd.Wait()
	c.cancel()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%q: %v", c.cmd.Args, err)
	}
	return result{status: c.cmd.ProcessState.ExitCode(), stdout: c.stdout.String(), stderr: c.stderr.String(), report: c.read()}
}

// sbx is a whole call.
func sbx(t *testing.T, uid uint32, words ...string) result {
	t.Helper()
	return start(t, uid, words...).end(t)
}

// want holds a call to its end by the daemon.
func (r result) want(t *testing.T, status int, outcome string) {
	t.Helper()
	if r.status != status || r.report.Outcome != outcome || r.report.Via != "daemon" {
		t.Errorf("want status %d, outcome %q, via \"daemon\"\n%s", status, outcome, r)
	}
}
