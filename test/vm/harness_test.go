//go:build vmself

package main

import (
	"bytes"
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

	"golang.org/x/sys/unix"
)

// These tests drive a built vmexec from the host; make vm-self says which in
// SBX_VMEXEC, and runs them once more with VM_SYSTEMD=1. What runs in the guest is a copy of this test binary, as the victim
// that the first argument names. It must be static, as it is with CGO_ENABLED=0.

// victims return the status that the guest's program exits with.
var victims = map[string]func() int{
	"exit-0":  func() int { return 0 },
	"exit-1":  func() int { return 1 },
	"exit-42": func() int { return 42 },
	"kill":    func() int { unix.Kill(os.Getpid(), unix.SIGKILL); return 0 },
	"panic":   crashKernel,
	"reboot":  func() int { unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); return 0 },
	"hang":    func() int { fmt.Println("hanging"); return waitForever() },
	"flood":   flood,
	"orphan":  orphan,
	"drip":    drip,
	"cover":   cover,
	"random":  random,
	"where":   where,
	"parent":  func() int { unix.Kill(os.Getppid(), unix.SIGKILL); return waitForever() },
	"env":     func() int { fmt.Println(strings.Join(os.Environ(), "\n")); return 0 },
}

const victimPrefix = "victim:"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if name, ok := strings.CutPrefix(os.Args[1], victimPrefix); ok {
			os.Exit(victims[name]())
		}
	}
	os.Exit(m.Run())
}

func crashKernel() int {
	os.WriteFile("/proc/sys/kernel/sysrq", []byte("1"), 0)
	os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	return 0
}

// waitForever waits in the kernel, where Go's runtime sees no deadlock.
func waitForever() int {
	for {
		unix.Pause()
	}
}

const floodLines = 100_000

func flood() int {
	for i := range floodLines {
		fmt.Printf("line %d of standard output\n", i)
	}
	fmt.Fprintln(os.Stderr, "and one of standard error")
	return 0
}

// orphan leaves a child behind that holds the output open for ever.
func orphan() int {
	cmd := exec.Command("/bin/sleep", "1000000")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("left one behind")
	return 0
}

// drip writes a line and ends only when the guest is killed.
func drip() int {
	fmt.Println("first drop")
	return waitForever()
}

// cover writes where the -test flag says, as a test binary would.
func cover() int {
	for _, a := range os.Args {
		if p, ok := strings.CutPrefix(a, "-test.coverprofile="); ok {
			if err := os.WriteFile(p, []byte("mode: set\n"), 0o644); err != nil {
				fmt.Println(err)
				return 1
			}
		}
	}
	return 0
}

func random() int {
	b := make([]byte, 16)
	unix.Getrandom(b, 0)
	id, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	fmt.Printf("%x %s %v\n", b, id, err)
	return 0
}

// where says who process 1 is and in which control group this one is.
func where() int {
	init, err := os.ReadFile("/proc/1/comm")
	own, ownErr := os.ReadFile("/proc/self/cgroup")
	fmt.Printf("%s%s", init, own)
	if err := errors.Join(err, ownErr); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// managed tells whether the guests have systemd.
func managed() bool { return os.Getenv("VM_SYSTEMD") != "" }

// vmexec prepares a run of a victim.
func vmexec(t *testing.T, name string, flags []string, args ...string) *exec.Cmd {
	t.Helper()
	bin := os.Getenv("SBX_VMEXEC")
	if bin == "" {
		t.Fatal("SBX_VMEXEC names no vmexec: run make vm-self")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), bin, append(append(flags, self, victimPrefix+name), args...)...)
}

// status returns the exit status, -1 when cmd has none.
func status(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	t.Fatal(err)
	return -1
}

func TestExitStatus(t *testing.T) {
	for name, want := range map[string]int{"exit-0": 0, "exit-1": 1, "exit-42": 42, "kill": 137} {
		t.Run(name, func(t *testing.T) {
			out, err := vmexec(t, name, nil).CombinedOutput()
			if got := status(t, err); got != want || len(out) != 0 {
				t.Errorf("exit status: got %d, want %d; output %q", got, want, out)
			}
		})
	}
}

func TestProcessOne(t *testing.T) {
	want := "init\n0::/test\n"
	if managed() {
		want = "systemd\n0::/system.slice/vmexec.service\n"
	}
	out, err := vmexec(t, "where", nil).CombinedOutput()
	if err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}

func TestColdBoot(t *testing.T) {
	out, err := vmexec(t, "exit-42", []string{"-cold"}).CombinedOutput()
	if got := status(t, err); got != 42 {
		t.Errorf("exit status: got %d, want 42; output %q", got, out)
	}
}

// A guest that ends without a result must never look like a success.
func TestCrashIsFailure(t *testing.T) {
	for _, tt := range []struct {
		victim string
		flags  []string
		want   string // in the message
	}{
		{"panic", nil, "sysrq triggered crash"},
		{"reboot", nil, "the guest ended without a result"},
		{"hang", []string{"-timeout", "5s"}, "timeout of 5s"},
		// Of the job's service; process 1 is not to be killed.
		{"parent", []string{"-timeout", "5s"}, map[bool]string{true: "the guest ended without a result", false: "timeout of 5s"}[managed()]},
	} {
		t.Run(tt.victim, func(t *testing.T) {
			var stderr bytes.Buffer
			cmd := vmexec(t, tt.victim, tt.flags)
			cmd.Stderr = &stderr
			if got := status(t, cmd.Run()); got != exitHarness {
				t.Errorf("exit status: got %d, want %d", got, exitHarness)
			}
			if !strings.Contains(stderr.String(), tt.want) {
				t.Errorf("message: got %q, want %q in it", stderr.String(), tt.want)
			}
		})
	}
}

