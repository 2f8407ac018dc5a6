package filter

import (
	"errors"
	"maps"
	"math/bits"
	"slices"
	"strconv"
)

// maxCubes bounds the conditions into which one call is taken apart for
// libseccomp, whose time grows with their square or worse: 512 equalities
// take it 10 ms, a few thousand over several arguments minutes (2.5.4).
const maxCubes = 512

// maxConditions bounds the conditions of all calls together, and with them the
// time that a policy can make the reference take.
const maxConditions = 8 * maxCubes

// errManyCubes: rules have no bounded form in libseccomp.
var errManyCubes = errors.New("over " + strconv.Itoa(maxCubes) + " conditions")

// expressed are the calls of a ruleset as libseccomp can be told them.
type expressed struct {
	// plain are those with one verdict, lists those with rules.
	plain map[uint32]Verdict
	lists map[uint32][]answered
	// left are those that libseccomp cannot be told: their rules would need
	// more than 512 of its conditions, or all calls together more than 4096
	// (ordered comparisons on several arguments, or rules on one argument that
	// contradict others on another one), or an errno that it does not take.
	// [Agree] holds these against [Ruleset.Evaluate].
	left map[uint32]bool
}

// express takes the rules apart.
func (rs Ruleset) express() expressed {
	e := expressed{plain: map[uint32]Verdict{}, lists: map[uint32][]answered{}, left: map[uint32]bool{}}
	calls := rs.Calls
	if rs.ExecOnce {
		calls = maps.Clone(calls)
		if calls == nil {
			calls = map[uint32]Call{}
		}
		execve, execveat := execNumbers(rs.Arch)
		calls[execve] = Call{Default: rs.ExecveVerdict}
		calls[execveat] = Call{Default: rs.ExecveatVerdict}
	}
	conditions := 0
	for _, nr := range slices.Sorted(maps.Keys(calls)) {
		call := calls[nr].simple()
		switch {
		case call.answers(Verdict{Kind: Errno, Errno: maxErrno}):
			e.left[nr] = true
		case len(call.Rules) == 0:
			e.plain[nr] = call.Default
		default:
			list, err := call.cubes()
			if err == nil {
				list = level(list)
			}
			if err != nil || conditions+len(list) > maxConditions {
				e.left[nr] = true
				continue
			}
			conditions += len(list)
			e.lists[nr] = list
		}
	}
	return e
}

// cube is a set of arguments: those with args[i] & mask[i] == value[i]. It is
// the one condition that libseccomp can express on 32 bits, where its other
// comparisons take in all 64.
type cube struct{ mask, value [6]uint64 }

// answered is a cube and the verdict for the arguments in it.
type answered struct {
	cube
	verdict Verdict
}

// answers reports whether c can give the verdict v.
func (c Call) answers(v Verdict) bool {
	for _, rule := range c.Rules {
		if rule.Verdict == v {
			return true
		}
	}
	return c.Default == v
}

// simple returns c without rules that decide nothing: those after one that
// always holds, which becomes the default, and last ones that say the same as
// the default.
func (c Call) simple() Call {
	for i, rule := range c.Rules {
		if len(rule.Tests) == 0 {
			c = Call{Rules: c.Rules[:i], Default: rule.Verdict}
			break
		}
	}
	for n := len(c.Rules); n > 0 && c.Rules[n-1].Verdict == c.Default; n-- {
		c.Rules = c.Rules[:n-1]
	}
	return c
}

// cubes returns c's rules as cubes in no need of an order: where rules with
// different verdicts overlap, the later one lacks what the earlier takes. What
// no cube holds gets the default of c.
func (c Call) cubes() ([]answered, error) {
	var out []answered
	for _, rule := range c.Rules {
		left, err := rule.cubes()
		if err != nil {
			return nil, err
		}
		for _, earlier := range out {
			if earlier.verdict == rule.Verdict {
				continue
			}
			var rest []cube
			for _, l := range left {
				rest = append(rest, l.minus(earlier.cube)...)
			}
			if left = rest; len(left) > maxCubes {
				return nil, errManyCubes
			}
		}
		for _, l := range left {
			out = append(out, answered{l, rule.Verdict})
		}
		if len(out) > maxCubes {
			return nil, errManyCubes
		}
	}
	return out, nil
}

