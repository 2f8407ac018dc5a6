package runner

import (
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/cgroup"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/weak"
	"github.com/sbx-project/sbx/nsexec"
)

// watch is what the supervisor holds by looking, where the kernel cannot.
type watch struct {
	memory, pids uint64 // bounds; 0: not watched
}

// watchInterval is how often it looks. At half of it the looking itself
// shows up in the accounting of a run with many processes; at twice a run
// takes some 200 MB more before it is seen, at the rate that memory is
// zeroed.
const watchInterval = 20 * time.Millisecond

// bound makes the run's control group and sets its limits. What the kernel
// cannot hold is refused when the policy states it, else held in another way
// and shown as degraded.
func (r *run) bound() bool {
	if !r.mayRaise() {
		return false
	}
	l := r.Plan.Limits
	r.boundTime()
	if weak.Off("limits") {
		l, r.Timeout = plan.Limits{}, 0
	}
	switch {
	case r.Adopt != nil: // both are there, or noLeaf says why not
	case r.Leaves != nil:
		r.parent = r.Leaves
	default:
		if r.noLeaf = weak.Err("cgroup-open"); r.noLeaf == nil {
			r.parent, r.noLeaf = cgroup.Open("")
		}
	}
	if r.noLeaf == nil && r.leaf == nil {
		if r.noLeaf = weak.Err("cgroup-create"); r.noLeaf == nil {
			r.leaf, r.noLeaf = r.parent.Create("run-" + r.report.Run)
		}
	}
	if r.noLeaf != nil && r.parent != nil {
		// There is a place for leaves, and this one could not be made (it is
		// full, or broken): not a host that has none.
		err := r.noLeaf
		r.release()
		return r.refuse(StatusSetup, SetupError, "make a control group", err, "look below the cgroup mount for leaves that are not swept")
	}
	limits := cgroup.Limits{
		MemoryMax: l.MemoryMax, MemorySwapMax: l.MemorySwapMax, SwapSet: l.SwapSet, PidsMax: l.PidsMax,
		CPUQuota: l.CPUQuota, CPUPeriod: l.CPUPeriod, CPUWeight: l.CPUWeight, IOMax: l.IOMax,
	}
	if l.PidsMax > 0 {
		limits.PidsMax += 2 // init and its watcher
	}
	if r.noLeaf == nil {
		switch err := weak.Err("cgroup-set"); {
		case err != nil:
			r.held = unheld(limits, err)
		case r.Adopt != nil:
			r.held = r.leaf.Holds(limits, r.Adopt.Controllers)
		default:
			r.held = r.leaf.Set(limits)
		}
		r.config.CgroupFD = r.leaf.FD()
		r.layer("cgroup", Applied, "")
	} else {
		r.held = unheld(limits, r.noLeaf)
		r.layer("cgroup", Degraded, r.noLeaf.Error())
	}
	for _, h := range r.held {
		if h.Err == nil {
			r.layer(layerOf(h.Name), Applied, "")
			r.writes = append(r.writes, limits.Writes(h.Name)...)
			continue
		}
		if contains(l.Required, h.Name) || r.demands(layerOf(h.Name)) {
			r.layer(layerOf(h.Name), NotHeld, h.Err.Error())
			r.release()
			step, hint := "hold "+h.Name+": feature "+layerOf(h.Name), fixOf(r.noLeaf)
			if r.noLeaf == nil && !errors.Is(h.Err, cgroup.ErrNoController) {
				// The controller is there, and the kernel does not take the value.
				step, hint = "hold "+h.Name, "change it to what this host has, or write -"+h.Name+" if the run may go on without"
			}
			return r.refuse(StatusSetup, Refused, step, h.Err, hint)
		}
		why := h.Err.Error()
		switch h.Name {
		case "memory_max":
			r.watch.memory = l.MemoryMax
			why += "; summed over the processes and killed by the supervisor instead, which does not see shared memory that nobody maps nor what sockets hold"
			r.config.Sysctls = ipcBounds(l.MemoryMax)
		case "pids_max":
			r.watch.pids = l.PidsMax
			if r.who == fixed && r.config.Identity.Mode == nsexec.NoUserNS {
				// The resource limit counts all that the user has.
				why += "; counted by the supervisor instead"
				break
			}
			why += "; held by RLIMIT_NPROC and counted by the supervisor instead"
			r.config.Rlimits = append(r.config.Rlimits, plan.Rlimit{Resource: unix.RLIMIT_NPROC, Value: l.PidsMax + 2})
		}
		r.layer(layerOf(h.Name), Degraded, why)
	}
	r.addRlimits()
	return r.required()
}