// A saved machine that cannot be loaded is replaced by a cold boot.
func TestBrokenSavedMachine(t *testing.T) {
	cache := t.TempDir()
	def := defaultCache(os.Getenv)
	for _, name := range []string{"kernels", managerCache} {
		if err := os.Symlink(filepath.Join(def, name), filepath.Join(cache, name)); err != nil {
			t.Fatal(err)
		}
	}
	flags := []string{"-cache", cache}
	if out, err := vmexec(t, "exit-42", flags).CombinedOutput(); status(t, err) != 42 {
		t.Fatalf("first run: %v: %s", err, out)
	}
	saved, err := filepath.Glob(cache + "/machines/*.vm")
	if err != nil || len(saved) != 1 {
		t.Fatalf("saved machines: got %v, %v, want one", saved, err)
	}
	if err := os.Truncate(saved[0], 1<<20); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := vmexec(t, "exit-42", flags)
	cmd.Stderr = &stderr
	if got := status(t, cmd.Run()); got != 42 || !strings.Contains(stderr.String(), "booting instead") {
		t.Errorf("exit status: got %d, want 42 and a word about it; stderr %q", got, stderr.String())
	}
	if _, err := os.Stat(saved[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the broken file is still there: %v", err)
	}
}

func TestOutputIsWhole(t *testing.T) {
	var stdout, stderr bytes.Buffer
	cmd := vmexec(t, "flood", nil)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	lines := strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
	if len(lines) != floodLines {
		t.Fatalf("lines: got %d, want %d", len(lines), floodLines)
	}
	for i, got := range lines {
		if want := fmt.Sprintf("line %d of standard output", i); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if got, want := stderr.String(), "and one of standard error\n"; got != want {
		t.Errorf("standard error: got %q, want %q", got, want)
	}
}

// A line is here before the program ends, and a told vmexec leaves no QEMU behind.
func TestOutputIsStreamed(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := vmexec(t, "drip", nil)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd.Stdout, cmd.WaitDelay = w, 10*time.Second
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			r.SetReadDeadline(time.Now().Add(time.Minute))
			got := make([]byte, len("first drop\n"))
			if _, err := io.ReadFull(r, got); err != nil || string(got) != "first drop\n" {
				t.Errorf("got %q, %v", got, err)
			}
			qemu := children(t, cmd.Process.Pid)
			if len(qemu) != 1 {
				t.Fatalf("children of vmexec: got %v, want QEMU only", qemu)
			}
			fd, err := unix.PidfdOpen(qemu[0], 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			cmd.Process.Signal(sig)
			if err := cmd.Wait(); err == nil {
				t.Error("a killed vmexec exited with 0")
			}
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(poll, 10_000); n != 1 || err != nil {
				t.Errorf("QEMU %d is still there 10 s later: %v", qemu[0], err)
			}
		})
	}
}

// children returns the processes whose parent is pid.
func children(t *testing.T, pid int) []int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var list []int
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for _, s := range strings.Fields(string(b)) {
			var child int
			fmt.Sscan(s, &child)
			list = append(list, child)
		}
	}
	return list
}

func TestOrphanDoesNotHoldTheRun(t *testing.T) {
	begin := time.Now()
	out, err := vmexec(t, "orphan", nil).CombinedOutput()
	if status(t, err) != 0 || string(out) != "left one behind\n" {
		t.Errorf("got %v, %q", err, out)
	}
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

func TestFilesComeBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.out")
	if out, err := vmexec(t, "cover", nil, "-test.coverprofile="+file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "mode: set\n" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestResumedMachinesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		out, err := vmexec(t, "random", nil).Output()
		if err != nil {
			t.Fatal(err)
		}
		if seen[string(out)] {
			t.Errorf("random numbers came twice: %s", out)
		}
		seen[string(out)] = true
	}
}

func TestEnvironment(t *testing.T) {
	cmd := vmexec(t, "env", nil)
	cmd.Env = append(os.Environ(), "SBX_GIVEN=as it is", "OTHER=not")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := "\n" + string(out)
	for _, want := range []string{"\nSBX_GIVEN=as it is\n", "\nSBX_VM=1\n", "\nHOME=/root\n"} {
		if !strings.Contains(lines, want) {
			t.Errorf("environment: got %q, want %q in it", lines, want)
		}
	}
	if strings.Contains(lines, "\nOTHER=") {
		t.Errorf("environment: got %q, want no OTHER", lines)
	}
}

// A dynamic program of the host runs with its libraries, through a link of busybox's name.
func TestDynamicProgram(t *testing.T) {
	jq, err := exec.LookPath("jq")
	if err != nil {
		t.Fatal(err)
	}
	bin := os.Getenv("SBX_VMEXEC")
	out, err := exec.CommandContext(t.Context(), bin, jq, "-n", "6*7").CombinedOutput()
	if err != nil || string(out) != "42\n" {
		t.Errorf("jq -n 6*7: got %q, %v", out, err)
	}
}
