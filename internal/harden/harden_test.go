package harden

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/syscalls"
	"github.com/sbx-project/sbx/internal/testenv"
)

func TestMain(m *testing.M) {
	switch os.Getenv("HARDEN_TEST") {
	case "bound":
		bound()
	case "seal":
		seal()
	}
	os.Exit(testenv.Main(m))
}

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// bound drops and prints what each thread of the program has then.
func bound() {
	check(Bound())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { runtime.LockOSThread(); os.ReadFile("/proc/self/status") })
	}
	wg.Wait()
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	check(err)
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "CapBnd:") || strings.HasPrefix(line, "CapEff:") {
				fmt.Print(line)
			}
		}
	}
	os.Exit(0)
}

// seal seals and prints what sealed and other calls answer on several threads,
// and on one with a filter of its own.
func seal() {
	module := uintptr(number("delete_module"))
	blocked := make(chan struct{})
	answers := make(chan string, 4)
	for range 3 { // threads that are there before
		go func() {
			runtime.LockOSThread()
			<-blocked
			_, _, errno := unix.RawSyscall(module, 0, 0, 0)
			answers <- errno.Error()
		}()
	}
	check(Seal())
	close(blocked)
	for range 3 {
		fmt.Println("thread:", <-answers)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
	fmt.Println("getppid:", errno == 0)
	nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	check(err)
	fmt.Println("no_new_privs:", nnp)
	// A run's own verdict is the stricter one.
	own, err := filter.Compile(filter.Ruleset{Arch: runtime.GOARCH, Default: filter.Verdict{Kind: filter.Allow}, Calls: map[uint32]filter.Call{
		uint32(module): {Default: filter.Verdict{Kind: filter.Errno, Errno: uint16(unix.EDOM)}},
	}})
	check(err)
	check(load(own.Insns))
	_, _, errno = unix.RawSyscall(module, 0, 0, 0)
	fmt.Println("below another filter:", errno.Error())
	os.Exit(0)
}

func number(name string) uint32 {
	nr, ok := syscalls.Number(runtime.GOARCH, name)
	if !ok {
		panic(name)
	}
	return nr
}

func child(t *testing.T, what string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HARDEN_TEST="+what)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestBound(t *testing.T) {
	testenv.Root(t)
	have, err := boundingSet()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%016x", have&keepMask())
	out := child(t, "bound")
	threads := 0
	for line := range strings.Lines(out) {
		threads++
		if !strings.HasSuffix(strings.TrimSpace(line), want) {
			t.Errorf("%q, want %s", line, want)
		}
	}
	if threads < 4 {
		t.Errorf("%d lines: %s", threads, out)
	}
}

func TestSeal(t *testing.T) {
	want := strings.Repeat("thread: function not implemented\n", 3) + "getppid: true\nno_new_privs: 1\nbelow another filter: numerical argument out of domain\n"
	if got := child(t, "seal"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSealGivesWay: what a run's filter reports is the stricter answer, and
// nothing that a policy may allow with effect is sealed.
func TestSealGivesWay(t *testing.T) {
	program, err := sealProgram()
	if err != nil {
		t.Fatal(err)
	}
	if string(program) == "" || retTrace <= retUserNotif {
		t.Fatal("TRACE is not weaker than USER_NOTIF")
	}
	for _, name := range sealed {
		if !syscalls.Known(name) {
			t.Errorf("%s: no such call", name)
		}
	}
	for _, effective := range []string{"reboot", "mount", "ptrace", "bpf", "unshare", "seccomp", "sethostname", "keyctl", "open_by_handle_at"} {
		if slices.Contains(sealed, effective) {
			t.Errorf("%s has effect inside of a run or is the daemon's own", effective)
		}
	}
}

// TestUnit: the service has the capabilities of Keep, no more and no fewer.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("../../dist/systemd/sbx.service")
	if err != nil {
		t.Fatal(err)
	}
	var unit []string
	for line := range strings.Lines(string(text)) {
		if list, ok := strings.CutPrefix(line, "CapabilityBoundingSet="); ok {
			for _, c := range strings.Fields(list) {
				unit = append(unit, strings.TrimPrefix(c, "CAP_"))
			}
		}
	}
	keep := Keep()
	slices.Sort(unit)
	slices.Sort(keep)
	if !slices.Equal(unit, keep) {
		t.Errorf("unit %v, Keep %v", unit, keep)
	}
	if len(numbers) != len(keep) {
		t.Errorf("%d numbers for %d capabilities", len(numbers), len(keep))
	}
}
