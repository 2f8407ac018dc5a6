package runner

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/nsexec"
)

// launchLayers are those that the launch itself applies, where the kernel
// has them.
var launchLayers = [...]struct {
	name string
	bit  uint64
	why  string
}{
	{"timens", nsexec.DegradedTime, "the kernel has no time namespaces"},
	{"keyring", nsexec.DegradedKeyring, "the kernel has no keyrings to separate"},
	{"mdwe", nsexec.DegradedMDWE, "the kernel has no PR_SET_MDWE (Linux 6.3)"},
	{"landlock", nsexec.DegradedLandlock, "the kernel has no Landlock (Linux 5.19): files given as 0, 1 and 2 can be opened anew with the run's rights"},
	{"userns.limit", nsexec.DegradedUserMax, "user.max_user_namespaces of the run could not be set: the filter alone refuses them"},
}

// lacksMDWE tells whether the kernel has no PR_SET_MDWE (before 6.3).
func lacksMDWE() bool {
	_, err := unix.PrctlRetInt(unix.PR_GET_MDWE, 0, 0, 0, 0)
	return err != nil
}

// launched returns the layers of a launch whose measures of bits
// (nsexec.Record.Degraded) are missing. It says nothing of those that bound
// and chooseIdentity put into the report, nor of what the plan does not ask for.
func (r *run) launched(bits uint64) (out []Layer) {
	layer := func(name string, s LayerState, why string) { out = append(out, Layer{name, s, why}) }
	noUser := r.config.Identity.Mode == nsexec.NoUserNS
	for _, l := range launchLayers {
		switch {
		case l.name == "mdwe" && !r.Plan.DenyWriteExecute, l.name == "userns.limit" && noUser:
		case bits&l.bit != 0:
			layer(l.name, Degraded, l.why)
		default:
			layer(l.name, Applied, "")
		}
	}
	for _, name := range [...]string{"pidns", "mountns", "netns", "ipcns", "utsns", "cgroupns", "noexec", "proc", "capabilities", "no_new_privs", "seccomp", "listener"} {
		layer(name, Applied, "")
	}
	switch path := fifoHole(r.Plan.View, r.Cwd); {
	case path != "":
		layer("fifos", Degraded, "FIFOs below "+strconv.Quote(path)+" can be written to: it is shown read-only below what is writable")
	case bits&nsexec.DegradedLandlock != 0:
		layer("fifos", Degraded, "the kernel has no Landlock (Linux 5.19): FIFOs that are shown read-only can be written to")
	default:
		layer("fifos", Applied, "")
	}
	if noUser {
		layer("userns", Degraded, "user namespaces are disabled on this host")
	} else {
		layer("userns", Applied, "")
	}
	if len(r.owners) > 0 {
		layer("idmap", Applied, "")
	}
	if len(r.Plan.Filter.ExecOnce) > 0 {
		layer("exec-once", Applied, "")
	}
	if r.Audited {
		layer("audit", Applied, "")
	} else {
		layer("audit", Degraded, "absent: nobody records this run")
	}
	return out
}

// demands tells whether the policy or the host's configuration requires a
// layer.
func (r *run) demands(name string) bool {
	return contains(r.Plan.Require, name) || contains(r.Plan.Host.Require, name)
}

// required refuses a run of which a layer is required that it will not have
// applied, and has the launch fail at those that it applies itself.
//
// Trust boundary: the plan says what must hold. Checked before: the engine
// refuses what the policy itself contradicts or the host lacks. What depends on
// the call, on who launches and on the moment is known here only. Fails
// closed: a name that is not among the layers to be reported as applied
// refuses the run, whatever the reason.
func (r *run) required() bool {
	if len(r.Plan.Require) == 0 && len(r.Plan.Host.Require) == 0 {
		return true
	}
	launched := r.launched(0)
	for i, want := range append(append([]string(nil), r.Plan.Require...), r.Plan.Host.Require...) {
		why := r.missing(want, launched)
		if why == "" || i >= len(r.Plan.Require) && why == noSubject {
			r.strict(want)
			continue
		}
		if why == noSubject {
			r.layer(want, NotHeld, why)
		}
		r.release()
		return r.refuse(StatusSetup, Refused, "require "+want, errors.New(why), "sbx doctor names what mends it")
	}
	return true
}

// noSubject is the reason of a layer that would hold what the run has not.
const noSubject = "the run has nothing that it would hold"

// missing says why a layer will not be applied, "" for one that will. The
// report then has it as refused.
func (r *run) missing(name string, launched []Layer) (why string) {
	found := false
	for i := range r.report.Layers {
		if l := &r.report.Layers[i]; l.Name == name {
			if found = true; l.State != Applied {
				l.State, why = NotHeld, l.Why
			}
		}
	}
	for i := range launched {
		if l := &launched[i]; l.Name == name {
			if found = true; l.State != Applied {
				why = l.Why
				if name == "audit" {
					why = "a direct run is not audited"
				}
				r.layer(name, NotHeld, why)
			}
		}
	}
	if found {
		return why
	}
	switch {
	case name == "idmap" && r.config.Identity.Mode == nsexec.NoUserNS, name == "userns.limit":
		why = "user namespaces are disabled on this host"
	case name == "idmap", strings.HasPrefix(name, "cgroup."):
		return noSubject
	case name == "exec-once":
		why = "the policy lets more than the program be executed"
	case name == "mdwe":
		why = "the policy says memory_deny_write_execute: false"
	default:
		why = "no run of this build has such a layer"
	}
	r.layer(name, NotHeld, why)
	return why
}

// strict has the launch fail where a measure behind a layer is missing.
func (r *run) strict(name string) {
	for _, l := range launchLayers {
		if l.name == name || l.name == "landlock" && name == "fifos" {
			r.config.Strict |= l.bit
		}
	}
}

// fifoHole is the path of a read-only tree that the view shows below a
// writable directory, or "": Landlock, which holds the FIFOs of read-only
// trees, grants with the directory what lies below it.
func fifoHole(view []plan.Step, cwd string) string {
	for i := range view {
		if view[i].Kind != plan.Tree || view[i].Flags&(plan.Writable|plan.OverFile) != 0 {
			continue
		}
		path := shownAt(&view[i], cwd)
		for j := range view {
			writable := view[j].Kind == plan.Tmpfs || view[j].Kind == plan.Tree && view[j].Flags&plan.Writable != 0
			if above := shownAt(&view[j], cwd); writable && path != above && within(path, above) {
				return path
			}
		}
	}
	return ""
}

// shownAt is where the view shows a step.
func shownAt(s *plan.Step, cwd string) string {
	if s.Flags&plan.SourceCwd != 0 {
		return cwd
	}
	return s.Path
}
