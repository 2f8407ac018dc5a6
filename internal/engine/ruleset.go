package engine

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/syscalls"
	"github.com/sbx-project/sbx/internal/weak"
	"github.com/sbx-project/sbx/policy"
)

const (
	eperm        = 1
	einval       = 22
	enotty       = 25
	enosys       = 38
	enoprotoopt  = 92
	eafnosupport = 97
)

func errno(n uint16) filter.Verdict { return filter.Verdict{Kind: filter.Errno, Errno: n} }

var (
	allow     = filter.Verdict{Kind: filter.Allow}
	violation = filter.Verdict{Kind: filter.Violation}
)

// defaultGroup is always allowed: without it not even exit works.
const defaultGroup = "@default"

// networkGroup is opened by what opens an address family, and by nothing
// else that a policy does not spell out.
const networkGroup = "@network-io"

// stance is what a policy says about one call, before argument rules.
type stance struct {
	verdict filter.Verdict
	// stated is set when a list of the policy names the call, itself or in
	// a group.
	stated bool
	// denied: `deny` names it; nothing opens it.
	denied bool
	// byName: `allow` has its own name.
	byName bool
}

// rulesetInput is what the ruleset depends on.
type rulesetInput struct {
	arch     string
	syscalls policy.Syscalls
	families []uint32 // address families that socket(2) may make, sorted
	execOnce bool
	denyWX   bool
	mdwe     bool // the kernel has PR_SET_MDWE
}

// ruleset turns resolved syscalls into what the filter compiler takes.
//
// The order of what policies say is: deny, errno of the own name, allow of the
// own name, errno of a group, allow of a group, default. Within argument
// rules: kill, errno, allow. The order in which things are written never
// matters. Numbers that have no name here get ENOSYS, unless "nr:" names them.
func ruleset(in rulesetInput) (filter.Ruleset, reasons, error) {
	var why reasons
	if weak.Off("guarded") {
		for _, name := range syscalls.GuardedNames() {
			in.syscalls.Allow = append(in.syscalls.Allow, policy.Name{Text: name})
		}
	}
	names, numbers, err := stances(in)
	if err != nil {
		return filter.Ruleset{}, why, err
	}
	rules, err := userRules(in.arch, in.syscalls.Rules)
	if err != nil {
		return filter.Ruleset{}, why, err
	}
	// What a policy answers by itself stands also where nothing but the one
	// exec of the program is open.
	answer := func(call string) filter.Verdict {
		if s := names[call]; s.verdict.Kind == filter.Errno {
			return s.verdict
		}
		return refusal(in.syscalls)
	}
	rs := filter.Ruleset{
		Arch: in.arch, Calls: map[uint32]filter.Call{}, Default: errno(enosys),
		ExecOnce: in.execOnce, ExecveVerdict: answer("execve"), ExecveatVerdict: answer("execveat"),
	}
	fixed := builtins(in)
	for nr := uint32(0); nr <= syscalls.Last(in.arch); nr++ {
		name, ok := syscalls.Name(in.arch, nr)
		if !ok {
			continue
		}
		s := names[name]
		if !s.stated {
			s.verdict = refusal(in.syscalls)
			if weak.Off("default") {
				s.verdict = allow
			}
		}
		r := rules[nr]
		if s.denied {
			r = nil
		}
		rs.Calls[nr] = combine(s, r, fixed[name])
		why.note(nr, s, rs.Calls[nr])
	}
	for nr, s := range numbers { // none of them has a name, see expand
		rs.Calls[nr] = combine(s, rules[nr], nil)
		why.note(nr, s, rs.Calls[nr])
	}
	for nr, r := range rules {
		if _, ok := rs.Calls[nr]; !ok {
			rs.Calls[nr] = combine(stance{verdict: errno(enosys)}, r, nil)
		}
	}
	slices.Sort(why.denied)
	slices.Sort(why.byArgs)
	return rs, why, nil
}

// reasons are why calls are violations, where it is not that nothing allows
// them.
type reasons struct{ denied, byArgs []uint32 }

