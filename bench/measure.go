package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// runLimit ends a command that hangs; a healthy one takes milliseconds.
const runLimit = 20 * time.Second

// files are the descriptors of every command.
type files struct {
	null *os.File
	// errors takes what a command complains about; only try reads it.
	errors *os.File
}

// once runs a command and gives the wall time from before the fork to after
// wait4, or why it did not end with status 0.
func once(c *command, f files) (time.Duration, error) {
	// As they are in a shell: 0, 1 and 2, and the filter as 3, read from its
	// beginning.
	fds := []uintptr{f.null.Fd(), f.null.Fd(), f.errors.Fd()}
	if c.fd3 != "" {
		file, err := os.Open(c.fd3)
		if err != nil {
			return 0, err
		}
		defer file.Close()
		fds = append(fds, file.Fd())
	}
	attr := &syscall.ProcAttr{Env: c.env, Files: fds, Dir: "/"}
	var status syscall.WaitStatus
	began := time.Now()
	pid, err := syscall.ForkExec(c.argv[0], c.argv, attr)
	if err != nil {
		return 0, &os.PathError{Op: "exec", Path: c.argv[0], Err: err}
	}
	// The pid is ours until wait4 returns, and the timer is stopped then.
	limit := time.AfterFunc(runLimit, func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	for {
		_, err = syscall.Wait4(pid, &status, 0, nil)
		if err != syscall.EINTR {
			break
		}
	}
	took := time.Since(began)
	limit.Stop()
	switch {
	case err != nil:
		return 0, os.NewSyscallError("wait4", err)
	case status.Signaled():
		return 0, fmt.Errorf("killed by %v", status.Signal())
	case status.ExitStatus() != 0:
		return 0, fmt.Errorf("exit status %d", status.ExitStatus())
	}
	return took, nil
}

// try runs a command once and gives the first line of its complaint as the
// reason when it does not work.
func try(c *command) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	complaint, err := os.CreateTemp("", "sbx-bench-stderr-")
	if err != nil {
		return err
	}
	defer complaint.Close()
	defer os.Remove(complaint.Name())
	if _, err = once(c, files{null: null, errors: complaint}); err == nil {
		return nil
	}
	text, readErr := io.ReadAll(io.NewSectionReader(complaint, 0, 4096))
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if first, _, _ := strings.Cut(string(text), "\n"); first != "" {
		return fmt.Errorf("%w: %s", err, first)
	}
	return err
}

// results holds the time of each command in each round, by name. A command
// that failed once is gone: it has a problem instead.
type results map[string][]time.Duration

// measure runs every command that works once in each round, in another order
// each time, so that whatever else the machine does meets all of them alike.
func measure(commands []*command, o options) (results, error) {
	// One thread does all forks, and the collector stays out of it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	seed := o.seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	random := rand.New(rand.NewPCG(seed, 0))
	all := results{}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	for range o.rounds {
		runtime.GC()
		for _, i := range random.Perm(len(commands)) {
			c := commands[i]
			if c.problem != nil {
				continue
			}
			if o.quiet {
				waitIdle()
			}
			took, err := once(c, files{null: null, errors: null})
			if err != nil {
				c.problem = err
				delete(all, c.name)
				continue
			}
			all[c.name] = append(all[c.name], took)
		}
	}
	return all, nil
}

const (
	// idleWindow is how long the machine must have been idle: a few ticks of
	// the 4 ms that /proc/stat counts in on most kernels.
	idleWindow = 12 * time.Millisecond
	// idlePatience bounds the wait; a busy machine is measured all the same.
	idlePatience = 2 * time.Second
)

// waitIdle waits for a window in which no processor did anything, as
// /proc/stat counts it (proc_stat(5)).
func waitIdle() {
	for end := time.Now().Add(idlePatience); time.Now().Before(end); {
		before, ok := busyTicks()
		if !ok {
			return
		}
		time.Sleep(idleWindow)
		if after, ok := busyTicks(); !ok || after == before {
			return
		}
	}
}

// busyTicks sums all columns of the first line of /proc/stat but idle and
// iowait.
func busyTicks() (uint64, bool) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	// cpu user nice system idle iowait irq softirq steal
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, false
	}
	var busy uint64
	for i, field := range fields[1:9] {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return 0, false
		}
		if i != 3 && i != 4 {
			busy += n
		}
	}
	return busy, true
}
