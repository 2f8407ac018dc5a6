package engine

import (
	"maps"
	"slices"
	"strings"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/policy"
)

// limits translates the control group's limits. A limit that is required and
// whose controller the host does not give is refused; an optional one stays in
// the plan, and the runner reports what became of it.
func limits(in *Input) (plan.Limits, error) {
	l, features := &in.Policy.Limits, in.Features
	var out plan.Limits
	var missing error
	// held notes a stated limit and the controller that holds it.
	held := func(key, controller string, optional bool) {
		if optional {
			return
		}
		out.Required = append(out.Required, key)
		if name := "cgroup." + controller; missing == nil && !features.Has(name) {
			e := lacking(in.place("limits."+key), features, name, "limits: "+key)
			e.Hint += "; or write -" + key + " if the run may go on without"
			missing = e
		}
	}
	if m := l.MemoryMax; m != nil {
		out.MemoryMax = uint64(m.Value)
		held("memory_max", "memory", m.Optional)
	}
	if m := l.MemorySwapMax; m != nil {
		out.MemorySwapMax, out.SwapSet = uint64(m.Value), true
		held("memory_swap_max", "memory", m.Optional)
	}
	if m := l.PidsMax; m != nil {
		out.PidsMax = m.Value
		held("pids_max", "pids", m.Optional)
	}
	if m := l.CPUMax; m != nil {
		out.CPUQuota, out.CPUPeriod = m.Value.Quota, m.Value.Period
		held("cpu_max", "cpu", m.Optional)
	}
	if m := l.CPUWeight; m != nil {
		out.CPUWeight = m.Value
		held("cpu_weight", "cpu", m.Optional)
	}
	if m := l.IOMax; m != nil {
		out.IOMax = slices.Clone(m.Value)
		held("io_max", "io", m.Optional)
	}
	if m := l.Timeout; m != nil {
		out.Timeout = m.Value
	}
	if m := l.OutputMax; m != nil {
		out.OutputMax = uint64(m.Value)
	}
	return out, missing
}

// The resources of setrlimit(2) that no policy can raise: a core file is a
// copy of the run's memory on the host, and priorities can only get worse.
const (
	rlimitCore   = 4
	rlimitNice   = 13
	rlimitRTPrio = 14
)

// rlimits returns the resource limits, sorted by number.
func rlimits(in *Input) ([]plan.Rlimit, error) {
	l := &in.Policy.Limits
	values := map[uint32]plan.Rlimit{}
	for _, n := range []uint32{rlimitCore, rlimitNice, rlimitRTPrio} {
		values[n] = plan.Rlimit{Resource: n}
	}
	names := make([]string, 0, len(l.Rlimits))
	for name := range l.Rlimits {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		n, ok := policy.RlimitResource(name)
		if !ok {
			return nil, refuse(in.place("limits.rlimit_"+name), "", "limits: unknown resource rlimit_%s", name)
		}
		stated := l.Rlimits[name]
		if _, always := values[n]; always && stated.Value != 0 {
			return nil, refuse(in.place("limits.rlimit_"+name), "leave it out", "limits: rlimit_%s is always 0", name)
		}
		values[n] = plan.Rlimit{Resource: n, Value: stated.Value, Required: !stated.Optional}
	}
	out := slices.Collect(maps.Values(values))
	slices.SortFunc(out, func(a, b plan.Rlimit) int { return int(a.Resource) - int(b.Resource) })
	return out, nil
}

// loaderNames is the prefix of variables that steer the dynamic loader
// (ld.so(8)).
const loaderNames = "LD_"

// environment translates the environment, sorted.
func environment(in *Input) (plan.Env, error) {
	e := &in.Policy.Env
	var out plan.Env
	for name, value := range e.Set {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			return out, refuse(in.place("env.set."+name), "", "env.set: %q is not a name", name)
		}
		out.Set = append(out.Set, name+"="+value)
	}
	slices.Sort(out.Set)
	for _, name := range e.Pass {
		if prefix, ok := strings.CutSuffix(name, "*"); ok && len(prefix) < len(loaderNames) && strings.HasPrefix(loaderNames, prefix) {
			return out, refuse(in.place("env.pass "+name), "name them", "env.pass: %q would let the caller steer the dynamic loader", name)
		}
		out.Pass = append(out.Pass, name)
	}
	slices.Sort(out.Pass)
	out.Pass = slices.Compact(out.Pass)
	return out, nil
}