// cubes returns disjoint cubes that together are where r holds.
func (r Rule) cubes() ([]cube, error) {
	out := []cube{{}}
	for _, t := range r.Tests {
		var next []cube
		for _, a := range out {
			for _, b := range t.cubes() {
				if both, ok := a.and(b); ok {
					next = append(next, both)
				}
			}
		}
		if out = next; len(out) > maxCubes {
			return nil, errManyCubes
		}
	}
	return out, nil
}

// cubes returns disjoint cubes that together are where t holds; an ordered
// comparison falls into one for each bit in which an argument can first
// differ from the value.
func (t Test) cubes() []cube {
	width := 32
	if t.Wide {
		width = 64
	}
	one := func(mask, value uint64) cube {
		var c cube
		c.mask[t.Index], c.value[t.Index] = mask, value
		return c
	}
	all := ^uint64(0) >> (64 - width)
	equal := one(all, t.Value)
	// differing returns a cube for each bit of t.Value in which other, with
	// the bits above it equal, differs by being the given bit.
	differing := func(other uint64) []cube {
		var out []cube
		for bit := range width {
			above := all &^ (1<<bit - 1)
			if t.Value>>bit&1 != other {
				out = append(out, one(above, t.Value&above^1<<bit))
			}
		}
		return out
	}
	switch t.Op {
	case Equal:
		return []cube{equal}
	case NotEqual:
		return append(differing(0), differing(1)...)
	case Less:
		return differing(0)
	case LessOrEqual:
		return append(differing(0), equal)
	case Greater:
		return differing(1)
	case GreaterOrEqual:
		return append(differing(1), equal)
	}
	return []cube{one(t.Mask, t.Value)}
}

// and returns the arguments in both, or false when there are none.
func (c cube) and(d cube) (cube, bool) {
	for i := range c.mask {
		if (c.value[i]^d.value[i])&c.mask[i]&d.mask[i] != 0 {
			return cube{}, false
		}
		c.mask[i] |= d.mask[i]
		c.value[i] |= d.value[i]
	}
	return c, true
}

// minus returns disjoint cubes that are c without d.
func (c cube) minus(d cube) []cube {
	if _, ok := c.and(d); !ok {
		return []cube{c}
	}
	var out []cube
	for i := range c.mask {
		for more := d.mask[i] &^ c.mask[i]; more != 0; more &= more - 1 {
			bit := uint64(1) << bits.TrailingZeros64(more)
			piece := c
			piece.mask[i] |= bit
			piece.value[i] |= bit &^ d.value[i]
			out = append(out, piece)
			c.mask[i] |= bit
			c.value[i] |= d.value[i] & bit
		}
	}
	return out
}

// level makes every cube test every argument that any of the list tests, by
// splitting it at a bit. libseccomp 2.5.4 loses the later tests of a rule
// beside one that tests fewer arguments: with "arg0 == 1" beside "arg0 == 2,
// arg1 & 15 == 1, arg2 == 0" it allows (2, 1, 1).
func level(list []answered) []answered {
	var tested [6]bool
	for _, a := range list {
		for i, mask := range a.mask {
			tested[i] = tested[i] || mask != 0
		}
	}
	for i := range tested {
		if !tested[i] {
			continue
		}
		var out []answered
		for _, a := range list {
			if a.mask[i] != 0 {
				out = append(out, a)
				continue
			}
			a.mask[i] = 1
			out = append(out, a)
			a.value[i] = 1
			out = append(out, a)
		}
		list = out
	}
	return list
}
