package agree_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/internal/testenv"
)

// caller is one user of sbx with directories of his own.
type caller struct {
	who  string // "root" or "user"
	uid  int
	base string
	tree *tree
	runs int
}

// environ is his whole environment.
func (c *caller) environ() []string {
	return []string{
		"PATH=/usr/bin:/bin", "HOME=" + c.base, "SBX_STATE=" + c.base + "/state", "SBX_RUNTIME=" + c.base + "/run",
		"LANG=C.UTF-8", "LC_TIME=de_DE", "LC_=odd", "TZ=Asia/Tokyo", "TERM=dumb", "AGREE_ONE=1", "AGREE_TWO=two words=2", "SECRET=no",
	}
}

// callers are the users that this process can play.
func callers(t *testing.T) []*caller {
	t.Helper()
	uids := map[string]int{"user": os.Geteuid()}
	names := []string{"user"}
	if os.Geteuid() == 0 {
		uids, names = map[string]int{"root": 0, "user": ordinary}, []string{"root", "user"}
	}
	var out []*caller
	for _, who := range names {
		owner := ordinary
		if os.Geteuid() != 0 {
			owner = os.Geteuid()
		}
		c := &caller{who: who, uid: uids[who], base: t.TempDir(), tree: newTree(t, owner)}
		err := errors.Join(os.Chmod(c.base, 0o755), os.Chown(c.base, c.uid, c.uid))
		for _, name := range []string{"state", "run", "policy", "result"} {
			p := filepath.Join(c.base, name)
			err = errors.Join(err, os.Mkdir(p, 0o755), os.Chown(p, c.uid, c.uid))
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// policy writes a policy file and returns its path.
func (c *caller) policy(t *testing.T, g generated) string {
	t.Helper()
	p := c.base + "/policy/" + g.name + ".yaml"
	if err := errors.Join(os.WriteFile(p, []byte(g.text), 0o644), os.Chown(p, c.uid, c.uid)); err != nil {
		t.Fatal(err)
	}
	return p
}

// kept reads the plan that sbx keeps for a policy and the probe. It is read
// as the file that it is: this process may be another user than its owner.
func (c *caller) kept(policy string) (*plan.Plan, error) {
	text, err := os.ReadFile(state.ExecPath(c.base+"/state", policy, ctl.ProgramKey(c.tree.path("cwd"), bin+"/probe")))
	if err != nil {
		return nil, err
	}
	return plan.Decode(text)
}

// violation is one of the report.
type violation struct {
	Syscall string    `json:"syscall"`
	NR      int32     `json:"nr"`
	Arch    string    `json:"arch"`
	Args    [6]uint64 `json:"args"`
}

// result is what was seen of one run.
type result struct {
	status         int
	stdout, stderr string
	ExitCode       int         `json:"exit-code"`
	Outcome        string      `json:"outcome"`
	Violations     []violation `json:"violations"`
}

func (r result) String() string {
	return fmt.Sprintf("status %d, exit-code %d, outcome %q, violations %+v\nstderr: %.500s\nstdout: %.500s", r.status, r.ExitCode, r.Outcome, r.Violations, r.stderr, r.stdout)
}

// runLimit bounds one run; an emulated processor takes ten times as long.
func runLimit() time.Duration {
	if testenv.Guest() {
		return 120 * time.Second
	}
	return 20 * time.Second
}

// sandboxed runs the probe under a policy.
func (c *caller) sandboxed(policy string, words ...string) (result, error) {
	c.runs++
	file := c.base + "/result/" + strconv.Itoa(c.runs)
	defer os.Remove(file)
	args := append([]string{bin + "/sbx", "exec", "--direct", "--result", file, "--policy", policy, "--", bin + "/probe"}, words...)
	r, err := c.start(c.uid, args)
	if err != nil {
		return r, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return r, fmt.Errorf("%w\n%s", err, r)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		return r, fmt.Errorf("report %q: %w", text, err)
	}
	if r.ExitCode != r.status {
		return r, fmt.Errorf("the report's exit-code is not the status\n%s", r)
	}
	return r, nil
}

// bare runs the probe without a sandbox, as an ordinary user.
func (c *caller) bare(items []string) (result, error) {
	uid := ordinary
	if os.Geteuid() != 0 {
		uid = os.Geteuid()
	}
	return c.start(uid, append([]string{bin + "/probe", "bare"}, items...))
}

func (c *caller) start(uid int, args []string) (result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), runLimit())
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Dir = c.environ(), c.tree.path("cwd")
	if uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, time.Second
	err := cmd.Run()
	r := result{stdout: stdout.String(), stderr: stderr.String()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return r, fmt.Errorf("%q: %w", args[:2], err)
	}
	if ctx.Err() != nil {
		return r, fmt.Errorf("%q did not end within %v", args[:2], runLimit())
	}
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		r.status = 128 + int(ws.Signal())
	} else {
		r.status = ws.ExitStatus()
	}
	return r, nil
}

// answer is what the probe says of one item.
type answer struct {
	errno unix.Errno
	text  string
}

// answers reads the probe's output: "#INDEX [TEXT] !ERRNO" for each item.
func answers(stdout string, n int) ([]answer, error) {
	out := make([]answer, n)
	next := 0
	for _, part := range strings.Split(stdout, "\n#") {
		part = strings.TrimPrefix(strings.TrimSuffix(part, "\n"), "#")
		head, errno, ok := cutLast(part, " !")
		index, text, _ := strings.Cut(head, " ")
		if first, rest, lines := strings.Cut(head, "\n"); lines {
			index, text = first, rest
		}
		i, err := strconv.Atoi(index)
		value, err2 := strconv.Atoi(errno)
		if !ok || err != nil || err2 != nil || i != next || i >= n {
			return nil, fmt.Errorf("the probe's line %d is %q", next, part)
		}
		out[i] = answer{unix.Errno(value), text}
		next++
	}
	if next != n {
		return nil, fmt.Errorf("the probe answered %d of %d items", next, n)
	}
	return out, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