// mayRaise refuses a stated resource limit that is above what this process may
// have: the run would have less than its policy says.
func (r *run) mayRaise() bool {
	for _, l := range r.Plan.Rlimits {
		var own unix.Rlimit
		if !l.Required || unix.Getrlimit(int(l.Resource), &own) != nil || l.Value <= own.Max {
			continue
		}
		r.release()
		return r.refuse(StatusSetup, Refused, "hold "+l.Key(), errors.New("who starts the run may have "+strconv.FormatUint(own.Max, 10)+" at most"),
			"raise the hard limit (ulimit -H, prlimit, LimitX= of the unit), or write -"+l.Key()+" to go on with that")
	}
	return true
}

// addRlimits puts the caller's resource limits behind those of the plan and of
// the supervisor: each is set when the ones before it are, so it must not be
// higher (setrlimit(2)).
func (r *run) addRlimits() {
	for _, own := range r.Rlimits {
		wider := false
		for _, l := range r.config.Rlimits {
			wider = wider || l.Resource == own.Resource && l.Value <= own.Value
		}
		if !wider {
			r.config.Rlimits = append(r.config.Rlimits, own)
		}
	}
}

// ipcBounds bounds what System V objects of the run's IPC namespace can hold
// (sysvipc(7)) where no memory controller counts it: segments and queues
// outlive their users and belong to no process.
func ipcBounds(memory uint64) [][2]string {
	const page, queue = 4096, 16384 // bytes; msgmnb's default
	num := func(n uint64) string { return strconv.FormatUint(max(1, n), 10) }
	return [][2]string{
		{"kernel/shmall", num(memory / 4 / page)},
		{"kernel/msgmni", num(min(memory/4/queue, 1024))},
		{"kernel/sem", "250 4096 32 128"},
	}
}

// unheld lists every limit that was asked for as not held.
func unheld(l cgroup.Limits, why error) (held []cgroup.Held) {
	for _, x := range [...]struct {
		name  string
		asked bool
	}{
		{"memory_max", l.MemoryMax > 0}, {"memory_swap_max", l.SwapSet}, {"pids_max", l.PidsMax > 0},
		{"cpu_max", l.CPUQuota > 0}, {"cpu_weight", l.CPUWeight > 0}, {"io_max", len(l.IOMax) > 0},
	} {
		if x.asked {
			held = append(held, cgroup.Held{Name: x.name, Err: why})
		}
	}
	return held
}

// layerOf is the name of the host feature behind a limit.
func layerOf(limit string) string {
	switch limit {
	case "memory_max", "memory_swap_max":
		return "cgroup.memory"
	case "pids_max":
		return "cgroup.pids"
	case "cpu_max", "cpu_weight":
		return "cgroup.cpu"
	}
	return "cgroup.io"
}

func fixOf(noLeaf error) string {
	switch {
	case errors.Is(noLeaf, cgroup.ErrNoHierarchy):
		return "mount cgroup2, or boot with systemd.unified_cgroup_hierarchy=1"
	case errors.Is(noLeaf, cgroup.ErrNotDelegated):
		return "run it under systemd-run --user --scope -p Delegate=yes, or through the daemon"
	}
	return "boot with systemd.unified_cgroup_hierarchy=1 so that version 2 has the controllers, or write -KEY to make the limit optional"
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// passed looks at what the supervisor holds itself.
func (w watch) passed(r *run) (Outcome, bool) {
	var pids []int
	if r.leaf != nil {
		pids, _ = r.leaf.Procs()
	}
	if len(pids) == 0 {
		pids = descendants(r.child.PID)
	}
	if w.pids > 0 && uint64(len(pids)) > w.pids+1 {
		return Pids, true
	}
	if w.memory > 0 {
		var sum uint64
		for _, pid := range pids {
			if pid != r.child.PID {
				sum += privateMemory(pid)
			}
		}
		r.report.Usage.MemPeak = max(r.report.Usage.MemPeak, sum)
		return OOM, sum > w.memory
	}
	return "", false
}

// release gives up what prepare made.
func (r *run) release() {
	if r.Adopt != nil && !r.waited { // refused, though it was launched
		r.kill()
		r.child.Wait()
		r.waited = true
	}
	if r.leaf != nil && !weak.Off("leaf") {
		if weak.Err("cgroup-delete") != nil {
			r.leaf.Close()
		} else {
			r.leaf.Delete(time.Second)
		}
		r.leaf = nil
	}
	if r.parent != nil && r.parent != r.Leaves {
		r.parent.Close()
	}
	r.parent = nil
	if r.output != nil {
		r.output.close()
	}
}
