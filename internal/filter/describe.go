package filter

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sbx-project/sbx/internal/syscalls"
)

// Describe returns what rs says of each call, one line per call in the order
// of numbers: name, tab, verdict; rules first, separated by "; ". Calls
// without a name show as nr:NUMBER. The last lines are for all other numbers
// and for foreign ABIs.
func Describe(rs Ruleset) string {
	var b strings.Builder
	calls := maps.Clone(rs.Calls)
	if calls == nil {
		calls = map[uint32]Call{}
	}
	execveat := ^uint32(0)
	if _, err := auditArch(rs.Arch); err == nil && rs.ExecOnce {
		var execve uint32
		execve, execveat = execNumbers(rs.Arch)
		calls[execve] = Call{Default: rs.ExecveVerdict}
		calls[execveat] = Call{Default: rs.ExecveatVerdict}
	}
	for _, nr := range slices.Sorted(maps.Keys(calls)) {
		name, ok := syscalls.Name(rs.Arch, nr)
		if !ok {
			name = fmt.Sprintf("nr:%d", nr)
		}
		b.WriteString(name + "\t")
		if nr == execveat {
			b.WriteString("the launch's own: allow; else ")
		}
		b.WriteString(calls[nr].String() + "\n")
	}
	fmt.Fprintf(&b, "any other\t%s\n", rs.Default)
	fmt.Fprintf(&b, "foreign ABI\t%s\n", foreign)
	return b.String()
}

// String returns the rules and the default, for people.
func (c Call) String() string {
	var parts []string
	for _, rule := range c.Rules {
		var tests []string
		for _, t := range rule.Tests {
			tests = append(tests, t.String())
		}
		if len(tests) == 0 {
			tests = []string{"always"}
		}
		parts = append(parts, strings.Join(tests, " and ")+": "+rule.Verdict.String())
	}
	if len(parts) == 0 {
		return c.Default.String()
	}
	return strings.Join(parts, "; ") + "; else " + c.Default.String()
}

// String returns allow, violation, kill or errno and its name.
func (v Verdict) String() string {
	switch v.Kind {
	case Violation:
		return "violation"
	case Kill:
		return "kill"
	case Errno:
		return "errno " + errnoName(v.Errno)
	case Allow:
		return "allow"
	}
	return fmt.Sprintf("verdict %d", v.Kind)
}

// String returns the comparison, for people: int(...) marks one of 32 bits.
func (t Test) String() string {
	arg := fmt.Sprintf("int(arg%d)", t.Index)
	if t.Wide {
		arg = fmt.Sprintf("arg%d", t.Index)
	}
	if t.Op == MaskedEqual {
		return fmt.Sprintf("%s & %#x == %#x", arg, t.Mask, t.Value)
	}
	sign := map[Op]string{Equal: "==", NotEqual: "!=", Less: "<", LessOrEqual: "<=", Greater: ">", GreaterOrEqual: ">="}[t.Op]
	if sign == "" {
		sign = fmt.Sprintf("op(%d)", t.Op)
	}
	return fmt.Sprintf("%s %s %#x", arg, sign, t.Value)
}
