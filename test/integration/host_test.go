package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// ordinary is the uid and gid of the ordinary user.
const ordinary = 1000

// host is one caller of sbx with directories of his own. Everything belongs to
// him but what a test gives away.
type host struct {
	who string // "root" or "user"
	uid int
	// base holds state, run, home, work, registry and policy.
	base string
	// registry is another one for the daemon than the host's own; "" is none.
	registry string
	runs     int
}

// callers are the users that this process can play.
func callers() []string {
	if os.Geteuid() == 0 {
		return []string{"root", "user"}
	}
	return []string{"user"}
}

// always are the tests that every caller runs in every guest: what ends a run,
// which is the kernel's doing, and differs between them.
const always = "TestViolation TestForeignABI TestRefusedNotKilled TestStatedLimit TestMemory TestProcesses TestForkBomb TestCPU TestTimeout TestDescriptorsAndCore TestEnd"

// each runs the test as every caller. In guests with SBX_TEST_SHARE above 1
// (make test) the callers take turns: a test is run by one of them, by the
// other one on the other kernel, and each day it is the other way round.
func each(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	needBinaries(t)
	who := callers()
	if share, _ := strconv.Atoi(os.Getenv("SBX_TEST_SHARE")); share > 1 && testenv.Guest() && !slices.Contains(strings.Fields(always), t.Name()) {
		sum := crc32.ChecksumIEEE([]byte(t.Name()))
		day := time.Now().Unix() / (24 * 60 * 60)
		i := (int(sum) + int(day) + testenv.Turn()) % len(who)
		who = who[i : i+1]
	}
	for _, who := range who {
		t.Run(who, func(t *testing.T) { test(t, newHost(t, who)) })
	}
}

func newHost(t testing.TB, who string) *host {
	t.Helper()
	dir := t.TempDir()
	// t.TempDir makes its parent for the caller alone.
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	h := &host{who: who, base: dir, uid: os.Geteuid()}
	if who == "user" && h.uid == 0 {
		h.uid = ordinary
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, h.uid, h.uid)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"state", "run", "home", "config", "work", "registry", "policy", "result"} {
		h.mkdir(t, name)
	}
	return h
}

func (h *host) path(name string) string { return filepath.Join(h.base, name) }

func (h *host) work() string { return h.path("work") }

// mkdir makes a directory of the caller's.
func (h *host) mkdir(t testing.TB, name string) string {
	t.Helper()
	path := h.path(name)
	if err := errors.Join(os.MkdirAll(path, 0o755), os.Chown(path, h.uid, h.uid)); err != nil {
		t.Fatal(err)
	}
	return path
}

// write makes a file of the caller's.
func (h *host) write(t testing.TB, name, text string, mode os.FileMode) string {
	t.Helper()
	path := h.path(name)
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode), os.Chown(path, h.uid, h.uid)); err != nil {
		t.Fatal(err)
	}
	return path
}

// policy writes a policy file and returns its path. ACT and BIN stand for the
// workload and its directory, WORK for the working directory.
func (h *host) policy(t testing.TB, name, text string) string {
	t.Helper()
	text = strings.NewReplacer("ACT", bin+"/act", "BIN", bin, "WORK", h.work()).Replace(text)
	return h.write(t, "policy/"+name+".yaml", text, 0o644)
}

// bundle writes a one-file bundle into the caller's registry. A violation kills
// the run and does nothing else.
func (h *host) bundle(t testing.TB, name, program, policy string) string {
	t.Helper()
	path := strings.ReplaceAll(name, ".", "/")
	if dir := filepath.Dir(path); dir != "." {
		h.mkdir(t, "registry/"+dir)
	}
	text := fmt.Sprintf("apiVersion: sbx/v1\nname: %s\nversion: 1.0.0\nsummary: a test\nexec: {path: %s, args: passthrough}\non_violation: kill\n", name, program)
	if policy != "" {
		text += "policy:\n  " + strings.ReplaceAll(policy, "\n", "\n  ") + "\n"
	}
	return h.write(t, "registry/"+path+".yaml", text, 0o644)
}

