package hostile_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// slow multiplies every deadline: emulated guests are ten times slower.
func slow(d time.Duration) time.Duration {
	if os.Getenv("SBX_TEST_SLOW") != "" || testenv.Guest() {
		return 10 * d
	}
	return d
}

func credential(id uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id, Groups: []uint32{id}}}
}

// caller is who starts sbx, and under which variant of the policy.
type caller struct {
	name string
	uid  uint32
	// verdict is the policy's syscalls.default. With errno an act that tries
	// several ways reaches all of them.
	verdict string
	// nouserns: user namespaces are disabled meanwhile.
	nouserns bool
}

// suite is a fixture with its policies and one caller.
type suite struct {
	*fixture
	caller
	sbx    string
	policy string
	next   atomic.Int64
	// unwritten counts the acts whose preparation a read-only tree refused.
	unwritten int
}

func newSuite(t *testing.T, sbx string, c caller) *suite {
	t.Helper()
	s := &suite{fixture: newFixture(t), caller: c}
	for _, name := range []string{"sbx", "sbxd"} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(sbx), name))
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(s.bin, name)
		if err := os.WriteFile(copied, text, 0o755); err != nil {
			t.Fatal(err)
		}
		s.tool = append(s.tool, copied)
	}
	s.sbx = s.tool[0]
	text, err := os.ReadFile("testdata/honest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.policy = filepath.Join(s.base, "policy.yaml")
	replace := []string{`"RO"`, fmt.Sprintf("%q", s.ro), `"RW"`, fmt.Sprintf("%q", s.rw), "default: kill", "default: " + c.verdict}
	if c.nouserns {
		// A tree of another user cannot be mapped there: it is read.
		replace = append(replace, `["RO"]`, fmt.Sprintf("[%q, %q]", s.ro, s.rw), `["RW"]`, "[]")
	}
	policy := strings.NewReplacer(replace...).Replace(string(text))
	if err := os.WriteFile(s.policy, []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

// options of one run.
type options struct {
	flags []string // of sbx exec
	wrap  []string // "hostile +MODE ..." in front of sbx, without "--"
	args  []string // of the act, besides the fixture's
	plain bool     // nothing but args
	stdin io.Reader
	dir   string
	files []*os.File
	// stdout is a file of the caller's, opened for appending; what it holds
	// after the run is the result's stdout.
	stdout *os.File
}

// result is one run as seen from outside.
type result struct {
	status         int
	stdout, stderr string
	report         map[string]any // last line of --result; nil when there was none
	took           time.Duration
	timedOut       bool
}

func (r result) outcome() string { s, _ := r.report["outcome"].(string); return s }

// violation is the name of the call that was refused, or "".
func (r result) violation() string {
	list, _ := r.report["violations"].([]any)
	if len(list) == 0 {
		return ""
	}
	v, _ := list[0].(map[string]any)
	if name, _ := v["syscall"].(string); name != "" {
		return name
	}
	return fmt.Sprint(v["nr"])
}

// command builds the command line of one act and the path of its result.
func (s *suite) command(ctx context.Context, act string, o options) (*exec.Cmd, string) {
	report := filepath.Join(s.home, fmt.Sprintf("result-%d", s.next.Add(1)))
	line := []string{}
	for _, w := range o.wrap {
		if w == "--" {
			line = append(line, "--", s.self)
			continue
		}
		line = append(line, w)
	}
	if len(line) > 0 {
		line = append([]string{s.self}, append(line, "--")...)
	}
	if len(line) > 0 && s.uid != 0 && os.Geteuid() == 0 {
		// The wrapper needs the superuser; sbx itself must not have him.
		line = append(line, s.self, "+as", fmt.Sprint(s.uid), "--")
	}
	line = append(line, s.sbx, "exec", "--policy", s.policy)
	// With a descriptor a run like an earlier one is launched before Go's
	// runtime starts (internal/early), with a file never. So every act goes
	// both ways, by one or the other variant of the policy.
	files := o.files
	if s.verdict == "kill" && len(o.wrap) == 0 {
		f, err := os.Create(report)
		if err != nil {
			panic(err) // run reads it: there is nothing to judge without
		}
		files = append(slices.Clone(files), f)
		line = append(line, "--status-fd", fmt.Sprint(2+len(files)))
	} else {
		line = append(line, "--result", report)
	}
	line = append(line, o.flags...)
	line = append(line, "--", s.self, act)
	if !o.plain {
		line = append(line, s.told()...)
	}
	line = append(line, o.args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = s.environ()
	cmd.Dir = s.out
	if o.dir != "" {
		cmd.Dir = o.dir
	}
	cmd.Stdin = o.stdin
	cmd.ExtraFiles = files
	if len(o.wrap) == 0 && s.uid != 0 && os.Geteuid() == 0 {
		cmd.SysProcAttr = credential(s.uid)
	}
	return cmd, report
}

// start starts what command built from o, and closes what it opened for that.
func start(cmd *exec.Cmd, o options) error {
	err := cmd.Start()
	for _, f := range cmd.ExtraFiles[len(o.files):] {
		f.Close()
	}
	return err
}

// environ is a caller's environment with things that must not come through.
func (s *suite) environ() []string {
	return []string{
		"PATH=/hostile-path:/usr/bin:/bin", "HOME=" + s.home, "HOSTILE_SECRET=canary-of-the-caller", "SUDO_USER=canary",
		"LD_PRELOAD=", "SSH_AUTH_SOCK=/tmp/agent", "XDG_STATE_HOME=" + s.home + "/state", "XDG_RUNTIME_DIR=" + s.home + "/run",
		"XDG_CONFIG_HOME=" + s.home + "/config", "SBX_STATE=" + s.home + "/sbx-state-" + s.name, "SBX_RUNTIME=" + s.home + "/sbx-run-" + s.name,
		"SBX_WEAK=" + os.Getenv("SBX_WEAK"), // test/weak; no release build looks at it
	}
}

// run starts one act and waits for it.
func (s *suite) run(t *testing.T, act string, o options) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), slow(40*time.Second))
	defer cancel()
	cmd, report := s.command(ctx, act, o)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if o.stdout != nil {
		cmd.Stdout = o.stdout
	}
	cmd.WaitDelay = slow(5 * time.Second)
	begin := time.Now()
	err := start(cmd, o)
	if err == nil {
		err = cmd.Wait()
	}
	r := result{stdout: stdout.String(), stderr: stderr.String(), took: time.Since(begin), timedOut: ctx.Err() != nil}
	if o.stdout != nil {
		text, err := os.ReadFile(o.stdout.Name())
		if err != nil {
			t.Fatal(err)
		}
		r.stdout = string(text)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("%s: %v", act, err)
	}
	r.status = cmd.ProcessState.ExitCode()
	r.report = readReport(report)
	os.Remove(report)
	return r
}

