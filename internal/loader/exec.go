package loader

import (
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

// Exec compiles a program under a policy: a file, absolute, or the name of a
// stock policy.
func Exec(policyName string, words []string) (p *plan.Plan, encoded []byte, err error) {
	cwd, _ := os.Getwd()
	req := engine.Request{Build: buildinfo.Build, Path: words[0], Argv0: words[0], Features: feature.Probe()}
	var src []byte
	req.Policy, src, req.Stamps, err = readPolicy(policyName)
	if err != nil {
		return nil, nil, err
	}
	key := ctl.ProgramKey(cwd, words[0])
	req.Revision = ctl.ExecRevision(policyName, key)
	if !strings.Contains(words[0], "/") {
		req.Stamps = append(req.Stamps, searched(req.Policy, words[0])...)
	}
	p, err = compile(req)
	if err != nil {
		return nil, nil, located(policyName, src, err)
	}
	if encoded, err = p.Encode(); err != nil {
		return nil, nil, err
	}
	keep(state.ExecPath(state.Dir(), policyName, key), encoded)
	return p, encoded, nil
}

// readPolicy reads and resolves a policy.
func readPolicy(name string) (policy.Policy, []byte, []plan.Stamp, error) {
	if !strings.HasPrefix(name, "/") {
		p, err := registry.Stock(name)
		if err == nil && name != "base" {
			p, err = engine.Resolve(p)
		}
		return p, nil, nil, err
	}
	stamps := above(name)
	f, err := safefs.OpenTrusted(name)
	if err != nil {
		return policy.Policy{}, nil, nil, err
	}
	defer f.Close()
	stamp, err := engine.Stamp(name)
	if err != nil {
		return policy.Policy{}, nil, nil, err
	}
	src, err := io.ReadAll(io.LimitReader(f, yamlnode.MaxSize+1)) // one more than Parse takes
	if err != nil {
		return policy.Policy{}, nil, nil, err
	}
	p, err := registry.ParsePolicy(name, src)
	if err == nil {
		p, err = engine.Resolve(p)
	}
	return p, src, append(stamps, stamp), located(name, src, err)
}

// keep stores a plan where the state can be written. Where it cannot, the
// run goes on with the plan that it has: the next one compiles again.
func keep(path string, encoded []byte) {
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		_ = state.Write(path, encoded)
	}
}

// searched are the files before the one found in the policy's PATH.
func searched(p policy.Policy, name string) (stamps []plan.Stamp) {
	for _, dir := range filepath.SplitList(p.Env.Set["PATH"]) {
		s := stampOrAbsent(dir + "/" + name)
		if !s.Absent {
			break // it, or its identity, is in the plan
		}
		stamps = append(stamps, s)
	}
	return stamps
}
