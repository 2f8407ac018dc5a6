package filter

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/sbx-project/sbx/internal/syscalls"
)

// x32Bit marks, on amd64, numbers of the x32 ABI (__X32_SYSCALL_BIT). Such a
// call has its own number space over the same architecture word, and would
// slip through a list that does not know it.
const x32Bit = 0x40000000

// maxErrno is MAX_ERRNO; the kernel cuts higher values down to it.
const maxErrno = 4095

// Program is a compiled ruleset, in the form that a plan carries.
type Program struct {
	// Insns holds 1 to 4096 struct sock_filter entries, 8 bytes each, in
	// the byte order of the host.
	Insns []byte
	// ExecOnce holds the indexes of the six instructions whose constant the
	// launch replaces by the low and high words of the path, argv and envp
	// addresses of the permitted execveat(2), in this order. Until it does,
	// the program refuses every execveat. Nil without Ruleset.ExecOnce.
	ExecOnce []uint16
}

// Compile writes the program of rs. Equal rulesets give equal bytes.
//
// The form is a tree of comparisons with the call's number that ends in shared
// answers, or in shared tests of arguments. The tree is the cheapest for
// loading: since 5.11 the kernel keeps a bitmap of the numbers that are always
// allowed, so that their verdict costs the same in any form, but fills it by
// running the program for each number when it is loaded (kernel/seccomp.c,
// seccomp_cache_prepare); there short paths pay.
//
// It returns an error for an unknown architecture, a number of 2^30 or more, a
// kind, operation or argument that does not exist, an errno that is not 1 to
// 4095, a test of 32 bits with a value or mask that needs more, a masked test
// that can never hold, ExecOnce with a verdict that allows, and a program of
// more than 4096 instructions.
func Compile(rs Ruleset) (Program, error) {
	if err := rs.validate(); err != nil {
		return Program{}, err
	}
	arch, err := auditArch(rs.Arch)
	if err != nil {
		return Program{}, err
	}

	g := newGraph()
	fallback := g.answer(rs.Default)
	decisions := make(map[uint32]int32, len(rs.Calls))
	for _, nr := range slices.Sorted(maps.Keys(rs.Calls)) {
		decisions[nr] = g.call(rs.Calls[nr])
	}
	if rs.ExecOnce {
		execve, execveat := execNumbers(rs.Arch)
		decisions[execve] = g.answer(rs.ExecveVerdict)
		decisions[execveat] = g.add(node{kind: once, value: rs.ExecveatVerdict.returnValue()})
	}
	last := fallback
	if rs.Arch == "amd64" {
		last = g.answer(foreign)
	}
	list := spans(decisions, fallback, x32Bit, last)

	a := newAssembler()
	roots := make([]int32, len(list))
	for i, s := range list {
		roots[i] = s.root
	}
	starts := map[int32]label{}
	for i, l := range g.assemble(a, roots) {
		starts[roots[i]] = l
	}
	start := newSearch(list).assemble(a, 0, len(list)-1, func(root int32) label { return starts[root] })
	a.fallInto(start)
	a.emit(opLoad, offNumber)
	a.branch(opEqual, arch, a.here(), returns(foreign.returnValue()))
	a.emit(opLoad, offArch)

	code, marks := a.finish()
	if len(code) > maxInsns {
		return Program{}, fmt.Errorf("filter needs %d instructions, the kernel takes %d", len(code), maxInsns)
	}
	return Program{Insns: encode(code), ExecOnce: marks}, nil
}

// execNumbers returns the numbers of execve(2) and execveat(2).
func execNumbers(arch string) (execve, execveat uint32) {
	execve, ok := syscalls.Number(arch, "execve")
	execveat, okAt := syscalls.Number(arch, "execveat")
	if !ok || !okAt {
		panic("filter: bug: no execve in the table of " + arch)
	}
	return execve, execveat
}

func (rs Ruleset) validate() error {
	if _, err := auditArch(rs.Arch); err != nil {
		return err
	}
	if err := rs.Default.validate(); err != nil {
		return fmt.Errorf("default: %w", err)
	}
	if rs.ExecOnce {
		for _, v := range []Verdict{rs.ExecveVerdict, rs.ExecveatVerdict} {
			if err := v.validate(); err != nil {
				return fmt.Errorf("exec verdict: %w", err)
			}
			if v.Kind == Allow {
				return errors.New("exec verdict: exec-once cannot allow every execve")
			}
		}
	}
	for _, nr := range slices.Sorted(maps.Keys(rs.Calls)) {
		call := rs.Calls[nr]
		if nr >= x32Bit {
			return fmt.Errorf("call %d: numbers end at %d", nr, x32Bit-1)
		}
		if err := call.Default.validate(); err != nil {
			return fmt.Errorf("call %d: %w", nr, err)
		}
		for i, rule := range call.Rules {
			if err := rule.validate(); err != nil {
				return fmt.Errorf("call %d: rule %d: %w", nr, i, err)
			}
		}
	}
	return nil
}

func (r Rule) validate() error {
	for i, t := range r.Tests {
		if err := t.validate(); err != nil {
			return fmt.Errorf("test %d: %w", i, err)
		}
	}
	return r.Verdict.validate()
}

func (v Verdict) validate() error {
	if v.Kind > Allow {
		return fmt.Errorf("verdict kind %d does not exist", v.Kind)
	}
	// Errno 0 would make the call look done.
	if v.Kind == Errno && (v.Errno == 0 || v.Errno > maxErrno) {
		return fmt.Errorf("errno %d: want 1 to %d", v.Errno, maxErrno)
	}
	return nil
}

func (t Test) validate() error {
	switch {
	case t.Index > 5:
		return fmt.Errorf("argument %d: want 0 to 5", t.Index)
	case t.Op < Equal || t.Op > MaskedEqual:
		return fmt.Errorf("operation %d does not exist", t.Op)
	case !t.Wide && t.Value>>32 != 0:
		// Cutting it down would make the test hold for another value.
		return fmt.Errorf("value %#x: the test compares 32 bits", t.Value)
	case t.Op != MaskedEqual:
		return nil
	case !t.Wide && t.Mask>>32 != 0:
		return fmt.Errorf("mask %#x: the test compares 32 bits", t.Mask)
	case t.Value&^t.Mask != 0:
		return fmt.Errorf("value %#x has bits outside mask %#x and never matches", t.Value, t.Mask)
	}
	return nil
}
