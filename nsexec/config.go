package nsexec

import (
	"syscall"

	"github.com/sbx-project/sbx/internal/plan"
)

// Config is one launch.
type Config struct {
	// Plan is carried out; it is not changed.
	Plan *plan.Plan
	// Argv is the whole argument vector, Env the whole environment.
	Argv, Env []string
	// Chdir is where the workload starts: absolute, inside the view.
	Chdir string
	// Cwd is the caller's working directory for steps with SourceCwd: its
	// absolute real path. CwdStamp has the device and inode that must be found
	// there; without an inode it is this process's own directory.
	Cwd      string
	CwdStamp plan.Stamp
	// CgroupFD is an open cgroup v2 directory that PID 1 is cloned into;
	// -1 for none.
	CgroupFD int
	// Files are the descriptors that become the workload's 0, 1 and 2; nil:
	// this process's own. They stay the caller's.
	Files *[3]int
	// Output are the descriptors that become the workload's stdout and
	// stderr; 0 keeps those of Files.
	Output [2]int
	// Identity says under which ids the workload runs.
	Identity Identity
	// Mapped holds, for each step of the view with plan.Mapped in their
	// order, a user namespace whose map carries the tree's owner to the
	// run's id. They are sent by Child.SendMaps, so here only their number
	// counts.
	Mapped int
	// Rlimits are set after those of the plan.
	Rlimits []plan.Rlimit
	// Ignored are signals that this process ignores by os/signal.Ignore.
	Ignored []syscall.Signal
	// Strict holds Degraded bits: these measures fail the launch where the
	// kernel does not have them.
	Strict uint64
	// ResetSched gives the workload the default scheduling class and nice
	// value: the caller's were better than that.
	ResetSched bool
	// Sysctls are written in the run's own IPC namespace: paths below
	// /proc/sys and values. What is not allowed is left out.
	Sysctls [][2]string
	// MakeNodes: the caller may have the kernel's device nodes made in the
	// run's own /dev, where each would else be a mount of its own. It is
	// tried, and falls back to mounts.
	MakeNodes bool
	// TimeOffset is the second count that the run's monotonic and boot
	// clocks are set back by; 0 leaves them as they are.
	TimeOffset int64
}

// Identity is how the workload's ids come about.
type Identity struct {
	// Mode is the way; its zero value is refused.
	Mode Mode
	// HostUID and HostGID are the ids outside: of the caller with OwnUser,
	// of the run with NoUserNS. (With LateUserNS the maps say it.)
	HostUID, HostGID uint32
}

// Mode of an Identity.
type Mode uint8

const (
	// OwnUser: an ordinary user's run in a user namespace made by clone3,
	// which maps nothing but the caller's own ids.
	OwnUser Mode = iota + 1
	// LateUserNS: root launches. All other namespaces belong to the host's
	// user namespace; the one of the run is entered last, after every mount,
	// and its maps are written by the supervisor: Child.WriteMaps.
	LateUserNS
	// NoUserNS: root launches on a host without user namespaces: plain
	// setresuid to ids that own nothing.
	NoUserNS
)

// InsideID is the uid and gid of every workload inside its user namespace.
// 1000 is what programs and passwd files expect of an ordinary user.
const InsideID = 1000
