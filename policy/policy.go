// Package policy holds what an operator may write about a command: the
// types, their strict parsing with positions, the merge with the base, the
// canonical form. Values are pure: nothing here opens a file, reads a clock
// or looks at the host.
package policy

import "time"

// Policy is one `policy:` mapping of SPEC section 4. Pointers and nil slices
// tell "not stated" from a stated zero or empty list.
type Policy struct {
	// Extends names stock policies; nil means [base], empty means none.
	Extends []string
	// Filesystem is the view.
	Filesystem Filesystem
	Syscalls   Syscalls
	Network    Network
	// Sockets lists address families besides what Network opens: unix,
	// inet, inet6, ...
	Sockets []string
	Limits  Limits
	Devices []string
	Env     Env
	// User is caller, dynamic, a NAME or uid:gid.
	User         string
	Capabilities []string
	// DenyWriteExecute is memory_deny_write_execute.
	DenyWriteExecute *bool
	// Require names layers that must be applied.
	Require []string
	// Places tells where this is written; nil: nowhere.
	Places Places
}

// Filesystem is the view of the file tree.
type Filesystem struct {
	Proc string // "", subset, full
	View string // "", none, minimal
	Read []PathRule
	// Write lists writable trees.
	Write []PathRule
	// Exec lists what else may be executed: paths, directories or "view".
	// nil: not stated.
	Exec  []PathRule
	Tmpfs []Tmpfs
	// Mask lists what is hidden, wherever it is shown; a path may begin with
	// "{{cwd}}/".
	Mask []PathRule
}

// PathRule is one path of a list. Path is absolute or "{{cwd}}" (or "view"
// in Exec; in Mask, below "{{cwd}}").
type PathRule struct {
	Path     string
	Optional bool // written with a leading '-'
	// AsOwner is `as: owner`.
	AsOwner bool
	Pos     Pos
}

// Tmpfs is a private memory file system.
type Tmpfs struct {
	Path  string
	Size  Bytes
	Files uint64
	Pos   Pos
}

// Syscalls is the ruleset. Names are syscall names, "@group" or "nr:NUMBER".
type Syscalls struct {
	Allow []Name
	Deny  []Name
	// Errno maps an errno name (EPERM) to the calls that get it.
	Errno map[string][]Name
	Rules []Rule
	// Default is kill or errno; "" is kill.
	Default string
}

// Name is a syscall, group or number as written, with its position.
type Name struct {
	Text string
	Pos  Pos
}

// Rule is an argument rule with OCI's fields.
type Rule struct {
	Names  []Name
	Args   []Arg
	Action string // allow, errno, kill
	Errno  string // errno name for action errno
	Pos    Pos
}

// Arg is one argument test: op is eq, ne, lt, le, gt, ge, masked_eq. For
// masked_eq, (argument & Mask) == Value.
type Arg struct {
	Index uint32
	Op    string
	Value uint64
	Mask  uint64
}

// Network says what the network namespace holds.
type Network struct {
	Mode  string // "", none, loopback, egress
	Allow []Endpoint
}

// Endpoint is one egress rule, as written.
type Endpoint struct {
	Host, CIDR string
	Port       uint16
	UDP        bool
	Pos        Pos
}

// Limits as stated. nil is "not stated".
type Limits struct {
	MemoryMax     *Limit[Bytes]
	MemorySwapMax *Limit[Bytes]
	PidsMax       *Limit[uint64]
	CPUMax        *Limit[CPU]
	CPUWeight     *Limit[uint64]
	IOMax         *Limit[[]string]
	Timeout       *Limit[time.Duration]
	OutputMax     *Limit[Bytes]
	// Rlimits by getrlimit(2) name in lower case without RLIMIT_: nofile.
	Rlimits map[string]Limit[uint64]
}

// Limit is a value and whether the run may go on where the host cannot hold
// it (written with a leading '-' before the key, or a default).
type Limit[T any] struct {
	Value    T
	Optional bool
}

// Bytes is a size in bytes.
type Bytes uint64

// CPU is a quota of microseconds in each period of microseconds.
type CPU struct{ Quota, Period uint64 }

// Env says how the environment is made.
type Env struct {
	Pass []string
	Set  map[string]string
}

// Pos is a position in the source, both 1-based; zero is unknown.
type Pos struct{ Line, Col int }
