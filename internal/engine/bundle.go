package engine

import (
	"strings"

	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

// ForBundle makes the request for a loaded bundle: its policy is resolved with
// the stock policies, its argument vector checked. generation is the
// snapshot's. The error is an *Error.
func ForBundle(b *registry.Bundle, generation uint64, build string, features feature.Set) (Request, error) {
	m := &b.Manifest
	p, err := policy.Resolve(m.Policy, registry.Stock)
	if err != nil {
		return Request{}, &Error{Status: StatusSetup, Msg: "resolve the policy", Err: err}
	}
	if m.Exec.Args != registry.ArgsPassthrough || len(m.Params) > 0 {
		e := notBuilt(m.Exec.Pos, "exec.args: declared")
		e.Hint = "write args: passthrough"
		return Request{}, e
	}
	for _, a := range m.Exec.Argv {
		if rest := strings.ReplaceAll(a, policy.BundleDir, ""); strings.Contains(rest, "{{") {
			return Request{}, notBuilt(m.Exec.Pos, "exec.argv: the template in "+a)
		}
	}
	r := Request{
		Build: build, Command: m.Name, Version: m.Version, Revision: b.Digest, Generation: generation,
		Policy: p, Path: m.Exec.Path, SHA256: m.Exec.SHA256, Argv0: m.Exec.Argv0, Args: m.Exec.Argv,
		BundleDir: b.Dir, Stamps: b.Stamps, Needs: m.Requires.Features, Features: features,
	}
	if !strings.HasPrefix(r.Path, "/") && r.BundleDir == "" {
		return Request{}, refuse(m.Exec.Pos, "write an absolute path", "exec.path: %q is relative, and a one-file bundle ships no files", r.Path)
	}
	return r, nil
}
