package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// guestHostname is told to the guest's kernel and its /etc.
const guestHostname = "sbxtest"

// leftoverGrace is how long orphans of the program may go on after its end to
// finish what they write. Then everything but init is killed.
const leftoverGrace = time.Second

// guestMain is process 1 of the guest. It does not return.
func guestMain() {
	g := guest{}
	g.end(g.run())
}

// end tells of an error and resets the machine. It does not return.
func (g *guest) end(err error) {
	if err != nil {
		g.report(report{State: stateBroken, Error: err.Error()})
		// The console too: there may be no port yet.
		fmt.Fprintln(os.Stderr, "vmexec:", err)
	}
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	for {
		unix.Pause()
	}
}

// guest is what init keeps. The files are the host's ports.
type guest struct {
	ports map[string]*os.File
	// leaf is the control group in which the program starts; "" is init's own.
	leaf string
}

// report tells the host; the write waits until QEMU has taken it.
func (g *guest) report(r report) {
	r.Uptime = uptime().Seconds()
	if f := g.ports[portResult]; f != nil {
		json.NewEncoder(f).Encode(r)
	}
}

// run brings the guest up and works, or has systemd do the rest.
func (g *guest) run() error {
	if err := mountFirst(); err != nil {
		return err
	}
	if err := loadModules(guestModules); err != nil {
		return err
	}
	managed := hasManager()
	var err error
	if !managed { // else the service opens them: a port takes one at a time
		if g.ports, err = openPorts(ports); err != nil {
			return err
		}
	}
	if err := parentRoot(); err != nil {
		return err
	}
	if err := mountAll(); err != nil {
		return err
	}
	if err := settle(); err != nil {
		return err
	}
	if managed {
		return becomeManager()
	}
	if err := delegate(); err != nil {
		return err
	}
	g.leaf = guestLeaf
	return g.work()
}

// work takes one job and carries it out. The saved machine is taken in the
// middle, right after "ready".
func (g *guest) work() error {
	g.report(report{State: stateReady})
	j, err := readJob(g.ports[portJob])
	if err != nil {
		return err
	}
	g.report(report{State: stateStarted})
	if err := prepare(j); err != nil {
		return err
	}
	exit, err := g.runProgram(j)
	if err != nil {
		return err
	}
	if err := sendFiles(g.ports[portFiles], guestOut); err != nil {
		return err
	}
	g.report(report{State: stateEnded, Exit: exit})
	return nil
}

// runProgram runs the job's program and returns its status, 128+n
// after signal n. Its output goes through pipes, as a shell would give it, and
// not through the ports themselves, which cannot be opened twice.
func (g *guest) runProgram(j job) (int, error) {
	attr := &syscall.SysProcAttr{Setsid: true}
	if g.leaf != "" {
		leaf, err := os.Open(g.leaf)
		if err != nil {
			return 0, err
		}
		defer leaf.Close()
		attr.UseCgroupFD, attr.CgroupFD = true, int(leaf.Fd())
	}
	stdout, outDone, err := pump(g.ports[portStdout])
	if err != nil {
		return 0, err
	}
	stderr, errDone, err := pump(g.ports[portStderr])
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(j.Args[0], j.Args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = j.Env, j.Dir, stdout, stderr
	cmd.SysProcAttr = attr
	err = cmd.Start()
	stdout.Close()
	stderr.Close()
	if err != nil {
		return 0, fmt.Errorf("start the program: %w", err)
	}
	exit, err := reapUntil(cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	late := time.AfterFunc(leftoverGrace, func() { unix.Kill(-1, unix.SIGKILL) })
	defer late.Stop()
	<-outDone
	<-errDone
	return exit, nil
}

// reapUntil reaps whatever ends, as process 1 must, until pid does. Nothing
// else in this process waits for children, so no status can be taken away.
func reapUntil(pid int) (int, error) {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait4: %w", err)
		case got != pid:
		case ws.Signaled():
			return 128 + int(ws.Signal()), nil
		default:
			return ws.ExitStatus(), nil
		}
	}
}

// uptime is the time since the kernel started, that of a saved machine's first
// life included.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