// readReport is the last object of a result stream.
func readReport(path string) map[string]any {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var last map[string]any
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var v map[string]any
		if json.Unmarshal(scan.Bytes(), &v) == nil && v["outcome"] != nil {
			last = v
		}
	}
	return last
}

// standing is the verdict on one act.
type standing int

const (
	broken  standing = iota // the act could not be tried
	held                    // refused
	through                 // it got through
)

func (s standing) String() string { return [...]string{"broken", "held", "THROUGH"}[s] }

// lastLine is the last line of text that begins with prefix, without it.
func lastLine(text, prefix string) (string, bool) {
	found, ok := "", false
	for line := range strings.Lines(text) {
		if rest, has := strings.CutPrefix(strings.TrimRight(line, "\r\n"), prefix); has {
			found, ok = rest, true
		}
	}
	return found, ok
}

// judge reads what an act said and how its run ended.
func (r result) judge(a act) (standing, string) {
	if r.timedOut {
		return through, "sbx did not end the run"
	}
	if what, ok := lastLine(r.stdout, "THROUGH: "); ok {
		return through, what
	}
	if what, ok := lastLine(r.stdout, "BROKEN: "); ok {
		return broken, what
	}
	_, tried := lastLine(r.stdout, "TRY: ")
	what, said := lastLine(r.stdout, "HELD: ")
	outcome := r.outcome()
	switch {
	case said && r.status == 0 && (outcome == "ok" || outcome == ""):
		return held, what
	case outcome == "violation" && r.status == 159 && tried:
		return held, "violation: " + r.violation()
	case tried && outcome == "signal" && r.status == 159:
		// SIGSYS: the kernel killed it. TestForeignABI asks for the outcome.
		return held, "killed by SIGSYS"
	case outcome == "violation" && r.status == 159:
		return broken, "violation before the act: " + r.violation()
	case tried && a.ends != "" && strings.Contains(a.ends, outcome) && outcome != "":
		return held, "outcome " + outcome
	case outcome == "refused" && a.ends != "" && strings.Contains(a.ends, "refused"):
		return held, "outcome refused"
	}
	return broken, fmt.Sprintf("status %d, outcome %q, stdout %.200q, stderr %.300q", r.status, outcome, r.stdout, r.stderr)
}

// tally counts the verdicts for the summary.
var tally struct {
	mu    sync.Mutex
	count map[string]map[byte][3]int
	notes []string
}

func record(who string, a act, s standing, what string) {
	tally.mu.Lock()
	defer tally.mu.Unlock()
	if tally.count == nil {
		tally.count = map[string]map[byte][3]int{}
	}
	if tally.count[who] == nil {
		tally.count[who] = map[byte][3]int{}
	}
	row := tally.count[who][a.class]
	row[s]++
	tally.count[who][a.class] = row
	if s != held {
		tally.notes = append(tally.notes, fmt.Sprintf("%-7s %s %02d/%s [%c]: %s", s, who, a.line, a.name, a.class, what))
	}
}
