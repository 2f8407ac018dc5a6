package engine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/syscalls"
	"github.com/sbx-project/sbx/policy"
)

// userRule is an argument rule of the policy.
type userRule struct {
	action  string
	verdict filter.Verdict
	tests   []filter.Test
}

// userRules sorts the policy's rules by call number, and those of a call by
// their errno: of two that hold for the same arguments the lower number answers,
// in whatever order they are written.
func userRules(arch string, rules []policy.Rule) (map[uint32][]userRule, error) {
	out := map[uint32][]userRule{}
	for _, r := range rules {
		u := userRule{action: r.Action}
		switch r.Action {
		case "allow":
			u.verdict = allow
		case "kill":
			u.verdict = violation
		case "errno":
			n, ok := policy.Errno(r.Errno)
			if !ok {
				return nil, refuse(r.Pos, "", "syscalls.rules: unknown errno %q", r.Errno)
			}
			u.verdict = errno(n)
		default:
			return nil, refuse(r.Pos, "action: allow, errno or kill", "syscalls.rules: unknown action %q", r.Action)
		}
		for _, n := range r.Names {
			calls, nr, err := expand(arch, n, u.action != "allow")
			if err != nil {
				return nil, err
			}
			if calls == nil {
				if u.tests, err = userTests("", r); err != nil {
					return nil, err
				}
				out[nr] = append(out[nr], u)
			}
			for _, name := range calls {
				// Whatever its arguments: exec-once does not cover rules.
				if u.action != "allow" && indispensable(name, true) {
					return nil, noEnd(n, name)
				}
				nr, ok := syscalls.Number(arch, name)
				if !ok {
					continue // a call of the other architecture
				}
				if u.tests, err = userTests(name, r); err != nil {
					return nil, err
				}
				out[nr] = append(out[nr], u)
			}
		}
	}
	for _, list := range out {
		slices.SortStableFunc(list, func(a, b userRule) int { return cmp.Compare(a.verdict.Errno, b.verdict.Errno) })
	}
	return out, nil
}

var ops = map[string]filter.Op{
	"eq": filter.Equal, "ne": filter.NotEqual, "lt": filter.Less, "le": filter.LessOrEqual,
	"gt": filter.Greater, "ge": filter.GreaterOrEqual, "masked_eq": filter.MaskedEqual,
}

// userTests turns the arguments of a rule into tests. Where the width of an
// argument is known, it is that one. Where it is not, it is the one under
// which the rule does less harm: a permission holds only where it would hold
// on 32 and on 64 bits, a refusal strikes where it would on either.
func userTests(call string, r policy.Rule) ([]filter.Test, error) {
	mask, known := wide[call]
	var out []filter.Test
	for _, a := range r.Args {
		op, ok := ops[a.Op]
		if !ok || a.Index > 5 {
			return nil, refuse(r.Pos, "", "syscalls.rules: test %q of argument %d", a.Op, a.Index)
		}
		t := filter.Test{Index: uint8(a.Index), Op: op, Value: a.Value}
		if op == filter.MaskedEqual {
			t.Mask = a.Mask
		}
		large := t.Value>>32 != 0 || t.Mask>>32 != 0
		switch {
		case !known:
			// For values of 32 bits: what equals them or is below them on 64
			// bits does so on 32 as well, what differs or is above on 32
			// does so on 64. A mask without high bits sees none.
			narrowest := op == filter.Equal || op == filter.Less || op == filter.LessOrEqual
			t.Wide = large || op != filter.MaskedEqual && narrowest == (r.Action == "allow")
		case mask&(1<<a.Index) != 0:
			t.Wide = true
		case large && t.Value>>32 == 0:
			return nil, refuse(r.Pos, fmt.Sprintf("write mask: %#x", uint32(t.Mask)),
				"syscalls.rules: mask %#x of argument %d of %s: the kernel takes 32 bits of it", t.Mask, a.Index, call)
		case large:
			return nil, refuse(r.Pos, "the kernel takes 32 bits of it",
				"syscalls.rules: argument %d of %s never has the value %#x", a.Index, call, a.Value)
		}
		out = append(out, t)
	}
	return out, nil
}
