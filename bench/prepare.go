package main

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/sbx-project/sbx/internal/syscalls"
)

//go:embed bench.yaml
var policyText []byte

//go:embed src/true.c src/hold.c src/filter.c src/probe.c
var sources embed.FS

// emptyGo is the program that `sbx version` is compared to.
const emptyGo = "package main\n\nfunc main() {}\n"

// command is one thing that is measured.
type command struct {
	name string
	argv []string
	env  []string
	// fd3 is a file that the command reads as descriptor 3, opened anew for
	// each run; empty for none.
	fd3 string
	// problem says why it cannot be measured; nil when it can.
	problem error
}

// kit is what prepare made.
type kit struct {
	commands []*command
	// bwrap and sbx give the command that launches a program.
	bwrap, sbx func(program string) *command
	probe      string
	// calls is how many calls bubblewrap's filter allows, insns how many
	// instructions it has.
	calls, insns int
	// notes are remarks of the tools that made the kit.
	notes []string
	dir   string
	// filters are nil when filterProblem says why they cannot be made.
	filters       *filters
	filterProblem error
	site          *site
	truth         string
	// figures are what is measured in other ways than by rounds, by the name
	// of the row.
	figures map[string]*figure
	daemon  int // its pid
	// stop ends the daemon.
	stop func() error
}

// The names of what is measured.
const (
	nameNone    = "fork and exec alone"
	nameBwrap   = "bubblewrap"
	nameExec    = "sbx exec"
	nameRun     = "sbx run"
	nameEmpty   = "empty Go program"
	nameVersion = "sbx version"
)

// prepare builds the programs, the filter, the policy and the registry in dir.
func prepare(dir string, o options) (*kit, error) {
	truth := filepath.Join(dir, "true")
	k := &kit{dir: dir, probe: filepath.Join(dir, "probe"), truth: truth, figures: map[string]*figure{}}
	if err := k.compile("true", "-nostdlib", "-static", "-Wl,--build-id=none"); err != nil {
		return nil, err
	}
	if err := k.compile("hold", "-nostdlib", "-static", "-Wl,--build-id=none"); err != nil {
		return nil, err
	}
	if err := k.compile("probe", "-static"); err != nil {
		return nil, err
	}
	if err := k.compile("filter", "-lseccomp"); err != nil {
		return nil, err
	}
	filter, err := k.filter()
	if err != nil {
		return nil, err
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty+".go", []byte(emptyGo), 0o644); err != nil {
		return nil, err
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", empty, empty+".go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	build.Dir = dir
	if _, err := output(build); err != nil {
		return nil, err
	}
	policy := filepath.Join(dir, "bench.yaml")
	if err := os.WriteFile(policy, policyText, 0o644); err != nil {
		return nil, err
	}
	sbx, err := filepath.Abs(o.sbx)
	if err != nil {
		return nil, err
	}
	if k.site, err = newSite(dir, sbx); err != nil {
		return nil, err
	}
	if err := k.site.put("noop", noop("noop", "1.0.0", truth)); err != nil {
		return nil, err
	}
	hold := noop("hold", "1.0.0", filepath.Join(dir, "hold")) + "  limits: {timeout: 10m}\n"
	if err := k.site.put("hold", hold); err != nil {
		return nil, err
	}
	bwrap, err := exec.LookPath(o.bwrap)
	if err != nil {
		return nil, err
	}
	env := k.site.env
	k.bwrap = func(program string) *command {
		return &command{name: nameBwrap, argv: bwrapArgs(bwrap, program, o.binds), env: env, fd3: filter}
	}
	k.sbx = func(program string) *command {
		return &command{name: nameExec, argv: []string{sbx, "exec", "--direct", "--policy", policy, "--", program}, env: env}
	}
	daemon, err := k.site.serve()
	if err != nil {
		return nil, err
	}
	k.stop, k.daemon = daemon.stop, daemon.cmd.Process.Pid
	k.filters, k.filterProblem = makeFilters(truth)
	k.commands = []*command{
		{name: nameNone, argv: []string{truth}, env: env},
		k.bwrap(truth),
		k.sbx(truth),
		{name: nameRun, argv: []string{sbx, "run", "--direct", "noop"}, env: env},
		{name: nameWarm, argv: []string{sbx, "run", "noop"}, env: env},
		{name: nameEmpty, argv: []string{empty}, env: env},
		{name: nameVersion, argv: []string{sbx, "version"}, env: env},
	}
	return k, nil
}

// compile builds src/NAME.c to NAME.
func (k *kit) compile(name string, flags ...string) error {
	source, err := sources.ReadFile("src/" + name + ".c")
	if err != nil {
		return err
	}
	path := filepath.Join(k.dir, name)
	if err := os.WriteFile(path+".c", source, 0o644); err != nil {
		return err
	}
	_, err = output(exec.Command("gcc", append([]string{"-O1", "-Wall", "-o", path, path + ".c"}, flags...)...))
	return err
}

// filter writes bubblewrap's program: the calls that the policy's "@known"
// opens, which leaves out the guarded ones. execve is among them, as sbx lets
// its one exec pass by other means.
func (k *kit) filter() (string, error) {
	names, ok := syscalls.Group("@known")
	if !ok {
		return "", fmt.Errorf("bug: no group %q", "@known")
	}
	var numbers bytes.Buffer
	for _, name := range names {
		if nr, ok := syscalls.Number(runtime.GOARCH, name); ok {
			fmt.Fprintln(&numbers, nr)
			k.calls++
		}
	}
	cmd := exec.Command(filepath.Join(k.dir, "filter"))
	cmd.Stdin = &numbers
	var remarks bytes.Buffer
	cmd.Stderr = &remarks
	program, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build the filter: %w: %s", err, remarks.String())
	}
	if s := strings.TrimSpace(remarks.String()); s != "" {
		k.notes = append(k.notes, "filter: "+s)
	}
	const insnSize = 8
	k.insns = len(program) / insnSize
	path := filepath.Join(k.dir, "filter.bpf")
	return path, os.WriteFile(path, program, 0o644)
}

// noop is a bundle of a program under the measured policy.
func noop(name, version, program string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: sbx/v1\nname: %s\nversion: %s\nexec: {path: %s, args: passthrough}\npolicy:\n", name, version, program)
	for line := range strings.Lines(string(policyText)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		b.WriteString("  " + line)
	}
	return b.String()
}

// bwrapArgs is bubblewrap doing what sbx does by default: the same namespaces,
// a tmpfs root, /proc, a minimal /dev, tmpfs on /tmp, /usr read-only, no
// capabilities, no_new_privs (always), own session, empty environment.
func bwrapArgs(bwrap, program string, binds bool) []string {
	args := []string{
		bwrap,
		"--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup",
		"--uid", "1000", "--gid", "1000", "--hostname", "sbx",
		"--ro-bind", "/usr", "/usr",
	}
	for _, name := range []string{"/bin", "/lib", "/lib64"} {
		target, err := os.Readlink(name)
		switch {
		case err == nil && !binds:
			args = append(args, "--symlink", target, name)
		default:
			args = append(args, "--ro-bind-try", name, name)
		}
	}
	return append(args,
		"--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
		// The program lies below /tmp, which is covered now.
		"--ro-bind", program, program,
		"--cap-drop", "ALL", "--new-session", "--die-with-parent", "--clearenv", "--chdir", "/tmp",
		"--seccomp", "3",
		"--", program)
}

// output runs a tool and gives its standard output; what it complained about
// is in the error.
func output(cmd *exec.Cmd) (string, error) {
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	text, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return strings.TrimSpace(string(text)), nil
}
