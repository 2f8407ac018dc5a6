package cgroup

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits bound one leaf. A zero field sets no bound, so the zero value writes
// nothing.
type Limits struct {
	// MemoryMax in bytes: memory of all kinds summed over the processes,
	// tmpfs pages included. With it memory.oom.group is set, so that the
	// kernel ends the whole leaf and not one process of it. Swap is a bound
	// of its own.
	MemoryMax uint64
	// MemorySwapMax in bytes of swap; it counts only where SwapSet, because
	// 0 is a bound as well.
	MemorySwapMax uint64
	// SwapSet says that MemorySwapMax is meant.
	SwapSet bool
	// PidsMax counts processes and threads.
	PidsMax uint64
	// CPUQuota is the time in microseconds that the leaf may use in every
	// CPUPeriod microseconds, summed over processors.
	CPUQuota uint64
	// CPUPeriod is 1,000 to 1,000,000 microseconds; 0 is the kernel's
	// default of 100,000.
	CPUPeriod uint64
	// CPUWeight is the share under contention, 1 to 10,000; the kernel's
	// default is 100.
	CPUWeight uint64
	// IOMax holds lines for io.max, "MAJ:MIN rbps=... wiops=...", one for
	// each device.
	IOMax []string
}

// Held is what became of one limit.
type Held struct {
	// Name is the policy's name: memory_max, memory_swap_max, pids_max,
	// cpu_max, cpu_weight or io_max.
	Name string
	// Err is nil when the kernel holds the limit from now on. It is
	// [ErrNoController] (a [*ControllerError] with the reason) when the
	// host cannot; anything else is a value that the kernel refused.
	Err error
}

// defaultPeriod is the kernel's cpu.max period in microseconds.
const defaultPeriod = 100000

// Set writes the limits and says for each one asked for, in the order of the
// fields, whether it is held. Nothing is undone when one is not: the caller
// decides whether the run is degraded or refused. The controllers are handed
// down to the leaf where they are missing, which needs write access to the
// Parent's directory and, the first time, to the one above it.
//
// Set must come before the first process enters, or what it has already taken
// does not count against the limit.
func (l *Leaf) Set(limits Limits) []Held {
	held := make([]Held, 0, len(limitNames))
	for _, name := range limitNames {
		var first error
		writes := limits.Writes(name)
		for _, w := range writes {
			controller, _, _ := strings.Cut(w.File, ".")
			err := l.put(controller, w.File, w.Value)
			if first == nil {
				first = err
			}
			if err != nil && controller != "io" { // other lines are about other devices
				break
			}
		}
		if len(writes) > 0 {
			held = append(held, Held{Name: name, Err: first})
		}
	}
	return held
}

// Holds is what Set has said of these limits where every controller that is
// offered holds what it is asked to: controllers is the text of Parent.Offered.
func (l *Leaf) Holds(limits Limits, controllers string) []Held {
	held := make([]Held, 0, len(limitNames))
	for _, name := range limitNames {
		writes := limits.Writes(name)
		if len(writes) == 0 {
			continue
		}
		controller, _, _ := strings.Cut(writes[0].File, ".")
		h := Held{Name: name}
		if !strings.Contains(" "+strings.TrimSpace(controllers)+" ", " "+controller+" ") {
			h.Err = l.parent.unoffered(controller)
		}
		held = append(held, h)
	}
	return held
}

// limitNames are the policy's names of limits in the order of the fields.
var limitNames = [...]string{"memory_max", "memory_swap_max", "pids_max", "cpu_max", "cpu_weight", "io_max"}

// Write is one value for one file of a leaf.
type Write struct{ File, Value string }

// Writes are what sets the limit with this name, in order; nil where it is not
// asked for.
func (l Limits) Writes(name string) []Write {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	switch {
	case name == "memory_max" && l.MemoryMax > 0:
		return []Write{{"memory.max", number(l.MemoryMax)}, {"memory.oom.group", "1"}}
	case name == "memory_swap_max" && l.SwapSet:
		return []Write{{"memory.swap.max", number(l.MemorySwapMax)}}
	case name == "pids_max" && l.PidsMax > 0:
		return []Write{{"pids.max", number(l.PidsMax)}}
	case name == "cpu_max" && l.CPUQuota > 0:
		period := l.CPUPeriod
		if period == 0 {
			period = defaultPeriod
		}
		return []Write{{"cpu.max", number(l.CPUQuota) + " " + number(period)}}
	case name == "cpu_weight" && l.CPUWeight > 0:
		return []Write{{"cpu.weight", number(l.CPUWeight)}}
	case name == "io_max":
		lines := make([]Write, 0, len(l.IOMax))
		for _, line := range l.IOMax {
			lines = append(lines, Write{"io.max", line})
		}
		return lines
	}
	return nil
}