func (r *reasons) note(nr uint32, s stance, c filter.Call) {
	kills := func(rule filter.Rule) bool { return rule.Verdict == violation }
	switch {
	case s.denied:
		r.denied = append(r.denied, nr)
	case s.verdict.Kind == filter.Allow && (c.Default == violation || slices.ContainsFunc(c.Rules, kills)):
		r.byArgs = append(r.byArgs, nr)
	}
}

// refusal is the verdict for what a policy does not allow.
func refusal(s policy.Syscalls) filter.Verdict {
	if s.Default == "errno" {
		return errno(eperm)
	}
	return violation
}

// stances reads the lists of a policy, by name and for "nr:" by number.
func stances(in rulesetInput) (map[string]stance, map[uint32]stance, error) {
	names, numbers := map[string]stance{}, map[uint32]stance{}
	// From weak to strong; each pass overwrites.
	set := func(list []policy.Name, all bool, keep func(own bool) bool, s stance) error {
		for _, n := range list {
			calls, nr, err := expand(in.arch, n, all)
			if err != nil {
				return err
			}
			own := !strings.HasPrefix(n.Text, "@")
			if !keep(own) {
				continue
			}
			s.byName = own && s.verdict.Kind == filter.Allow
			if calls == nil {
				numbers[nr] = s
				continue
			}
			for _, c := range calls {
				if s.verdict.Kind != filter.Allow && indispensable(c, own) {
					return noEnd(n, c)
				}
				names[c] = s
			}
		}
		return nil
	}
	group, own := func(o bool) bool { return !o }, func(o bool) bool { return o }
	opened := stance{verdict: allow, stated: true}
	opens := []policy.Name{{Text: defaultGroup}}
	if len(in.families) > 0 {
		opens = append(opens, policy.Name{Text: networkGroup})
	}
	if err := set(opens, false, group, opened); err != nil {
		return nil, nil, bug(err)
	}
	refused := make([]string, 0, len(in.syscalls.Errno))
	for e := range in.syscalls.Errno {
		refused = append(refused, e)
	}
	sort.Strings(refused)
	for _, pass := range []func(bool) bool{group, own} {
		if err := set(in.syscalls.Allow, false, pass, opened); err != nil {
			return nil, nil, err
		}
		for _, e := range refused {
			n, ok := policy.Errno(e)
			if !ok {
				return nil, nil, refuse(in.syscalls.Errno[e][0].Pos, policy.Suggest(e, policy.ErrnoNames()), "syscalls.errno: unknown errno %q", e)
			}
			if err := set(in.syscalls.Errno[e], true, pass, stance{verdict: errno(n), stated: true}); err != nil {
				return nil, nil, err
			}
		}
	}
	// The verdict of a denied call is that of one that nothing allows.
	denied := stance{verdict: refusal(in.syscalls), stated: true, denied: true}
	if err := set(in.syscalls.Deny, true, func(bool) bool { return true }, denied); err != nil {
		return nil, nil, err
	}
	return names, numbers, nil
}

// indispensable tells whether a policy may not refuse a call, named itself
// (own) or in a group: a launch that breaks once the filter is loaded ends by
// exit, signal handlers return and sleeps are taken up again, and execveat(2)
// starts the program. Refused in a group, exec-once lets that first one pass.
func indispensable(call string, own bool) bool {
	switch call {
	case "exit", "exit_group", "rt_sigreturn", "restart_syscall":
		return true
	case "execveat":
		return own
	}
	return false
}

func noEnd(n policy.Name, call string) error {
	hint := "take it out"
	switch {
	case n.Text != call:
		hint = "name the calls that are meant"
	case call == "execveat":
		hint = "take it out: without filesystem.exec the first exec is the only one"
	}
	return refuse(n.Pos, hint, "syscalls: %q would refuse %s, which every run needs", n.Text, call)
}

// allCalls are the names of every architecture.
func allCalls() (all []string) {
	for _, a := range syscalls.Arches() {
		all = append(all, syscalls.Names(a)...)
	}
	return all
}

