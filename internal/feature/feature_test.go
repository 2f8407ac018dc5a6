package feature

import (
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestProbesAreDescribed(t *testing.T) {
	want := []string{
		"cgroup.cpu", "cgroup.io", "cgroup.kill", "cgroup.memory", "cgroup.pids", "cgroup2", "idmap", "landlock", "mdwe",
		"proc.subset", "seccomp", "seccomp.notify", "timens", "userns",
	}
	if d := cmp.Diff(want, Names()); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	for _, name := range Names() {
		f, ok := Known(name)
		if !ok || f.Cost == "" || f.Fix == "" || f.MinKernel == "" {
			t.Errorf("Known(%q) = %+v, %v; want cost, fix and minimum kernel", name, f, ok)
		}
	}
}

// TestLandlockABI: doctor and require call present what a launch can use.
func TestLandlockABI(t *testing.T) {
	for abi, want := range map[int]bool{0: false, 1: false, 2: true, 7: true} {
		if got, detail := landlockABI(abi); got != want || detail == "" {
			t.Errorf("ABI %d: %v, %q; want %v", abi, got, detail, want)
		}
	}
}

// TestCosts pins what a run loses where there is no lesser form of a thing.
func TestCosts(t *testing.T) {
	for name, want := range map[string]string{
		"seccomp": "nothing runs", "seccomp.notify": "nothing runs", "proc.subset": "does not start", "landlock": "FIFOs",
	} {
		if f, _ := Known(name); !strings.Contains(f.Cost, want) {
			t.Errorf("%s: %q does not say %q", name, f.Cost, want)
		}
	}
	if f, _ := Known("landlock"); f.MinKernel != "5.19" {
		t.Errorf("landlock from %s; a launch needs ABI 2, of 5.19", f.MinKernel)
	}
}

func TestProbe(t *testing.T) {
	s := Probe()
	for _, f := range s.All() {
		t.Logf("%-15s %-5v %s", f.Name, f.Present, f.Detail)
		if !f.Present && f.Detail == "" {
			t.Errorf("%s is absent without a reason", f.Name)
		}
	}
	if got := len(s.All()); got != len(Names()) {
		t.Errorf("Probe has %d features, want %d", got, len(Names()))
	}
	if !s.Has("seccomp") {
		t.Error("seccomp is absent; every kernel that runs these tests has it")
	}
}

// TestProbeAgreesWithKernel compares the probes with what the kernel says
// elsewhere.
func TestProbeAgreesWithKernel(t *testing.T) {
	s := Probe()
	actions, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	if err != nil {
		t.Fatal(err)
	}
	for name, word := range map[string]string{"seccomp": "kill_process", "seccomp.notify": "user_notif"} {
		if want := slices.Contains(strings.Fields(string(actions)), word); s.Has(name) != want {
			t.Errorf("Has(%q) = %v, actions_avail has %q: %v", name, s.Has(name), word, want)
		}
	}
	if lsm, err := os.ReadFile("/sys/kernel/security/lsm"); err == nil {
		if want := strings.Contains(string(lsm), "landlock") && kernelHas(t, 5, 19); s.Has("landlock") != want {
			t.Errorf("Has(landlock) = %v, the list of modules is %q", s.Has("landlock"), lsm)
		}
	}
	err = exec.Command("unshare", "--user", "--map-root-user", "--mount", "--fork", "--pid", "true").Run()
	if s.Has("userns") != (err == nil) {
		t.Errorf("Has(userns) = %v, unshare(1) says %v", s.Has("userns"), err)
	}
	if s.Has("proc.subset") != (unshareProc() == nil) && os.Geteuid() == 0 {
		t.Errorf("Has(proc.subset) = %v, a mount says %v", s.Has("proc.subset"), unshareProc())
	}
}

// unshareProc mounts such a proc in namespaces of a child.
func unshareProc() error {
	return exec.Command("unshare", "--mount", "--fork", "--pid", "mount", "-t", "proc", "-o", "subset=pid", "proc", "/proc").Run()
}

func TestProbeLeavesNothing(t *testing.T) {
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	fds := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	Probe() // the first one may make the place of root's runs
	var created func() []string
	if cg := look().cgroup; cg != "" {
		created = watchCreated(t, cg)
	}
	n := fds()
	Probe()
	if after := fds(); after != n {
		t.Errorf("a probe leaks descriptors: %d, then %d", n, after)
	}
	after, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("a probe changes the mounts")
	}
	if created != nil {
		for _, name := range created() {
			t.Errorf("a probe makes the cgroup %q: a process that is killed then leaves it", name)
		}
	}
	var status unix.WaitStatus
	if pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil); err == nil && pid > 0 {
		t.Errorf("child %d is left", pid)
	}
}

// watchCreated returns what has been made in dir since, by the names that a
// probe uses; other processes make groups of their own.
func watchCreated(t *testing.T, dir string) func() []string {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	return func() (names []string) {
		buf := make([]byte, 64<<10)
		n, err := unix.Read(fd, buf)
		if err == unix.EAGAIN {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			size := int(binary.NativeEndian.Uint32(b[12:]))
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size]), "\x00")
			if strings.Contains(name, "probe") {
				names = append(names, name)
			}
			b = b[unix.SizeofInotifyEvent+size:]
		}
		return names
	}
}

func TestSet(t *testing.T) {
	s := NewSet(Feature{Name: "b", Present: true}, Feature{Name: "a"})
	if s.Has("a") || !s.Has("b") || s.Has("c") {
		t.Errorf("Has: a %v, b %v, c %v; want only b", s.Has("a"), s.Has("b"), s.Has("c"))
	}
	var zero Set
	if zero.Has("b") {
		t.Error("the zero set has a feature")
	}
}
