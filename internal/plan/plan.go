// Package plan is the compiled form of one command: everything that a launch
// needs and that does not depend on the call. The engine makes a Plan when a
// bundle is loaded, the state directory keeps it in the encoding of Encode,
// and sbx carries it out without parsing a policy, a manifest or YAML.
//
// Use [Decode] to read one and [Plan.Encode] to write one. A Plan is plain
// data: it has no behaviour, opens nothing and is the same on every host for
// the same inputs, so it is golden-tested without privileges. It does not
// protect itself: whoever reads one checks first who owns the file.
package plan

import "time"

// Plan is one revision of one command, ready to be launched.
type Plan struct {
	// Build is the build identity of the sbxd that made the plan. A plan of
	// another build is stale, never interpreted.
	Build string
	// BootID is /proc/sys/kernel/random/boot_id when the plan was made:
	// device numbers and ctimes in Stamps are only comparable within a boot.
	BootID string

	// Command is the dotted name; for `sbx exec` it is empty.
	Command string
	// Version is the manifest's version, a semver; empty for `sbx exec`.
	Version string
	// Revision is the digest of the bundle, "sha256:HEX".
	Revision string
	// Generation is the snapshot's increasing number; 0 for `sbx exec`.
	Generation uint64

	// Refusal is not empty for a name that refuses: the reason (quarantine).
	// Such a plan has no program and is never launched.
	Refusal string
	// Counts is set when the verdicts of runs count: who made the plan may
	// write the registry's state.
	Counts bool
	// Journal asks for a record of the end of each run: the revision is in
	// probation, or no run of it has ended yet.
	Journal bool

	// AllowUsers and AllowGroups are who may run it through the daemon, by
	// name or number; both empty: everybody who may reach the socket.
	AllowUsers, AllowGroups []string

	// Key is the part of the state directory that the plan belongs to: that
	// of the registry which has the bundle. Empty for `sbx exec`.
	Key string
	// Registries are the directories, absolute and in order of precedence,
	// that were looked through for the bundle: with another list the name may
	// mean another one. Empty for `sbx exec`.
	Registries []string

	// Stamps must all match, or the plan is stale.
	Stamps []Stamp

	// Exec is what is executed.
	Exec Exec
	// Argv is the fixed front of the argument vector, argv[0] included.
	Argv []string
	// Words follow Argv: the arguments from the first one on that depends on
	// the call.
	Words []Word
	// Declared: the caller gives values of Params and nothing else. Without
	// it his arguments follow Words, untouched, and there are no Params.
	Declared bool
	Params   []Param
	// Summary is the manifest's line about the command, for its help.
	Summary string
	// Env says how the environment is made.
	Env Env

	// View is the file tree in the order in which it is put together.
	View []Step
	// Masks are what the policy hides in the trees that only a call shows: the
	// caller's directory and those of path parameters.
	Masks []Mask
	// Chdir is where the workload starts, absolute and inside the view.
	// Empty: the caller's directory, when a Tree of the view has Source
	// SourceCwd, else /tmp.
	Chdir string
	// Hostname is the UTS node name inside.
	Hostname string

	// Filter is the seccomp program.
	Filter Filter
	// DenyWriteExecute sets PR_SET_MDWE where the kernel has it (6.3).
	DenyWriteExecute bool
	// Loopback brings lo up in the network namespace.
	Loopback bool

	// User says whose host ids the run has.
	User User
	// Host is what the host's configuration says.
	Host Host
	// Capabilities of the workload by bits, over the run's own user
	// namespace; without one the run is refused.
	Capabilities uint64
	// Limits bound the run.
	Limits Limits
	// Rlimits are set in the workload, soft and hard alike.
	Rlimits []Rlimit
	// Require names the layers that must be applied, or the run is refused.
	Require []string
}

// Stamp is the identity of one file or directory: what fstat(2) gave when the
// plan was made. Times are nanoseconds since the epoch.
type Stamp struct {
	Path                   string
	Dev, Ino               uint64
	Size, MtimeNs, CtimeNs int64
	// Absent is set for a path that did not exist: it must still not exist.
	Absent bool
	// Passage is set for a directory on the way to something: only its
	// identity, Mode and UID count, and not what comes and goes in it. Names
	// in it that matter have stamps of their own.
	Passage bool
	// Mode and UID are those of st_mode and st_uid; only with Passage.
	Mode, UID uint32
}

// Exec is the program that the kernel executes.
type Exec struct {
	// Path is the absolute host path of the ELF file that is executed: the
	// program, or the interpreter of a `#!` script.
	Path string
	// Inside is its absolute path in the view, where it is bound by
	// descriptor.
	Inside string
	// Identity is what fstat of Path must give at launch; Identity.Path is
	// Path.
	Identity Stamp
}

// Env makes the environment: Set in order, then each Pass name that the
// caller has and that Set does not name.
type Env struct {
	// Set holds "NAME=value" strings, sorted by name.
	Set []string
	// Pass holds names; a trailing '*' is a prefix match.
	Pass []string
}

// UserDynamic is the Name of a User who is nobody: ids of the run's own.
const UserDynamic = "dynamic"

