package ctl

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
)

// Registries lists where bundles are looked for, first match wins; the
// built-in one, which has no path, comes after all of them.
func Registries(flag string) []string {
	if flag != "" {
		return []string{flag}
	}
	if r := os.Getenv("SBX_REGISTRY"); r != "" {
		return []string{r}
	}
	list := []string{"/etc/sbx/registry"}
	if os.Geteuid() != 0 {
		if d := os.Getenv("XDG_CONFIG_HOME"); strings.HasPrefix(d, "/") {
			list = append(list, d+"/sbx/registry")
		} else if d := os.Getenv("HOME"); strings.HasPrefix(d, "/") {
			list = append(list, d+"/.config/sbx/registry")
		}
	}
	return list
}

// RegistryList is Registries with absolute paths: the order of precedence that
// a plan was made for. cwd is absolute.
func RegistryList(flag, cwd string) []string {
	list := Registries(flag)
	for i, r := range list {
		if !strings.HasPrefix(r, "/") {
			list[i] = cwd + "/" + r
		}
	}
	return list
}

// maxSegments is how many segments a name can have.
const maxSegments = 8

// findRun looks for a plan that is in force for the command that the words
// begin with. used is how many words name it; nil means: ask sbxd. Which
// bundle a name means depends on the registries and their order, so a plan
// counts only for the list that it was made for, and only at its own place.
func (v *Invocation) findRun(cwd, build string) (p *plan.Plan, used int) {
	dir := state.Dir()
	if dir == "" {
		return nil, 0
	}
	list := RegistryList(v.Registry, cwd)
	keys := make([]string, 0, 3)
	for _, r := range list {
		var st unix.Stat_t
		if unix.Stat(r, &st) == nil {
			keys = append(keys, state.RegistryKey(&st))
		}
	}
	keys = append(keys, state.BuiltinKey)
	name := ""
	for i, w := range v.Words {
		if i >= maxSegments || !plainName(w) {
			break
		}
		if i > 0 {
			name += "."
		}
		name += w
		for _, key := range keys {
			v.way.look(state.PlanPath(dir, key, name))
			p, err := state.Read(v.way.file.Path)
			if err != nil {
				continue
			}
			if p.Command != name || p.Key != key || !slices.Equal(p.Registries, list) {
				return nil, 0
			}
			if _, ok := state.Fresh(p, build); ok && !state.Unfinished(dir, key) {
				return p, i + 1
			}
			return nil, 0 // stale: what is in force now is for the loader to say
		}
	}
	return nil, 0
}

// plainName tells whether w can be a name or a part of one: only then may it
// become a part of a path.
func plainName(w string) bool {
	for i := 0; i < len(w); i++ {
		c := w[i]
		if !(c >= 'a' && c <= 'z' || i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.' && w[i-1] != '.')) {
			return false
		}
	}
	return w != "" && len(w) < 300
}

// findExec looks for a plan for this policy and program.
func (v *Invocation) findExec(cwd, build string) *plan.Plan {
	dir := state.Dir()
	if dir == "" {
		return nil
	}
	v.way.look(state.ExecPath(dir, v.Policy, ProgramKey(cwd, v.Words[0])))
	p, err := state.Read(v.way.file.Path)
	if err != nil || len(p.Argv) == 0 || p.Revision != ExecRevision(v.Policy, ProgramKey(cwd, v.Words[0])) {
		return nil
	}
	if _, ok := state.Fresh(p, build); !ok {
		return nil
	}
	return p
}

// ExecRevision marks a plan of `sbx exec` with what it was made for.
func ExecRevision(policy, program string) string { return "exec:" + policy + ":" + program }

// ProgramKey is how a program given on the command line is told from others:
// absolute, or a bare name that is searched in the policy's PATH.
func ProgramKey(cwd, program string) string {
	if strings.HasPrefix(program, "/") || !strings.Contains(program, "/") {
		return program
	}
	return cwd + "/" + program
}

// ResolvePolicy makes a policy given on the command line absolute, unless it
// is the name of a stock policy. None is base.
func ResolvePolicy(cwd, policy string) string {
	switch {
	case policy == "":
		return "base"
	case strings.HasPrefix(policy, "/"):
		return policy
	case plainName(policy) && !strings.Contains(policy, "."):
		return policy
	}
	return cwd + "/" + policy
}