// call is one invocation of sbx. The zero value of every field but words
// means nothing special.
type call struct {
	verb  string   // "" is exec
	flags []string // before the name
	words []string // the name or the program, and its arguments
	env   []string // besides the caller's own
	dir   string   // "" is the work directory
	stdin io.Reader
	// wrap are arguments of the act "wrap", which changes what sbx inherits.
	wrap []string
	// sbx is another copy of the executable; "" is the one in bin.
	sbx string
	// plain leaves --result out.
	plain bool
	files []*os.File // descriptors from 3 on
	attr  syscall.SysProcAttr
	limit time.Duration // of the whole invocation; 0 is a minute
}

// result is what was seen of it.
type result struct {
	status         int // 128+n when sbx itself was killed by n
	stdout, stderr string
	took           time.Duration // as far as the machine had room for it
	report         *report
}

func (r result) String() string {
	text := fmt.Sprintf("status %d after %v\nstdout: %.1000s\nstderr: %.2000s", r.status, r.took, r.stdout, r.stderr)
	if r.report != nil {
		short := *r.report
		short.Layers = nil
		text += fmt.Sprintf("\nreport: %+v", short)
	}
	return text
}

// environ is the caller's whole environment.
func (h *host) environ(extra ...string) []string {
	return append([]string{
		"PATH=/usr/bin:/bin", "HOME=" + h.path("home"), "SBX_STATE=" + h.path("state"), "SBX_RUNTIME=" + h.path("run"),
		"XDG_CONFIG_HOME=" + h.path("config"), "XDG_STATE_HOME=" + h.path("state"), "XDG_RUNTIME_DIR=" + h.path("run"),
		"LANG=C.UTF-8", "TMPDIR=" + h.path("home"), "SBX_WEAK=" + os.Getenv("SBX_WEAK"), // test/weak; no release build looks at it
	}, extra...)
}

// command prepares an invocation; resultFile is empty when there is none.
func (h *host) command(ctx context.Context, c call) (cmd *exec.Cmd, resultFile string) {
	line := []string{bin + "/sbx", "exec"}
	if c.verb != "" {
		line[1] = c.verb
	}
	if c.sbx != "" {
		line[0] = c.sbx
	}
	if !c.plain {
		h.runs++
		resultFile = h.path("result/" + strconv.Itoa(h.runs))
		line = append(line, "--result", resultFile)
	}
	line = append(line, c.flags...)
	if c.verb == "" || c.verb == "exec" {
		line = append(line, "--")
	}
	line = append(line, c.words...)
	if len(c.wrap) > 0 {
		line = append(append(append([]string{bin + "/act", "wrap"}, c.wrap...), "--"), line...)
	}
	cmd = exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.ExtraFiles = h.environ(c.env...), c.dir, c.stdin, c.files
	if cmd.Dir == "" {
		cmd.Dir = h.work()
	}
	attr := c.attr
	if h.uid != os.Geteuid() {
		attr.Credential = &syscall.Credential{Uid: uint32(h.uid), Gid: uint32(h.uid)}
	}
	cmd.SysProcAttr = &attr
	return cmd, resultFile
}

// run carries it out to the end.
func (h *host) run(t testing.TB, c call) result {
	t.Helper()
	r, err := h.try(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// try is run for goroutines that may not end the test.
func (h *host) try(c call) (result, error) {
	if c.limit == 0 {
		c.limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), slow(c.limit))
	defer cancel()
	cmd, file := h.command(ctx, c)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Output that is still held open when sbx has ended is cut off after a
	// while, and the error says so.
	cmd.WaitDelay = slow(10 * time.Second)
	watch := testenv.Begin()
	err := cmd.Run()
	r := result{stdout: stdout.String(), stderr: stderr.String(), took: watch.Took()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return r, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:2], " "), err, r)
	}
	r.status = statusOf(cmd.ProcessState)
	if ctx.Err() != nil {
		return r, fmt.Errorf("%q did not end within %v\n%s", cmd.Args, slow(c.limit), r)
	}
	if file == "" {
		return r, nil
	}
	r.report, err = readReport(file)
	return r, err
}

func statusOf(p *os.ProcessState) int {
	if ws := p.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.ExitCode()
}

// act is an invocation of the workload under a policy: "" is base.
func (h *host) act(policy string, args ...string) call {
	c := call{words: append([]string{bin + "/act"}, args...)}
	if policy != "" {
		c.flags = []string{"--policy", policy}
	}
	return c
}
