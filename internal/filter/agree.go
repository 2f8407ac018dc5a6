package filter

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// ErrDisagree is in the error of [Agree] when the two programs answer a call
// differently: a bug in one of the compilers. The program must not be used.
var ErrDisagree = errors.New("filter differs from the reference")

// unmatched is the default action of a reference: no rule spoke of the call,
// so its verdict is the default of its number. libseccomp knows one default
// for the whole filter, where a ruleset has one for each call, and of rules
// for the same call it knows no order; so the reference answers which rule
// holds, and Agree reads the defaults from the ruleset. No verdict of a
// ruleset is a trace.
const unmatched = unix.SECCOMP_RET_TRACE | 0x5b78

// probedNumbers is how many numbers Agree tries from 0 on: all that exist, and
// as many again that do not.
const probedNumbers = 1024

// maxProbes bounds the argument combinations tried per call. Above it, values
// are varied one argument at a time.
const maxProbes = 2048

// Agree reports whether ours, from [Compile], and ref, from [Reference], give
// the same verdict for: numbers 0 to 1023 of the native ABI, the same with
// amd64's x32 bit, the same under a foreign architecture; and, for each call
// with rules, arguments at and around the values of its tests, with and
// without bits above the low 32. A call that libseccomp cannot express is held
// against [Ruleset.Evaluate] in its place. It returns an error wrapping [ErrDisagree]
// that names the first difference.
//
// The engine asks at each compile; it takes a few milliseconds.
func Agree(rs Ruleset, ours, ref []byte) error {
	native, err := auditArch(rs.Arch)
	if err != nil {
		return err
	}
	foreign := uint32(unix.AUDIT_ARCH_I386)
	if rs.Arch == "arm64" {
		foreign = unix.AUDIT_ARCH_ARM
	}
	p := pair{rs: rs, left: rs.express().left}
	if p.ours, err = decode(ours, maxInsns); err != nil {
		return err
	}
	if p.ref, err = decode(ref, maxReference); err != nil {
		return fmt.Errorf("reference: %w", err)
	}

	for nr := range uint32(probedNumbers) {
		for _, d := range []*data{
			newData(native, nr, 0, [6]uint64{}),
			newData(native, nr|x32Bit, 0, [6]uint64{}),
			newData(foreign, nr, 0, [6]uint64{}),
		} {
			if err := p.same(d); err != nil {
				return err
			}
		}
	}
	for _, nr := range slices.Sorted(maps.Keys(rs.Calls)) {
		for _, args := range probes(rs.Calls[nr]) {
			if err := p.same(newData(native, nr, 0, args)); err != nil {
				return err
			}
		}
	}
	return nil
}

// pair is a ruleset and two programs for it.
type pair struct {
	rs        Ruleset
	ours, ref []insn
	left      map[uint32]bool // calls of which ref says nothing
}

func (p *pair) same(d *data) error {
	got, err := interpret(p.ours, d)
	if err != nil {
		return fmt.Errorf("call %d: %w", d[0], err)
	}
	want, err := interpret(p.ref, d)
	if err != nil {
		return fmt.Errorf("reference: call %d: %w", d[0], err)
	}
	if want == unmatched {
		verdict := p.rs.Default
		if p.left[d[0]] {
			verdict = p.rs.Evaluate(d[0], d.args())
		} else if call, ok := p.rs.Calls[d[0]]; ok {
			verdict = call.simple().Default
		}
		want = verdict.returnValue()
	}
	if normal(got) != normal(want) {
		return fmt.Errorf("%w: architecture %#x call %d args %x: %s, reference %s",
			ErrDisagree, d[1], d[0], d[4:], returnText(got), returnText(want))
	}
	return nil
}

// normal drops the data of an answer where the kernel does not look at it.
func normal(value uint32) uint32 {
	switch action := value & unix.SECCOMP_RET_ACTION_FULL; action {
	case unix.SECCOMP_RET_ERRNO, unix.SECCOMP_RET_TRACE, unix.SECCOMP_RET_TRAP:
		return value
	default:
		return action
	}
}

// probes returns arguments around the borders of the rules of c: for each
// rule, the interesting values of the arguments it tests, in all combinations
// while they are few, while the arguments it does not test are zero and ones.
func probes(c Call) [][6]uint64 {
	var values [6][]uint64
	combinations := 1
	for _, rule := range c.Rules {
		for _, t := range rule.Tests {
			values[t.Index] = append(values[t.Index], t.borders()...)
		}
	}
	for i := range values {
		if values[i] != nil {
			values[i] = append(values[i], 0, 1<<64-1)
			slices.Sort(values[i])
			values[i] = slices.Compact(values[i])
			combinations *= min(len(values[i]), maxProbes)
			combinations = min(combinations, maxProbes+1)
		}
	}
	if combinations <= maxProbes {
		return product(values)
	}

	// One argument at a time, starting from what meets each rule.
	var out [][6]uint64
	for _, rule := range c.Rules {
		var base [6]uint64
		for _, t := range rule.Tests {
			base[t.Index] = t.met()
		}
		out = append(out, base)
		for i := range values {
			for _, v := range values[i] {
				args := base
				args[i] = v
				out = append(out, args)
			}
		}
	}
	return out
}

// product returns all combinations; an argument without values is 0.
func product(values [6][]uint64) [][6]uint64 {
	out := [][6]uint64{{}}
	for i, list := range values {
		if list == nil {
			continue
		}
		var next [][6]uint64
		for _, args := range out {
			for _, v := range list {
				args[i] = v
				next = append(next, args)
			}
		}
		out = next
	}
	return out
}

// borders returns values at which t changes its mind, and the same with other
// bits above the low 32.
func (t Test) borders() []uint64 {
	v := t.Value
	out := []uint64{v - 1, v, v + 1}
	if t.Op == MaskedEqual {
		out = append(out, t.Mask, v|^t.Mask, v^(t.Mask&-t.Mask))
	}
	for _, low := range out {
		out = append(out, low^0xdeadbeef_00000000)
	}
	return out
}

// met returns a value for which t holds, if there is one.
func (t Test) met() uint64 {
	switch t.Op {
	case NotEqual, Greater:
		return t.Value + 1
	case Less:
		return t.Value - 1
	}
	return t.Value
}
