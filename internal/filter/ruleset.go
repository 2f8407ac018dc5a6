// Package filter turns a ruleset into a seccomp-bpf program. Start with
// [Ruleset] and [Compile].
//
// A filter is written twice: by Compile, whose form loads several times faster
// than libseccomp's, and by libseccomp ([Reference]), the oracle. [Agree] runs
// both over every call number and around every argument rule; a program on
// which they differ must not be used. [Ruleset.Evaluate] is the meaning that
// the tests hold both against, [Run] the interpreter they share.
//
// The package loads nothing and decides no policy. A filter sees numbers,
// never what a pointer points to, so no rule here can hold a path, an address
// or a structure (clone3, openat2) to anything.
//
// Everything but Reference builds without cgo.
package filter

// Kind says what the kernel does with a call.
type Kind uint8

// The kinds of verdicts; the zero value is the strictest.
const (
	// Violation: SECCOMP_RET_USER_NOTIF, the call never runs and the run is
	// killed by its supervisor.
	Violation Kind = iota
	// Kill: SECCOMP_RET_KILL_PROCESS, without a word to the supervisor.
	Kill
	// Errno: SECCOMP_RET_ERRNO.
	Errno
	// Allow: SECCOMP_RET_ALLOW.
	Allow
)

// Verdict is a kind and, for Errno, the errno (1..4095).
type Verdict struct {
	Kind  Kind
	Errno uint16
}

// Op compares an argument.
type Op uint8

// The comparisons. MaskedEqual: (argument & Mask) == Value.
const (
	Equal Op = iota + 1
	NotEqual
	Less
	LessOrEqual
	Greater
	GreaterOrEqual
	MaskedEqual
)

// Test is one comparison of an argument.
type Test struct {
	Index uint8 // 0..5
	Op    Op
	Value uint64
	Mask  uint64
	// Wide compares 64 bits; otherwise only the low 32 bits are looked at,
	// as the kernel does for int arguments (CVE-2019-10063).
	Wide bool
}

// Rule holds when all of its tests hold.
type Rule struct {
	Tests   []Test
	Verdict Verdict
}

// Call is the verdict of one syscall number: the first rule that holds,
// else Default.
type Call struct {
	Rules   []Rule
	Default Verdict
}

// Ruleset says what happens to every call of the native ABI. Foreign
// architectures and, on amd64, the x32 bit are violations before anything else
// is looked at.
type Ruleset struct {
	// Arch is amd64 or arm64.
	Arch string
	// Calls by syscall number.
	Calls map[uint32]Call
	// Default is for numbers that are in no entry of Calls.
	Default Verdict
	// ExecOnce lets exactly one execveat(2) pass, the one whose path, argv
	// and envp pointers are three secret constants. Every other execveat gets
	// ExecveatVerdict and execve(2) ExecveVerdict; entries of Calls for both
	// are ignored.
	ExecOnce                       bool
	ExecveVerdict, ExecveatVerdict Verdict
}
