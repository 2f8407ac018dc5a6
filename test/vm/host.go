package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// exitHarness is the status for everything that is not the program's own:
// a crash of the guest, a timeout, something missing on the host.
const exitHarness = 125

// exitGrace lets a QEMU whose guest is gone end by itself, for the sake of its own
// exit status in the message.
const exitGrace = time.Second

// hostMain runs the program of args in a guest and returns the status to exit with.
func hostMain(args []string) int {
	o, err := parseOptions(args, os.Getenv, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmexec:", err)
		return exitHarness
	}
	runtime.LockOSThread() // QEMU dies with this thread, see machine.start
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("timeout of %v", o.timeout))
	defer cancel()
	status, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmexec:", err)
		return exitHarness
	}
	return status
}

// run prepares everything and runs the job once. It returns the program's
// exit status, or an error when there is none.
func run(ctx context.Context, o options) (int, error) {
	begin := time.Now()
	k, err := openKernel(o)
	if err != nil {
		return 0, err
	}
	qemu, err := findTool("qemu-system-x86_64")
	if err != nil {
		return 0, err
	}
	boot, err := bootImage(k, o.modules)
	if err != nil {
		return 0, err
	}
	if o.systemd {
		if err := addManager(boot, filepath.Join(o.cache, managerCache)); err != nil {
			return 0, err
		}
	}
	j, files, out, err := buildJob(o)
	if err != nil {
		return 0, err
	}
	m := machine{qemu: qemu, line: qemuLine(o, chooseAccel(o)), kernel: k.vmlinux, verbose: o.verbose}
	if m.initrd, err = packed("initrd", func(f *os.File) error { return boot.writeCpio(f) }, 0); err != nil {
		return 0, err
	}
	defer m.initrd.Close()
	if m.jobDisk, err = packed("job", func(f *os.File) error { return files.writeTar(f) }, jobDiskSize); err != nil {
		return 0, err
	}
	defer m.jobDisk.Close()
	if m.scratch, err = scratchDisk(o.scratch); err != nil {
		return 0, err
	}
	defer m.scratch.Close()
	say := func(format string, a ...any) {
		if o.verbose {
			fmt.Fprintf(os.Stderr, "vmexec: %.2fs: %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, a...))
		}
	}
	say("packed")
	if o.cold {
		status, _, err := m.runJob(ctx, j, out, say)
		return status, err
	}
	state, err := m.saved(ctx, filepath.Join(o.cache, "machines"))
	if err != nil {
		return 0, err
	}
	say("saved machine %s", state)
	status, started, err := m.runJob(ctx, j, out, say, "-incoming", "exec:cat "+shellQuote(state))
	if err == nil || started || ctx.Err() != nil {
		return status, err
	}
	// The program has not run: a saved machine that does not come up is worth
	// no more than its file, and a cold boot gives the same guest.
	fmt.Fprintln(os.Stderr, "vmexec: the saved machine did not come up, booting instead:", err)
	os.Remove(state)
	status, _, err = m.runJob(ctx, j, out, say)
	return status, err
}

// runJob starts a machine, hands it the job and waits for its end. Started says
// whether the guest has read the job, so that it must not be tried again.
func (m machine) runJob(ctx context.Context, j job, out outputs, say func(string, ...any), extra ...string) (status int, started bool, err error) {
	j.Now, j.Seed = time.Now().UnixNano(), make([]byte, 64)
	rand.Read(j.Seed)
	line, err := json.Marshal(j)
	if err != nil {
		return 0, false, err
	}
	var files bytes.Buffer
	r, err := m.start(ctx, sinks{stdout: os.Stdout, stderr: os.Stderr, files: &files}, extra...)
	if err != nil {
		return 0, false, err
	}
	// QEMU takes the line when the guest opens the port, so a long one must not
	// hold up the rest. An error here shows as a guest that never starts.
	go r.job.Write(append(line, '\n'))
	var end report
	for end.State != stateEnded && err == nil {
		if end, err = r.next(); err != nil {
			break
		}
		say("guest %s at its %.2fs", end.State, end.Uptime)
		switch end.State {
		case stateStarted:
			started = true
		case stateBroken:
			err = errors.New(end.Error)
		}
	}
	if err != nil {
		qerr := r.stop(exitGrace)
		return 0, started, crash(ctx, r, err, qerr)
	}
	// All that the program sent went through before "ended", since the guest's
	// writes wait for QEMU; what is left of QEMU is the reset.
	qerr := r.stop(0)
	say("qemu ended (%v), %.2fs of processor time", qerr, (r.cmd.ProcessState.UserTime() + r.cmd.ProcessState.SystemTime()).Seconds())
	return end.Exit, true, out.deliver(&files)
}

// crash says why there is no exit status, with the end of the console.
func crash(ctx context.Context, r *running, err, qemu error) error {
	switch cause := context.Cause(ctx); {
	case cause != nil:
		err = fmt.Errorf("killed the guest: %w", cause)
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("the guest ended without a result (QEMU: %v)", qemu)
	default:
		err = fmt.Errorf("guest: %w", err)
	}
	var more strings.Builder
	if said := strings.TrimSpace(r.said.String()); said != "" {
		fmt.Fprintf(&more, "\nQEMU said: %s", said)
	}
	if console := strings.TrimSpace(r.console.String()); console != "" {
		fmt.Fprintf(&more, "\nend of the console:\n%s", console)
	}
	return fmt.Errorf("%w%s", err, more.String())
}

// buildJob packs the program, its libraries, testdata and the extra files.
func buildJob(o options) (job, *archive, outputs, error) {
	fail := func(err error) (job, *archive, outputs, error) { return job{}, nil, outputs{}, err }
	cwd, err := os.Getwd()
	if err != nil {
		return fail(err)
	}
	prog, err := exec.LookPath(o.args[0])
	if err != nil {
		return fail(err)
	}
	args, out := redirect(o.args[1:], cwd, os.Getenv("GOCOVERDIR"))
	a := &archive{}
	for _, x := range append([]extraFile{{prog, guestProgram}}, o.files...) {
		if err := a.addExtra(x); err != nil {
			return fail(err)
		}
	}
	a.addDir(cwd, 0o755)
	testdata := filepath.Join(cwd, "testdata")
	if _, err := os.Stat(testdata); err == nil {
		if err := a.addTree(testdata, testdata); err != nil {
			return fail(err)
		}
	}
	return job{
		Args: append([]string{guestProgram}, args...),
		Env:  guestEnv(os.Environ()),
		Dir:  cwd,
		Dirs: append(out.guestDirs(), coverDir),
	}, a, out, nil
}

// guestEnv is the program's environment: of the host's only what steers tests.
// SBX_VM tells a test that it runs in a guest.
func guestEnv(host []string) []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "TMPDIR=/tmp", "USER=root", "LANG=C.UTF-8",
		"GOCOVERDIR=" + guestOut + "/" + coverDir,
		"SBX_VM=1",
	}
	for _, e := range host {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "SBX_") && name != "SBX_VM" || name == "GOTRACEBACK" || name == "GODEBUG" {
			env = append(env, e)
		}
	}
	return env
}
