package engine

import (
	"errors"
	"strings"

	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/params"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/syscalls"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

// ForBundle makes the request for a loaded bundle: its policy is resolved with
// the stock policies, its argument vector checked. generation is the
// snapshot's. The error is an *Error.
func ForBundle(b *registry.Bundle, generation uint64, build string, features feature.Set) (Request, error) {
	m := &b.Manifest
	for i, name := range m.Requires.Features {
		if _, ok := feature.Known(name); !ok {
			return Request{}, refuse(at(m.Requires.FeaturePos, i), policy.OneOf(name, feature.Names()), "requires.features: unknown feature %q", name)
		}
	}
	for i := range m.Checks {
		if c := &m.Checks[i]; c.Violation != "" && !syscalls.Known(c.Violation) {
			return Request{}, refuse(c.ViolationPos, policy.Suggest(c.Violation, allCalls()), "checks.expect.violation: unknown syscall %q", c.Violation)
		}
	}
	p, err := Resolve(m.Policy)
	if err != nil {
		return Request{}, unresolved(err)
	}
	declared, err := declaredParams(m)
	if err != nil {
		return Request{}, err
	}
	inside := ""
	if b.Dir != "" {
		inside = InsideBundle
	}
	if _, _, err := params.Compile(declared, m.Exec.Argv, inside); err != nil {
		return Request{}, refuse(m.Exec.Pos, "", "%s", err)
	}
	r := Request{
		Declared: m.Exec.Args == registry.ArgsDeclared, Params: declared, Summary: m.Summary,
		Build: build, Command: m.Name, Version: m.Version, Revision: b.Digest, Generation: generation,
		Policy: p, Path: m.Exec.Path, SHA256: m.Exec.SHA256, Argv0: m.Exec.Argv0, Args: m.Exec.Argv,
		BundleDir: b.Dir, Stamps: b.Stamps, Needs: m.Requires.Features, Features: features,
	}
	if !strings.HasPrefix(r.Path, "/") && r.BundleDir == "" {
		return Request{}, refuse(m.Exec.Pos, "write an absolute path", "exec.path: %q is relative, and a one-file bundle ships no files", r.Path)
	}
	return r, nil
}

// at is the place of the i-th of a list; zero for a manifest that was made
// without text.
func at(places []policy.Pos, i int) policy.Pos {
	if i < len(places) {
		return places[i]
	}
	return policy.Pos{}
}

// unresolved is a policy that cannot be merged with what it extends.
func unresolved(err error) error {
	var e *policy.Error
	if errors.As(err, &e) && e.Pos != (policy.Pos{}) {
		return &Error{Status: StatusSetup, Pos: e.Pos, Msg: e.Msg, Hint: e.Hint}
	}
	return &Error{Status: StatusSetup, Msg: "resolve the policy", Err: err}
}

// declaredParams is the compiled form of the manifest's parameters.
func declaredParams(m *registry.Manifest) ([]plan.Param, error) {
	var out []plan.Param
	for _, p := range m.Params {
		if p.Secret && (p.Type == "path" || p.Type == "bool") {
			return nil, refuse(p.Pos, "a path hands a file over without its text: access: read", "params: %s %q cannot be secret", p.Type, p.Name)
		}
		q := plan.Param{
			Name: p.Name, Type: params.TypeOf(p.Type), List: p.List, Chars: p.Chars, Max: p.Max, Values: p.Values,
			Default: p.Default, HasDefault: p.HasDefault, Required: p.Required, Position: p.Position, Secret: p.Secret, Help: p.Help,
			Access: map[string]plan.Access{"read": plan.AccessRead, "write": plan.AccessWrite, "create": plan.AccessCreate}[p.Access],
		}
		if q.Max == 0 {
			q.Max = registry.DefaultParamMax
		}
		if set, ok := registry.CharSet(p.Chars); ok {
			for b, in := range set {
				if in {
					q.Set[b>>6] |= 1 << (b & 63)
				}
			}
		}
		out = append(out, q)
	}
	return out, nil
}