// expand returns the calls that n names, or for "nr:" its number. all takes a
// group with its guarded calls: what refuses, refuses them too.
func expand(arch string, n policy.Name, all bool) (calls []string, nr uint32, err error) {
	switch {
	case strings.HasPrefix(n.Text, "@"):
		get := syscalls.Group
		if all {
			get = syscalls.GroupAll
		}
		calls, ok := get(n.Text)
		if !ok {
			return nil, 0, refuse(n.Pos, policy.OneOf(n.Text, syscalls.Groups()), "unknown syscall group %q", n.Text)
		}
		return append([]string{}, calls...), 0, nil // never nil
	case strings.HasPrefix(n.Text, "nr:"):
		v, err := strconv.ParseUint(n.Text[len("nr:"):], 10, 30)
		if err != nil {
			return nil, 0, refuse(n.Pos, "write nr:462", "%q is not a syscall number", n.Text)
		}
		if name, ok := syscalls.Name(arch, uint32(v)); ok {
			if !all && syscalls.Guarded(name) {
				return nil, 0, refuse(n.Pos, "write "+name, "%q is %s, which only its own name opens", n.Text, name)
			}
			// A number is no way around a rule that is tied to a name.
			return []string{name}, 0, nil
		}
		return nil, uint32(v), nil
	case !syscalls.Known(n.Text):
		hint := policy.Suggest(n.Text, allCalls())
		if hint == "" {
			hint = "a call newer than this table is written nr:NUMBER"
		}
		return nil, 0, refuse(n.Pos, hint, "unknown syscall %q", n.Text)
	}
	return []string{n.Text}, 0, nil
}

// combine makes the call's entry from what the policy says and what is built
// in. A permission of the policy holds only together with what the built-in
// rule demands; a refusal of either side stands.
func combine(s stance, user []userRule, b *builtin) filter.Call {
	if b == nil {
		b = &builtin{}
	}
	if s.denied {
		return filter.Call{Default: s.verdict}
	}
	if b.fixed != nil && s.stated && s.verdict.Kind == filter.Errno {
		return filter.Call{Default: s.verdict}
	}
	if b.fixed != nil {
		return filter.Call{Default: *b.fixed}
	}
	if b.open && !s.stated {
		s.verdict = allow
	}
	var c filter.Call
	for _, t := range b.always {
		c.Rules = append(c.Rules, filter.Rule{Tests: t, Verdict: allow})
	}
	c.Rules = append(c.Rules, b.deny...)
	for _, action := range []string{"kill", "errno"} {
		for _, r := range user {
			if r.action == action {
				c.Rules = append(c.Rules, filter.Rule{Tests: r.tests, Verdict: r.verdict})
			}
		}
	}
	for _, r := range user {
		if r.action != "allow" {
			continue
		}
		if b.must == nil || b.widen {
			c.Rules = append(c.Rules, filter.Rule{Tests: r.tests, Verdict: allow})
			continue
		}
		for _, m := range b.must {
			c.Rules = append(c.Rules, filter.Rule{Tests: concat(r.tests, m), Verdict: allow})
		}
		if s.verdict.Kind != filter.Allow {
			// The policy asked for the call and the built-in rule refuses
			// this use of it: its own answer, not that of a stranger.
			c.Rules = append(c.Rules, filter.Rule{Tests: r.tests, Verdict: b.miss})
		}
	}
	c.Default = s.verdict
	if s.verdict.Kind == filter.Allow && b.must != nil {
		for _, m := range b.must {
			c.Rules = append(c.Rules, filter.Rule{Tests: m, Verdict: allow})
		}
		c.Default = b.miss
	}
	return c
}

func concat(a, b []filter.Test) []filter.Test {
	return append(append(make([]filter.Test, 0, len(a)+len(b)), a...), b...)
}

// compileFilter compiles the ruleset with sbx's own compiler and has
// libseccomp's program agree to it where the build has that.
func compileFilter(rs filter.Ruleset) (filter.Program, error) {
	p, err := filter.Compile(rs)
	if err != nil {
		return p, refuse(policy.Pos{}, "", "compile the filter: %v", err)
	}
	if !filter.HaveReference || weak.Off("abi") {
		return p, nil
	}
	ref, err := filter.Reference(rs)
	if err != nil {
		return p, bug(fmt.Errorf("compile the reference filter: %w", err))
	}
	if err := filter.Agree(rs, p.Insns, ref); err != nil {
		return p, bug(err)
	}
	return p, nil
}
