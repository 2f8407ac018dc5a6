package ctl

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// tighten applies `--limit` flags to the limits of a plan. A caller may only
// make them tighter; what he states is required like any stated limit. own are
// the resource limits that he stated, to be set after the plan's.
func tighten(l plan.Limits, has []plan.Rlimit, flags []string) (_ plan.Limits, own []plan.Rlimit, _ error) {
	l.Required = slices.Clone(l.Required)
	for _, f := range flags {
		key, value, _ := strings.Cut(f, "=")
		var err string
		switch key {
		case "memory_max":
			err = lower(&l.MemoryMax, value, size)
		case "output_max":
			err = lower(&l.OutputMax, value, size)
		case "pids_max":
			err = lower(&l.PidsMax, value, count)
		case "timeout":
			d, e := time.ParseDuration(value)
			switch {
			case e != nil || d <= 0:
				err = "is no positive duration"
			case l.Timeout > 0 && d > l.Timeout:
				err = "is more than the policy's " + l.Timeout.String()
			default:
				l.Timeout = d
			}
		case "cpu_max":
			err = lowerCPU(&l, value)
		case "cpu_weight":
			err = lower(&l.CPUWeight, value, weight)
		case "memory_swap_max":
			err = lowerSwap(&l, value)
		default:
			resource, isRlimit := strings.CutPrefix(key, "rlimit_")
			if !isRlimit {
				err = "cannot be given by a caller (memory_max, memory_swap_max, pids_max, cpu_max, cpu_weight, timeout, output_max and rlimit_* can)"
				break
			}
			var r plan.Rlimit
			if r, err = lowerRlimit(append(slices.Clone(has), own...), resource, value); err == "" {
				own = append(own, r)
			}
		}
		if err != "" {
			return l, nil, &UsageError{"--limit " + f + ": " + key + " " + err, "a caller can only tighten what the policy allows"}
		}
		if key != "timeout" && key != "output_max" && !strings.HasPrefix(key, "rlimit_") && !slices.Contains(l.Required, key) {
			l.Required = append(l.Required, key)
		}
	}
	return l, own, nil
}

// weight parses a weight of cgroup v2's cpu controller.
func weight(s string) (uint64, bool) {
	n, ok := count(s)
	return n, ok && n <= 10_000
}

func lowerSwap(l *plan.Limits, value string) string {
	n, ok := size(value)
	if value == "0" {
		n, ok = 0, true
	}
	switch {
	case !ok:
		return "has no valid value"
	case l.SwapSet && n > l.MemorySwapMax:
		return "is more than the policy's " + strconv.FormatUint(l.MemorySwapMax, 10)
	}
	l.MemorySwapMax, l.SwapSet = n, true
	return ""
}

// lowerRlimit makes the limit of a resource. It may be no higher than the
// policy's or, where that has none, than what this process has itself and
// would hand down.
func lowerRlimit(has []plan.Rlimit, name, value string) (plan.Rlimit, string) {
	resource, ok := plan.Resource(name)
	if !ok {
		return plan.Rlimit{}, "is no resource of getrlimit(2)"
	}
	r := plan.Rlimit{Resource: resource}
	n, ok := size(value)
	if value == "0" {
		n, ok = 0, true
	}
	if !ok {
		return r, "has no valid value"
	}
	var inherited unix.Rlimit
	if err := unix.Getrlimit(int(resource), &inherited); err != nil {
		return r, "cannot be compared: " + err.Error()
	}
	bound := inherited.Max
	for _, h := range has {
		if h.Resource == r.Resource {
			bound = min(bound, h.Value)
		}
	}
	if n > bound {
		return r, "is more than the " + strconv.FormatUint(bound, 10) + " that it has"
	}
	r.Value = n
	return r, ""
}

func lower(have *uint64, value string, parse func(string) (uint64, bool)) string {
	n, ok := parse(value)
	if !ok {
		return "has no valid value"
	}
	if *have > 0 && n > *have {
		return "is more than the policy's " + strconv.FormatUint(*have, 10)
	}
	*have = n
	return ""
}

func lowerCPU(l *plan.Limits, value string) string {
	p, ok := strings.CutSuffix(value, "%")
	n, valid := count(p)
	if !ok || !valid || n > 100_000 {
		return "must be a percentage of one processor such as 50%"
	}
	const period = 100_000 // microseconds, the kernel's default
	quota := n * period / 100
	if l.CPUQuota > 0 && quota*l.CPUPeriod > l.CPUQuota*period {
		return "is more than the policy's"
	}
	l.CPUQuota, l.CPUPeriod = quota, period
	return ""
}

// count parses a positive number.
func count(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return n, err == nil && n > 0 && s[0] != '+'
}

// size parses a number of bytes with an optional binary suffix K, M, G or T.
func size(s string) (uint64, bool) {
	shift := 0
	if s != "" {
		if i := strings.IndexByte("KMGT", s[len(s)-1]); i >= 0 {
			shift, s = 10*(i+1), s[:len(s)-1]
		}
	}
	n, ok := count(s)
	if !ok || n<<shift>>shift != n || n<<shift > 1<<62 {
		return 0, false
	}
	return n << shift, true
}