// put writes one limit, handing the controller down when its file is not
// there. Asked at each run and not once, because a service manager may take a
// controller away again at any time.
func (l *Leaf) put(controller, file, value string) error {
	err := writeFile(l.fd, file, value)
	if !isErrno(err, unix.ENOENT) {
		return err
	}
	if err := l.parent.enable(controller); err != nil {
		return err
	}
	// Still not there: the controller is, this file of it is not (swap
	// accounting switched off, a kernel built without it).
	if err := writeFile(l.fd, file, value); isErrno(err, unix.ENOENT) {
		return &ControllerError{Controller: controller, Path: l.Path() + "/" + file, Err: unix.ENOENT}
	} else {
		return err
	}
}

// control is the file that names what a group hands down to those below it.
const control = "cgroup.subtree_control"

// enable hands a controller down to the leaves, from the Parent's directory
// and, when that does not have it yet, from the directory above. It goes no
// higher: what lies there belongs to somebody else.
func (p *Parent) enable(controller string) error {
	basePath := p.basePath()
	if !p.offered(controller) {
		return p.unoffered(controller)
	}
	err := writeFile(p.fd, control, "+"+controller)
	// ENOENT: not handed down from above. EOPNOTSUPP: handed down by a group
	// that has processes, so that those below it are invalid.
	if !isErrno(err, unix.ENOENT) && !isErrno(err, unix.EOPNOTSUPP) {
		return p.refusal(controller, p.path, err)
	}
	base, err := unix.Openat(p.fd, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return p.refusal(controller, basePath, err)
	}
	defer unix.Close(base)
	// Above the mount point is another file system.
	if isHierarchy(base) != nil {
		return p.refusal(controller, p.path, unix.ENOENT)
	}
	// Before the write and not after it: for a controller that can be
	// divided among threads (cpu, pids) the write succeeds in a group with
	// processes, and turns every group below into one that takes none
	// (cgroup-v2.rst, "Threads").
	if err := vacate(base); err != nil {
		return p.refusal(controller, basePath, err)
	}
	if err := writeFile(base, control, "+"+controller); err != nil {
		return p.refusal(controller, basePath, err)
	}
	return p.refusal(controller, p.path, writeFile(p.fd, control, "+"+controller))
}

func (p *Parent) basePath() string { return strings.TrimSuffix(p.path, "/"+lastName(p.path)) }

func (p *Parent) unoffered(controller string) error {
	return p.refusal(controller, p.basePath(), unix.ENOENT)
}

// Offered is the text of the file that lists the controllers of the group
// above.
func (p *Parent) Offered() (string, error) { return readFile(p.fd, "../cgroup.controllers") }

// offered tells whether the group above has the controller at all; on a
// hybrid host, with all of them in version 1, one read in place of a dozen
// calls that fail. What cannot be read is tried.
func (p *Parent) offered(controller string) bool {
	text, err := p.Offered()
	return err != nil || strings.Contains(" "+strings.TrimSpace(text)+" ", " "+controller+" ")
}

// refusal is the error of a controller that could not be handed down in path;
// nil when err is.
func (p *Parent) refusal(controller, path string, err error) error {
	if err == nil {
		return nil
	}
	return &ControllerError{Controller: controller, Path: path, Err: err}
}

// vacate makes sure that the group base has no processes of its own, moving
// the calling process into a group below it when it is alone there; EBUSY when
// it is not. The root of the hierarchy may have processes and is left alone: it
// is the one group without a cgroup.type.
func vacate(base int) error {
	if unix.Faccessat(base, "cgroup.type", unix.F_OK, 0) == unix.ENOENT {
		return nil
	}
	text, err := readFile(base, "cgroup.procs")
	if err != nil {
		return err
	}
	switch strings.TrimSpace(text) {
	case "":
		return nil
	case strconv.Itoa(unix.Getpid()):
	default:
		return unix.EBUSY
	}
	if err := unix.Mkdirat(base, supervisorName, 0o755); err != nil && err != unix.EEXIST {
		return wrap("mkdir", supervisorName, err)
	}
	return writeFile(base, supervisorName+"/cgroup.procs", "0")
}