// User says whose host ids a run has (SPEC 4, Identity).
type User struct {
	// Name is what the policy says: empty or "caller" for who asks for the
	// run, UserDynamic, the name of a user or uid:gid.
	Name string
	// UID and GID are the host ids of a user named; UID is 0 for none.
	UID, GID uint32
}

// Host is what the configuration of a host says about each of its runs.
type Host struct {
	// IDBase is the first host id of the blocks for runs launched by root; 0:
	// the runner's default.
	IDBase uint32
	// OwnerUID and OwnerGID are the unprivileged user that writable trees of
	// root's are written as; OwnerUID 0: there is none, and they are refused.
	OwnerUID, OwnerGID uint32
	// OwnerName is his name, also when this host has no such user.
	OwnerName string
	// NeedsDaemon refuses an ordinary user's run without the daemon.
	NeedsDaemon bool
	// Require names layers like Plan.Require, but a layer that holds what a
	// run does not have (a limit, a mapped tree) is not missed.
	Require []string
}

// StepKind says what a Step makes.
type StepKind uint8

// The kinds of steps. The zero value is invalid.
const (
	// Dir makes a directory with Mode.
	Dir StepKind = iota + 1
	// Symlink makes a symbolic link to Source at Path.
	Symlink
	// File makes a regular file with Mode and Data.
	File
	// Tmpfs mounts a tmpfs bounded by Size bytes and Files inodes.
	Tmpfs
	// Proc mounts a private proc; with Subset it is subset=pid.
	Proc
	// Devpts mounts a private devpts.
	Devpts
	// Device binds the host's device node Source at Path.
	Device
	// Tree binds the host's file or directory Source at Path, recursively.
	Tree
	// Seal makes the mount at Path read-only, not recursively.
	Seal
)

// Flags qualify a Step.
type Flags uint16

// The flags of a step. nosuid and nodev are always set on everything that a
// launch mounts, device nodes excepted (nosuid only).
const (
	// Writable leaves a Tree writable; without it a Tree is read-only all
	// the way down (mount_setattr(2) with AT_RECURSIVE).
	Writable Flags = 1 << iota
	// Executable leaves out noexec.
	Executable
	// Optional skips the step when the source does not exist.
	Optional
	// Subset mounts proc with subset=pid (5.8).
	Subset
	// SourceCwd takes the caller's working directory, by descriptor, as the
	// Source and as the Path.
	SourceCwd
	// Mapped: a writable Tree whose owner is mapped to the run's id by an
	// idmapped mount, when the launcher is root.
	Mapped
	// OverFile: Path is a file, not a directory (the mount point is made as
	// an empty file where it does not exist).
	OverFile
	// Exists: the mount point exists already (below an earlier Tree) and
	// must not be made.
	Exists
	// Covers: a Tmpfs or a Tree that hides what is at Path in a tree which
	// somebody may change while it is shown. No symbolic link is followed to
	// it, and where nothing is there any more, the launch fails. A Tmpfs is
	// read-only from the start. Only the steps of one run have it.
	Covers
)

// Step is one entry of the view. Path is absolute in the new root.
type Step struct {
	Kind   StepKind
	Flags  Flags
	Mode   uint32
	Path   string
	Source string
	Data   []byte
	// Size bounds a Tmpfs in bytes, Files in inodes; 0 is refused by Encode.
	Size, Files uint64
	// Dev and Ino are the identity that the source of a Tree must have when
	// it is shown; Ino 0: any. Only the steps of one run have them, for what
	// its caller named.
	Dev, Ino uint64
}

// Mask is a path that a call's trees do not show. Whether there is something,
// and a directory or a file, the launch finds out: it may come and go as long
// as the plan is in force.
type Mask struct {
	// Path is absolute on the host, as the policy has it; with Cwd it is what
	// follows the caller's working directory: "/.git".
	Path string
	Cwd  bool
}

// Filter is a seccomp-bpf program.
type Filter struct {
	// Insns holds struct sock_filter entries, 8 bytes each in the byte
	// order of the host; at most 4096 of them (BPF_MAXINSNS).
	Insns []byte
	// ExecOnce holds the instruction indexes whose constant the launch
	// replaces by the low and high words of the path, argv and envp
	// addresses of the one permitted execveat(2): path low, path high, argv
	// low, argv high, envp low, envp high. Empty: execve is not
	// held to one call.
	ExecOnce []uint16
	// Denied are the calls that the policy denies, ByArgs those that it allows
	// and refuses with some arguments; sorted. They only explain a violation:
	// what would not allow the call is not said to.
	Denied, ByArgs []uint32
}

// Limits bound a run. Zero means no bound.
type Limits struct {
	MemoryMax uint64
	// MemorySwapMax counts only where SwapSet: 0 is a bound as well.
	MemorySwapMax uint64
	SwapSet       bool
	PidsMax       uint64
	// CPUQuota microseconds of every CPUPeriod microseconds.
	CPUQuota, CPUPeriod uint64
	CPUWeight           uint64
	// IOMax holds lines for io.max: "MAJ:MIN rbps=... wbps=...".
	IOMax []string
	// Timeout is wall time.
	Timeout time.Duration
	// OutputMax bounds the bytes of stdout and stderr together.
	OutputMax uint64
	// Required holds the names of the limits that must be held or the run
	// is refused: memory_max, memory_swap_max, pids_max, cpu_max,
	// cpu_weight, io_max.
	Required []string
}
