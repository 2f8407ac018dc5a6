package engine

import (
	"slices"

	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/params"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/policy"
)

// Compile makes the plan. It is pure: the same input gives the same plan, on
// every host. The error is an *Error.
func Compile(in Input) (*plan.Plan, error) { return (*Filters)(nil).Compile(in) }

// Compile is [Compile] with what is remembered.
func (f *Filters) Compile(in Input) (*plan.Plan, error) {
	if err := refuseUnbuilt(&in); err != nil {
		return nil, err
	}
	for _, name := range in.Needs {
		if !in.Features.Has(name) {
			return nil, lacking(policy.Pos{}, in.Features, name, "the bundle")
		}
	}
	v, err := makeView(&in)
	if err != nil {
		return nil, err
	}
	rules, err := rulesetOf(&in)
	if err != nil {
		return nil, err
	}
	program, err := f.program(rules)
	if err != nil {
		return nil, err
	}
	front, words, err := params.Compile(in.Params, in.Args, InsideBundle)
	if err != nil {
		return nil, refuse(policy.Pos{}, "", "%s", err)
	}
	p := &plan.Plan{
		Build: in.Build, BootID: in.BootID,
		Command: in.Command, Version: in.Version, Revision: in.Revision, Generation: in.Generation,
		Stamps:           stamps(&in),
		Exec:             plan.Exec{Path: in.Program.Path, Inside: v.inside, Identity: in.Program.Identity},
		Argv:             append(argv(&in, v.script), front...),
		Words:            words,
		Declared:         in.Declared,
		Params:           slices.Clone(in.Params),
		Summary:          in.Summary,
		View:             v.steps,
		Masks:            v.late,
		Hostname:         Hostname,
		Filter:           program,
		DenyWriteExecute: denyWriteExecute(&in.Policy),
		Loopback:         in.Policy.Network.Mode == "loopback",
		User:             in.User,
		Host:             in.Configured,
	}
	if !slices.ContainsFunc(v.steps, func(s plan.Step) bool { return s.Path == "/tmp" || s.Flags&plan.SourceCwd != 0 }) {
		p.Chdir = "/" // there is no /tmp to start in
	}
	if p.Capabilities, err = capabilities(&in, rules); err != nil {
		return nil, err
	}
	if p.Env, err = environment(&in); err != nil {
		return nil, err
	}
	if p.Limits, err = limits(&in); err != nil {
		return nil, err
	}
	if p.Rlimits, err = rlimits(&in); err != nil {
		return nil, err
	}
	if err := required(&in, p); err != nil {
		return nil, err
	}
	return p, nil
}

// Ruleset returns what Compile gives to the filter compiler, for `show`,
// `why` and `analyze`.
func Ruleset(in Input) (filter.Ruleset, error) {
	rules, err := rulesetOf(&in)
	if err != nil {
		return filter.Ruleset{}, err
	}
	rs, _, err := ruleset(rules)
	return rs, err
}

// rulesetOf is what the ruleset of in depends on.
func rulesetOf(in *Input) (rulesetInput, error) {
	families, err := families(in)
	return rulesetInput{
		arch: in.Arch, syscalls: in.Policy.Syscalls, families: families,
		execOnce: execOnce(in) || execRefused(in.Arch, in.Policy.Syscalls),
		denyWX:   denyWriteExecute(&in.Policy),
		mdwe:     in.Features.Has("mdwe"),
	}, err
}

// denyWriteExecute is on unless a policy says otherwise in so many words.
func denyWriteExecute(p *policy.Policy) bool { return p.DenyWriteExecute == nil || *p.DenyWriteExecute }

// refuseUnbuilt names what the contract has and this version does not.
func refuseUnbuilt(in *Input) error {
	p := &in.Policy
	switch {
	case p.Network.Mode == "egress":
		return notBuilt(in.place("network.mode"), "network: mode egress")
	case len(p.Network.Allow) > 0:
		return refuse(p.Network.Allow[0].Pos, "mode: egress", "network: allow needs mode egress")
	}
	return nil
}

// execRefused: a policy that refuses execve(2) or execveat(2) leaves the
// launch's own alone.
func execRefused(arch string, s policy.Syscalls) bool {
	names, _, err := stances(rulesetInput{arch: arch, syscalls: s})
	if err != nil {
		return true // reported by ruleset
	}
	for _, name := range []string{"execve", "execveat"} {
		if st := names[name]; st.stated && st.verdict.Kind != filter.Allow {
			return true
		}
	}
	return false
}

// argv is argv[0] and, of a script, what stands between it and the caller's
// arguments.
func argv(in *Input, script string) []string {
	out := []string{in.Program.Argv0}
	if s := in.Program.Script; s != nil {
		out = append([]string{s.Interpreter}, s.Args...)
		out = append(out, script)
	}
	return out
}

// pathParam is the name of a parameter that shows what the caller names, "" when
// there is none.
func pathParam(list []plan.Param) string {
	for i := range list {
		if list[i].Type == plan.ParamPath {
			return list[i].Name
		}
	}
	return ""
}

// stamps collects what the plan depends on, each path once: a directory that a
// name leads through and that is the bundle's own counts with what is in it.
func stamps(in *Input) []plan.Stamp {
	all := append(slices.Clone(in.Stamps), in.Program.Identity)
	if s := in.Program.Script; s != nil {
		all = append(all, s.Stamp)
	}
	all = append(all, in.Program.Links...)
	all = append(all, in.Host.Stamps...)
	seen := map[string]int{}
	var out []plan.Stamp
	for _, s := range all {
		i, ok := seen[s.Path]
		switch {
		case !ok:
			seen[s.Path] = len(out)
			out = append(out, s)
		case out[i].Passage:
			out[i] = s
		}
	}
	return out
}
