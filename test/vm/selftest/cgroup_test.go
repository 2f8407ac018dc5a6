//go:build vmself

package selftest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestControllers(t *testing.T) {
	for _, file := range []string{"cgroup.controllers", "cgroup.subtree_control"} {
		have := strings.Fields(read(t, filepath.Join(cgroupRoot, file)))
		for _, want := range []string{"cpuset", "cpu", "io", "memory", "pids"} {
			if !slices.Contains(have, want) {
				t.Errorf("%s: got %v, want %q among them", file, have, want)
			}
		}
	}
	if got, want := read(t, "/proc/self/cgroup"), "0::/test"; got != want {
		t.Errorf("own cgroup: got %q, want %q", got, want)
	}
	if got, want := read(t, "/proc/1/cgroup"), "0::/"; got != want {
		t.Errorf("cgroup of init: got %q, want %q", got, want)
	}
}

// leaf makes a cgroup with the given files set, and returns its directory and a
// descriptor for the victim's SysProcAttr. Both end with the test.
func leaf(t *testing.T, name string, set map[string]string) (string, *os.File) {
	t.Helper()
	dir := filepath.Join(cgroupRoot, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(dir+"/cgroup.kill", []byte("1"), 0); err != nil {
			t.Error(err)
		}
		// Killed processes leave the cgroup when they are reaped.
		deadline := time.Now().Add(10 * time.Second)
		for {
			err := os.Remove(dir)
			if err == nil {
				return
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
				t.Error(err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	for file, value := range set {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return dir, f
}

func inLeaf(f *os.File) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
}

// count returns a counter of an events file.
func count(t *testing.T, file, name string) int {
	t.Helper()
	for _, line := range strings.Split(read(t, file), "\n") {
		if key, value, ok := strings.Cut(line, " "); ok && key == name {
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			return n
		}
	}
	t.Fatalf("%s: no %q", file, name)
	return 0
}

const mib = 1 << 20

// eatMemory touches 300 MiB.
func eatMemory() int {
	b, err := unix.Mmap(-1, 0, 300*mib, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
	return 0
}

func TestMemoryMaxKills(t *testing.T) {
	t.Run("without a limit", func(t *testing.T) {
		if out, err := victim(t, "eat", nil).CombinedOutput(); err != nil {
			t.Fatalf("victim: %v: %s", err, out)
		}
	})
	t.Run("with 64 MiB", func(t *testing.T) {
		dir, f := leaf(t, "memory", map[string]string{"memory.max": "67108864", "memory.swap.max": "0", "memory.oom.group": "1"})
		cmd := victim(t, "eat", inLeaf(f))
		if err := cmd.Run(); signalOf(cmd) != syscall.SIGKILL {
			t.Errorf("victim: got %v, want killed", err)
		}
		if got := count(t, dir+"/memory.events", "oom_group_kill"); got != 1 {
			t.Errorf("oom_group_kill: got %d, want 1", got)
		}
	})
}

// forkMany starts 60 children at once; it prints how many and returns 7 when
// one was refused with EAGAIN.
func forkMany() int {
	started, status := 0, 0
	for range 60 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{victimEnv + "=block"}
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			status = 1
			if errors.Is(err, unix.EAGAIN) {
				status = 7
			}
			break
		}
		defer cmd.Process.Kill()
		started++
	}
	fmt.Println(started)
	return status
}

// block waits until it is killed.
func block() int {
	for {
		unix.Pause() // Go's runtime would see a deadlock in an empty select
	}
}

func TestPidsMaxRefuses(t *testing.T) {
	dir, f := leaf(t, "pids", map[string]string{"pids.max": "30"})
	cmd := victim(t, "fork", inLeaf(f))
	out, err := cmd.CombinedOutput()
	// With 30 tasks Go's runtime may be the one that is refused a thread; it
	// then aborts. Both are the limit at work; the counter says that it was.
	if err == nil {
		t.Errorf("victim started all its children: %s", out)
	}
	if got := count(t, dir+"/pids.events", "max"); got < 1 {
		t.Errorf("pids.events max: got %d, want at least 1; victim: %v: %s", got, err, out)
	}
}

// spin uses half a second of processor time.
func spin() int {
	for {
		var ru unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
			return 1
		}
		if time.Duration(ru.Utime.Nano()+ru.Stime.Nano()) > 500*time.Millisecond {
			return 0
		}
	}
}

func TestCPUMaxThrottles(t *testing.T) {
	dir, f := leaf(t, "cpu", map[string]string{"cpu.max": "20000 100000"})
	begin := time.Now()
	if out, err := victim(t, "spin", inLeaf(f)).CombinedOutput(); err != nil {
		t.Fatalf("victim: %v: %s", err, out)
	}
	if took := time.Since(begin); took < 1500*time.Millisecond {
		t.Errorf("0.5 s of processor time at 20 %% took %v, want at least 1.5s", took)
	}
	if got := count(t, dir+"/cpu.stat", "nr_throttled"); got == 0 {
		t.Error("nr_throttled: got 0")
	}
}
