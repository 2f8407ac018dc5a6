package engine

import (
	"slices"

	"github.com/sbx-project/sbx/internal/config"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/policy"
)

// required puts the layers that must be applied into p, which is complete but
// for them.
//
// Trust boundary: a policy and the host's configuration say what must hold.
// Checked here: a layer that the host lacks, and one that the policy itself
// leaves out, so that no run could have it. Fails closed: an unknown name is
// refused, and the runner refuses once more what it will not apply.
func required(in *Input, p *plan.Plan) error {
	for _, name := range in.Policy.Require {
		pos := in.place("require " + name)
		if !slices.Contains(policy.Layers(), name) {
			return refuse(pos, policy.OneOf(name, policy.Layers()), "require: unknown layer %q", name)
		}
		if probe, ok := has(name, in.Features); !ok {
			return lacking(pos, in.Features, probe, "require: "+name)
		}
		if why, hint, _ := leftOut(name, p); why != "" {
			return refuse(pos, hint, "require: %s: %s", name, why)
		}
	}
	for _, name := range in.Require {
		of := "require: " + name + " of " + config.Path
		if !slices.Contains(policy.Layers(), name) {
			return refuse(policy.Pos{}, policy.OneOf(name, policy.Layers()), "%s: unknown layer", of)
		}
		if probe, ok := has(name, in.Features); !ok {
			return lacking(policy.Pos{}, in.Features, probe, of)
		}
		if why, hint, subject := leftOut(name, p); why != "" && subject {
			return refuse(policy.Pos{}, hint, "%s: %s", of, why)
		}
	}
	p.Require = slices.Compact(slices.Sorted(slices.Values(in.Policy.Require)))
	p.Host.Require = slices.Compact(slices.Sorted(slices.Values(in.Require)))
	return nil
}

// leftOut says why no run of the plan has a layer, "" where it can. subject is
// false for a layer that would hold what the plan has not, a limit or a mapped
// tree: the configuration, which speaks of all commands, does not miss it.
func leftOut(layer string, p *plan.Plan) (why, hint string, subject bool) {
	l := &p.Limits
	limit := func(set bool, keys string) (string, string, bool) {
		if set {
			return "", "", false
		}
		return "the policy has no limit that it would hold", "state " + keys + " in limits", false
	}
	switch layer {
	case "exec-once":
		if len(p.Filter.ExecOnce) == 0 {
			return "the policy lets more than the program be executed", "take it out of require, or the programs out of filesystem.exec", true
		}
	case "mdwe":
		if !p.DenyWriteExecute {
			return "the policy says memory_deny_write_execute: false", "take one of them out", true
		}
	case "cgroup.memory":
		return limit(l.MemoryMax > 0 || l.SwapSet, "memory_max")
	case "cgroup.pids":
		return limit(l.PidsMax > 0, "pids_max")
	case "cgroup.cpu":
		return limit(l.CPUQuota > 0 || l.CPUWeight > 0, "cpu_max or cpu_weight")
	case "cgroup.io":
		return limit(len(l.IOMax) > 0, "io_max")
	case "idmap":
		mapped := slices.ContainsFunc(p.View, func(s plan.Step) bool { return s.Flags&plan.Mapped != 0 }) ||
			slices.ContainsFunc(p.Params, func(q plan.Param) bool { return q.Type == plan.ParamPath && q.Access != plan.AccessRead })
		if !mapped {
			return "the policy shows no tree that is mapped", "name one in filesystem.write, or one of filesystem.read with as: owner", false
		}
	}
	return "", "", true
}

// has tells whether the host has what a layer of `require` needs; probe is the
// feature behind it, empty for none.
func has(layer string, features feature.Set) (probe string, ok bool) {
	probe = map[string]string{
		"cgroup": "cgroup2", "listener": "seccomp.notify", "fifos": "landlock", "userns.limit": "userns",
	}[layer]
	if probe == "" {
		probe = layer
	}
	if _, known := feature.Known(probe); !known {
		return "", true
	}
	return probe, features.Has(probe)
}
