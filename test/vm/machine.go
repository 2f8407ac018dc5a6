package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// machine is the blueprint of a guest: what QEMU is started with.
type machine struct {
	qemu    string   // its path
	line    []string // arguments, without the kernel
	kernel  string   // ELF image
	initrd  *os.File
	jobDisk *os.File
	scratch *os.File
	verbose bool
}

// sinks take what the guest sends. Nil means nowhere.
type sinks struct{ stdout, stderr, files io.Writer }

// running is a started QEMU.
type running struct {
	cmd     *exec.Cmd
	reports *json.Decoder // of the port "result"
	job     *os.File      // our ends of the sockets
	qmp     *os.File
	result  *os.File
	console tail
	said    bytes.Buffer // by QEMU itself; read it after wait
	copies  sync.WaitGroup
}

// start runs QEMU with extra arguments. The end of ctx kills it.
// Preconditions: the caller's OS thread is locked, because the parent-death
// signal, which keeps a killed vmexec from leaving QEMU behind, is bound to it
// (PR_SET_PDEATHSIG in prctl(2)).
func (m machine) start(ctx context.Context, to sinks, extra ...string) (*running, error) {
	args := append(append([]string{"-kernel", m.kernel}, m.line...), extra...)
	r := &running{cmd: exec.CommandContext(ctx, m.qemu, args...)}
	r.cmd.ExtraFiles = []*os.File{m.initrd, m.jobDisk, m.scratch}
	r.cmd.Stdout, r.cmd.Stderr = &r.said, &r.said
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r.cmd.WaitDelay = 2 * time.Second // a helper of QEMU's may hold its output open
	if m.verbose {
		fmt.Fprintln(os.Stderr, "vmexec:", m.qemu, strings.Join(args, " "))
	}
	var theirs, ours []*os.File
	defer func() { closeAll(theirs) }()
	for range 2 + len(ports) {
		our, their, err := socketpair()
		if err != nil {
			closeAll(ours)
			return nil, err
		}
		ours, theirs = append(ours, our), append(theirs, their)
	}
	r.cmd.ExtraFiles = append(r.cmd.ExtraFiles, theirs...)
	if err := r.cmd.Start(); err != nil {
		closeAll(ours)
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	r.drain(&r.console, ours[0])
	r.qmp = ours[fdQMP-fdConsole]
	for i, name := range ports {
		our := ours[fdPorts-fdConsole+i]
		switch name {
		case portResult:
			r.result, r.reports = our, json.NewDecoder(our)
		case portJob:
			r.job = our
		case portStdout:
			r.drain(to.stdout, our)
		case portStderr:
			r.drain(to.stderr, our)
		case portFiles:
			r.drain(to.files, our)
		}
	}
	return r, nil
}

// drain copies all that comes from f to w until QEMU closes its end.
func (r *running) drain(w io.Writer, f *os.File) {
	if w == nil {
		w = io.Discard
	}
	r.copies.Go(func() {
		defer f.Close()
		// When w breaks the guest must not stall: keep reading.
		if _, err := io.Copy(w, f); err != nil {
			io.Copy(io.Discard, f)
		}
	})
}

// stop kills QEMU when it still runs after a grace, and waits until everything
// that it sent is copied. It returns how QEMU ended.
func (r *running) stop(grace time.Duration) error {
	late := time.AfterFunc(grace, func() { r.cmd.Process.Kill() })
	defer late.Stop()
	err := r.cmd.Wait()
	r.copies.Wait()
	closeAll([]*os.File{r.job, r.qmp, r.result})
	return err
}

// next returns the guest's next report. io.EOF means that QEMU is gone.
func (r *running) next() (report, error) {
	var rep report
	err := r.reports.Decode(&rep)
	if errors.Is(err, unix.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return rep, err
}

// socketpair returns two connected stream sockets, ours for Go's poller.
func socketpair() (our, their *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, fmt.Errorf("socketpair: set nonblocking: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "port"), os.NewFile(uintptr(fds[1]), "port of QEMU"), nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
