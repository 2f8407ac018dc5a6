package policy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Errors of the parse functions of units. They are wrapped with the text that
// was refused.
var (
	ErrEmpty    = errors.New("empty value")
	ErrSyntax   = errors.New("not understood")
	ErrRange    = errors.New("out of range")
	ErrOverflow = errors.New("too large")
)

// ParseBytes reads a size: decimal digits and an optional binary suffix K, M,
// G or T (1024 and its powers). Errors: ErrEmpty, ErrSyntax (signs,
// fractions, other suffixes), ErrOverflow (64 bits).
func ParseBytes(s string) (Bytes, error) {
	if s == "" {
		return 0, ErrEmpty
	}
	digits, shift := s, 0
	switch s[len(s)-1] {
	case 'K':
		shift = 10
	case 'M':
		shift = 20
	case 'G':
		shift = 30
	case 'T':
		shift = 40
	}
	if shift != 0 {
		digits = s[:len(s)-1]
	}
	v, err := ParseCount(digits)
	if err != nil {
		if errors.Is(err, ErrOverflow) {
			return 0, fmt.Errorf("size %q: %w", s, ErrOverflow)
		}
		return 0, fmt.Errorf("size %q: %w", s, ErrSyntax)
	}
	if v > math.MaxUint64>>shift {
		return 0, fmt.Errorf("size %q: %w", s, ErrOverflow)
	}
	return Bytes(v << shift), nil
}

// String is the shortest text that ParseBytes reads back.
func (b Bytes) String() string {
	for _, unit := range []struct {
		shift  uint
		suffix string
	}{{40, "T"}, {30, "G"}, {20, "M"}, {10, "K"}} {
		if b != 0 && b&(1<<unit.shift-1) == 0 {
			return strconv.FormatUint(uint64(b)>>unit.shift, 10) + unit.suffix
		}
	}
	return strconv.FormatUint(uint64(b), 10)
}

// ParseCount reads decimal digits without sign, separator or leading zero.
// Errors: ErrEmpty, ErrSyntax, ErrOverflow (64 bits).
func ParseCount(s string) (uint64, error) {
	if s == "" {
		return 0, ErrEmpty
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Errorf("count %q: %w", s, ErrSyntax)
		}
	}
	if len(s) > 1 && s[0] == '0' {
		return 0, fmt.Errorf("count %q: %w", s, ErrSyntax)
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("count %q: %w", s, ErrOverflow)
	}
	return v, nil
}

// ParseNumber reads decimal digits, or hexadecimal ones after 0x, as an
// argument rule has them.
func ParseNumber(s string) (uint64, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok {
		return ParseCount(s)
	}
	if digits == "" || len(digits) > 16 || strings.Trim(digits, "0123456789abcdefABCDEF") != "" {
		return 0, fmt.Errorf("number %q: %w", s, ErrSyntax)
	}
	return strconv.ParseUint(digits, 16, 64)
}

// ParseDuration reads a positive wall time in the syntax of
// time.ParseDuration (300ms, 60s, 1h30m), without a sign. Errors: ErrEmpty,
// ErrSyntax, ErrRange (under a millisecond), ErrOverflow (292 years).
func ParseDuration(s string) (time.Duration, error) {
	if s == "" {
		return 0, ErrEmpty
	}
	if s[0] == '-' || s[0] == '+' {
		return 0, fmt.Errorf("duration %q: %w", s, ErrSyntax)
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil && durationShape(s):
		return 0, fmt.Errorf("duration %q: %w", s, ErrOverflow)
	case err != nil:
		return 0, fmt.Errorf("duration %q: %w", s, ErrSyntax)
	case d < time.Millisecond:
		return 0, fmt.Errorf("duration %q: %w", s, ErrRange)
	}
	return d, nil
}

// durationShape tells a duration that is too long from nonsense.
func durationShape(s string) bool {
	digits := strings.TrimRight(s, "nuµmsh")
	return digits != "" && digits != s && strings.Trim(digits, "0123456789") == ""
}

// FormatDuration is time.Duration.String without zero parts at the end: 1m,
// not 1m0s.
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Bounds of the kernel for a CPU quota (kernel/sched/core.c: min_cfs_quota_period,
// max_cfs_quota_period), in microseconds.
const (
	cpuPeriod    = 100_000
	minCPUPeriod = 1_000
	maxCPUPeriod = 1_000_000
	// maxCPUs bounds a quota to what NR_CPUS may be on amd64.
	maxCPUs = 8192
)

// ParseCPU reads a percentage of one processor ("50%", "12.5%", "200%": of
// each 100 ms) or "QUOTA PERIOD" in microseconds as in cpu.max. Errors:
// ErrEmpty, ErrSyntax, ErrRange (a period outside 1 ms to 1 s, a quota under
// 1 ms or above 8192 processors).
func ParseCPU(s string) (CPU, error) {
	if s == "" {
		return CPU{}, ErrEmpty
	}
	cpu := CPU{Period: cpuPeriod}
	if percent, ok := strings.CutSuffix(s, "%"); ok {
		whole, fraction, dot := strings.Cut(percent, ".")
		if len(fraction) > 3 || dot && fraction == "" {
			return CPU{}, fmt.Errorf("cpu %q: %w", s, ErrSyntax)
		}
		w, err := ParseCount(whole)
		if err != nil {
			return CPU{}, fmt.Errorf("cpu %q: %w", s, ErrSyntax)
		}
		var f uint64
		for i := range 3 {
			f *= 10
			if i < len(fraction) {
				if fraction[i] < '0' || fraction[i] > '9' {
					return CPU{}, fmt.Errorf("cpu %q: %w", s, ErrSyntax)
				}
				f += uint64(fraction[i] - '0')
			}
		}
		if w > maxCPUs*100 {
			return CPU{}, fmt.Errorf("cpu %q: %w", s, ErrRange)
		}
		cpu.Quota = w*(cpuPeriod/100) + f
	} else {
		quota, period, ok := strings.Cut(s, " ")
		q, err1 := ParseCount(quota)
		p, err2 := ParseCount(period)
		if !ok || err1 != nil || err2 != nil {
			return CPU{}, fmt.Errorf("cpu %q: %w", s, ErrSyntax)
		}
		cpu = CPU{Quota: q, Period: p}
	}
	if cpu.Period < minCPUPeriod || cpu.Period > maxCPUPeriod ||
		cpu.Quota < minCPUPeriod || cpu.Quota > maxCPUs*cpu.Period {
		return CPU{}, fmt.Errorf("cpu %q: %w", s, ErrRange)
	}
	return cpu, nil
}

// String is a text that ParseCPU reads back.
func (c CPU) String() string {
	if c.Period == cpuPeriod && c.Quota%(cpuPeriod/100) == 0 {
		return strconv.FormatUint(c.Quota/(cpuPeriod/100), 10) + "%"
	}
	return strconv.FormatUint(c.Quota, 10) + " " + strconv.FormatUint(c.Period, 10)
}

// unitHint says what to write for an error of a unit.
func unitHint(err error, example string) string {
	if errors.Is(err, ErrSyntax) || errors.Is(err, ErrEmpty) {
		return "write it like " + example
	}
	return ""
}

// countText writes a size without suffix.
func countText(b Bytes) string { return strconv.FormatUint(uint64(b), 10) }
