package registry

//go:generate go run ./schemagen

import (
	"time"

	"github.com/sbx-project/sbx/policy"
)

// APIVersion is the only value of a manifest's apiVersion key.
const APIVersion = "sbx/v1"

// Manifest is a decoded bundle.yaml. It is a pure value: nothing in it was
// looked up on the host. Make one with [FromNode], which fills in the
// defaults named at each field.
type Manifest struct {
	// Name is the dotted command name; it equals the path of the bundle.
	Name string
	// Version is a semantic version without a leading v: 2.4.1.
	Version string
	// Summary is one line for people; it may be empty.
	Summary string
	// Exec says what is executed.
	Exec Exec
	// Params are the declared parameters in the order of the manifest. They
	// are only there with Exec.Args ArgsDeclared.
	Params []Param
	// Requires is what must be there before the bundle may become active.
	Requires Requires
	// Floor is the oldest version that the command may return to; empty:
	// none.
	Floor string
	// Counter is the version vector of `revision: {counter: ...}`; nil: the
	// version decides.
	Counter map[string]uint64
	// Checks are proved in the sandbox before activation.
	Checks []Check
	// OnViolation is what a violation in probation does; OnViolationRevert
	// when not stated.
	OnViolation OnViolation
	// Probation is 5 runs within 24 hours when not stated.
	Probation Probation
	// RevertBudget is 1 within 24 hours when not stated.
	RevertBudget RevertBudget
	// Allow says who may run the command through the daemon; empty:
	// everybody who may reach the socket.
	Allow Allow
	// Policy is the policy as written, not yet resolved.
	Policy policy.Policy
}

// Args says how the caller's arguments reach the program.
type Args uint8

// The ways of arguments. The zero value is the one that lets the caller do
// least.
const (
	// ArgsDeclared: only declared parameters, put in place by Exec.Argv.
	ArgsDeclared Args = iota
	// ArgsPassthrough: everything after the name is handed over untouched.
	ArgsPassthrough
)

// Exec says what is executed.
type Exec struct {
	// Path is absolute, or relative to the bundle when it starts with no
	// slash (a clean path without "..").
	Path string
	// SHA256 is 64 lower-case hex digits that the file must have; empty: the
	// digest taken when the file was first seen.
	SHA256 string
	// Argv0 is argv[0]; empty: the last element of Path.
	Argv0 string
	// Args is declared unless stated.
	Args Args
	// Argv is the argument vector after argv[0], with templates.
	Argv []string
	// Pos is the position of the path's value.
	Pos policy.Pos
}

// Param is one declared parameter.
type Param struct {
	Name string
	// Type is string int float bool duration size path enum.
	Type string
	// List is set for a list of Type, written "[TYPE]".
	List bool
	// Chars is a set of permitted bytes as written: ranges like a-z0-9_.
	// Empty: no bound.
	Chars string
	// Max bounds the value's length in bytes; 0: 4096.
	Max uint64
	// Values are the members of an enum.
	Values []string
	// Default is the value when the parameter is absent, as written.
	Default    string
	HasDefault bool
	Required   bool
	// Secret values are given as `--name @FD` and never logged.
	Secret bool
	// Access is read, write or create, for type path.
	Access string
	// Position is 1-based; 0: only by name.
	Position uint64
	Help     string
	Pos      policy.Pos
}

// Requires is what a bundle needs.
type Requires struct {
	// SBX is a constraint on sbx's own version: ">=0.3".
	SBX string
	// Commands are names of the same registry.
	Commands []string
	// Features are names of `sbx doctor --json`.
	Features []string
	// FeaturePos has the place of each of Features.
	FeaturePos []policy.Pos
}

// Check is one proof: a run with Argv must end as expected.
type Check struct {
	// Argv are the caller's arguments, after the command's name. When they
	// are no call of the declared parameters they are the program's own.
	Argv []string
	// Exit is the expected exit status, 0 to 255, when Violation is empty.
	Exit int
	// Violation is the syscall whose refusal is expected; empty: none.
	Violation string
	// ViolationPos is where it is written, for messages.
	ViolationPos policy.Pos
	Pos          policy.Pos
}

// OnViolation is what a violation in probation does besides the kill.
type OnViolation uint8

// The reactions. The zero value is the default of a manifest.
const (
	// OnViolationRevert puts the command back on its last good.
	OnViolationRevert OnViolation = iota
	// OnViolationQuarantine makes the name refuse until an operator acts.
	OnViolationQuarantine
	// OnViolationKill changes nothing.
	OnViolationKill
)

// Probation bounds the first runs of a revision.
type Probation struct {
	Runs   uint64
	Window time.Duration
}

// RevertBudget bounds how often a command may be reverted by itself.
type RevertBudget struct {
	Count  uint64
	Window time.Duration
}

// Allow lists callers by name.
type Allow struct {
	Users, Groups []string
}
