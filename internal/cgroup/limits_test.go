package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// set applies limits that must all be held.
func set(t *testing.T, leaf *Leaf, limits Limits) {
	t.Helper()
	for _, h := range leaf.Set(limits) {
		if h.Err != nil {
			t.Fatalf("%s: %v", h.Name, h.Err)
		}
	}
}

// content is a control file of the leaf, trimmed.
func content(t *testing.T, leaf *Leaf, file string) string {
	t.Helper()
	text, err := readFile(leaf.fd, file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(text)
}

// TestSetSaysWhatIsMissing holds on every host: a limit is either in its file
// or reported as a missing controller by name, in order.
func TestSetSaysWhatIsMissing(t *testing.T) {
	p := place(t)
	leaf := create(t, p, "run")
	defer leaf.Delete(0)
	held := leaf.Set(Limits{MemoryMax: 64 << 20, SwapSet: true, PidsMax: 30, CPUQuota: 20000, CPUWeight: 50})
	want := []struct{ name, controller, file, text string }{
		{"memory_max", "memory", "memory.max", "67108864"},
		{"memory_swap_max", "memory", "memory.swap.max", "0"},
		{"pids_max", "pids", "pids.max", "30"},
		{"cpu_max", "cpu", "cpu.max", "20000 100000"},
		{"cpu_weight", "cpu", "cpu.weight", "50"},
	}
	if len(held) != len(want) {
		t.Fatalf("Set reported %d limits, want %d: %v", len(held), len(want), held)
	}
	offered, err := os.ReadFile(testenv.CgroupMount() + "/cgroup.controllers")
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range want {
		h := held[i]
		if h.Name != w.name {
			t.Errorf("limit %d is %s, want %s", i, h.Name, w.name)
		}
		here := strings.Contains(" "+strings.TrimSpace(string(offered))+" ", " "+w.controller+" ")
		switch {
		case here && h.Err == nil:
			if got := content(t, leaf, w.file); got != w.text {
				t.Errorf("%s holds %q, want %q", w.file, got, w.text)
			}
		case here:
			t.Errorf("%s: %v, although the controller is there", w.name, h.Err)
		default:
			var missing *ControllerError
			if !errors.Is(h.Err, ErrNoController) || !errors.As(h.Err, &missing) || missing.Controller != w.controller {
				t.Errorf("%s: %v, want %v for %s", w.name, h.Err, ErrNoController, w.controller)
			}
		}
	}
	if held := leaf.Set(Limits{}); len(held) != 0 {
		t.Errorf("Set of nothing reported %v", held)
	}
}

func TestSetRefusedValue(t *testing.T) {
	testenv.Root(t)
	testenv.Controllers(t, "cpu")
	p := place(t)
	leaf := create(t, p, "run")
	defer leaf.Delete(0)
	held := leaf.Set(Limits{CPUWeight: 20000})
	if len(held) != 1 || !errors.Is(held[0].Err, unix.ERANGE) || errors.Is(held[0].Err, ErrNoController) {
		t.Errorf("Set of a weight out of range = %v, want ERANGE", held)
	}
}

func TestMemoryMax(t *testing.T) {
	testenv.Root(t)
	testenv.Controllers(t, "memory")
	testenv.NoLeaks(t)
	p := place(t)
	leaf := create(t, p, "run")
	set(t, leaf, Limits{MemoryMax: 64 << 20, SwapSet: true})
	bystander := start(t, leaf, "wait").ready(t)
	eater := start(t, leaf, "eat")
	eater.killed(t)
	// memory.oom.group: the one that did nothing wrong dies as well.
	bystander.killed(t)
	e, err := leaf.Events()
	if err != nil || e.OOM == 0 || e.OOMKill == 0 {
		t.Errorf("Events() = %+v, %v, want an oom and its kill", e, err)
	}
	u, err := leaf.Usage()
	if err != nil {
		t.Error(err)
	}
	if _, err := readFile(leaf.fd, "memory.peak"); err == nil && (u.MemPeak < 32<<20 || u.MemPeak > 72<<20) {
		t.Errorf("MemPeak = %d, want about 64 MiB", u.MemPeak)
	}
	if err := leaf.Delete(patience); err != nil {
		t.Error(err)
	}
}

func TestPidsMax(t *testing.T) {
	testenv.Root(t)
	testenv.Controllers(t, "pids")
	testenv.NoLeaks(t)
	p := place(t)
	leaf := create(t, p, "run")
	// Room for a Go program and a few copies of it.
	set(t, leaf, Limits{PidsMax: 40})
	c := start(t, leaf, "fork").ready(t)
	var n int
	var refused bool
	if _, err := fmt.Sscan(c.line(t), &n, &refused); err != nil || !refused {
		t.Errorf("the program started %d copies and was refused: %v, %v", n, refused, err)
	}
	if e, err := leaf.Events(); err != nil || e.PidsMax == 0 {
		t.Errorf("Events() = %+v, %v, want a refused fork", e, err)
	}
	if err := leaf.Kill(); err != nil {
		t.Error(err)
	}
	c.killed(t)
	if u, err := leaf.Usage(); err != nil || u.PidsPeak > 40 {
		t.Errorf("Usage() = %+v, %v, want a peak of at most 40", u, err)
	}
	if err := leaf.Delete(patience); err != nil {
		t.Error(err)
	}
}

func TestCPUMax(t *testing.T) {
	testenv.Root(t)
	testenv.Controllers(t, "cpu")
	p := place(t)
	leaf := create(t, p, "run")
	set(t, leaf, Limits{CPUQuota: 20000})
	c := start(t, leaf, "spin").ready(t)
	if got := c.line(t); got != "done" {
		t.Errorf("child said %q", got)
	}
	c.Wait()
	// One second of spinning at a fifth of a processor; four fifths says that
	// the limit was felt. An emulated processor is billed for what its
	// emulation takes (0.53 s seen), and must not fail here.
	if u, err := leaf.Usage(); err != nil || u.CPUUser+u.CPUSys > 800*time.Millisecond {
		t.Errorf("Usage() = %+v, %v, want about 0.2 s", u, err)
	}
	if value(content(t, leaf, "cpu.stat"), "nr_throttled") == 0 {
		t.Error("never throttled")
	}
	if err := leaf.Delete(patience); err != nil {
		t.Error(err)
	}
}

// TestControllerTakenAway is a service manager that rewrites
// cgroup.subtree_control behind our back: the next leaf gets it again.
func TestControllerTakenAway(t *testing.T) {
	testenv.Root(t)
	testenv.Controllers(t, "pids")
	p := place(t)
	for i, name := range []string{"first", "second"} {
		leaf := create(t, p, name)
		set(t, leaf, Limits{PidsMax: 30})
		if err := leaf.Delete(patience); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if err := writeFile(p.fd, control, "-pids"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestVacate runs a supervisor in a delegated group: alone there it must move
// out of the way to hand a controller down, beside another it must not, and
// the leaves must stay usable.
func TestVacate(t *testing.T) {
	testenv.Root(t)
	testenv.Controllers(t, "memory", "pids")
	tests := []struct {
		name      string
		bystander bool
		want      string
	}{
		{"alone", false, "held"},
		{"beside another", true, "missing: the group has other processes of its own"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := place(t)
			for _, controller := range []string{"memory", "pids"} {
				if err := p.enable(controller); err != nil {
					t.Fatal(err)
				}
			}
			group := create(t, p, "delegated")
			if tt.bystander {
				start(t, group, "wait").ready(t)
			}
			c := start(t, group, "aside")
			for _, limit := range []string{"memory_max", "pids_max"} {
				if got, want := c.line(t), limit+" "+tt.want; got != want {
					t.Errorf("supervisor said %q, want %q", got, want)
				}
			}
			if got, want := c.line(t), "ran in "+group.Path()+"/"+placeName; got != want {
				t.Errorf("supervisor said %q, want %q", got, want)
			}
			if err := group.Kill(); err != nil {
				t.Error(err)
			}
			if err := group.Delete(patience); err != nil {
				t.Error(err)
			}
		})
	}
}

// aside is the child of TestVacate.
func aside() error {
	p, err := OpenOwn()
	if err != nil {
		return err
	}
	leaf, err := p.Create("run")
	if err != nil {
		return err
	}
	for _, h := range leaf.Set(Limits{MemoryMax: 256 << 20, PidsMax: 30}) {
		_, why, _ := strings.Cut(fmt.Sprint(h.Err), "\": ")
		switch {
		case h.Err == nil:
			fmt.Println(h.Name, "held")
		case errors.Is(h.Err, ErrNoController):
			fmt.Println(h.Name, "missing:", why)
		default:
			return h.Err
		}
	}
	// Held or not, a process can be put there.
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{actEnv + "=end"}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: leaf.FD()}
	if err := cmd.Run(); err != nil {
		return err
	}
	if err := leaf.Delete(patience); err != nil {
		return err
	}
	// Having moved or not, it must find the same place again.
	again, err := OpenOwn()
	if err != nil {
		return err
	}
	if again.Path() != p.Path() {
		return fmt.Errorf("the place is %s now, was %s", again.Path(), p.Path())
	}
	fmt.Println("ran in", p.Path())
	return nil
}
