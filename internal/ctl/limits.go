package ctl

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sbx-project/sbx/internal/plan"
)

// tighten applies `--limit` flags to the limits of a plan. A caller may only
// make them tighter; what he states is required like any stated limit.
func tighten(l plan.Limits, flags []string) (plan.Limits, error) {
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
		default:
			err = "cannot be given by a caller (memory_max, pids_max, cpu_max, timeout, output_max can)"
		}
		if err != "" {
			return l, &UsageError{"--limit " + f + ": " + key + " " + err, "a caller can only tighten what the policy allows"}
		}
		if key != "timeout" && key != "output_max" && !slices.Contains(l.Required, key) {
			l.Required = append(l.Required, key)
		}
	}
	return l, nil
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
