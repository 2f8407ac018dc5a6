package policy

import (
	"errors"
	"strings"
	"time"
)

// Bounds of limits. Below the minimum a run cannot start; the maximum is the
// kernel's.
const (
	minMemory    Bytes  = 1 << 20
	maxBytes     Bytes  = 1<<63 - 1 // cgroup memory counters are signed pages (mm/page_counter.c)
	maxPids      uint64 = 4 << 20   // PID_MAX_LIMIT, include/linux/threads.h
	maxCPUWeight uint64 = 10_000    // cgroup-v2.rst, cpu.weight
	maxIODevices        = 64        // lines of io.max
	maxRlimit    uint64 = 1<<63 - 1 // RLIM_INFINITY is not a limit
	maxTimeout          = 1 << 62   // nanoseconds, 146 years
)

// limitKeys are the names of limits without rlimits.
var limitKeys = []string{
	"memory_max", "memory_swap_max", "pids_max", "cpu_max", "cpu_weight", "io_max",
	"timeout", "output_max",
}

// LimitNames returns every name of a limit, rlimit_X included, sorted.
func LimitNames() []string {
	names := map[string]bool{}
	for _, k := range limitKeys {
		names[k] = true
	}
	for k := range rlimits {
		names["rlimit_"+k] = true
	}
	return sortedKeys(names)
}

func (l *Limits) decode(n *Node) error {
	seen := map[string]Pos{}
	return n.Each("limits", func(key, value *Node) error {
		name, optional := strings.CutPrefix(key.Value, "-")
		if at, ok := seen[name]; ok {
			return key.Errorf("keep one of them: -"+name+" is the same limit as optional",
				"limits: key %q is here twice, first at %s", name, at)
		}
		seen[name] = key.Pos
		known, err := l.set(name, optional, value)
		if !known {
			return key.Errorf(OneOf(name, LimitNames()), "limits: unknown key %q", key.Value)
		}
		return err
	})
}

// set decodes one limit; known is false for a name that is none.
func (l *Limits) set(name string, optional bool, n *Node) (known bool, err error) {
	what := "limits." + name
	switch name {
	case "memory_max":
		l.MemoryMax, err = limitOf(n, optional, what, func(n *Node) (Bytes, error) { return bytesIn(n, what, minMemory, maxBytes) })
	case "memory_swap_max":
		l.MemorySwapMax, err = limitOf(n, optional, what, func(n *Node) (Bytes, error) { return bytesIn(n, what, 0, maxBytes) })
	case "pids_max":
		l.PidsMax, err = limitOf(n, optional, what, func(n *Node) (uint64, error) { return countIn(n, what, 1, maxPids) })
	case "cpu_max":
		l.CPUMax, err = limitOf(n, optional, what, cpu)
	case "cpu_weight":
		l.CPUWeight, err = limitOf(n, optional, what, func(n *Node) (uint64, error) { return countIn(n, what, 1, maxCPUWeight) })
	case "io_max":
		l.IOMax, err = limitOf(n, optional, what, ioMax)
	case "timeout":
		l.Timeout, err = limitOf(n, optional, what, timeout)
	case "output_max":
		l.OutputMax, err = limitOf(n, optional, what, func(n *Node) (Bytes, error) { return bytesIn(n, what, 1, maxBytes) })
	default:
		resource, isRlimit := strings.CutPrefix(name, "rlimit_")
		r, ok := rlimits[resource]
		if !isRlimit || !ok {
			return false, nil
		}
		v, err := rlimitValue(n, what, r.bytes)
		if err != nil {
			return true, err
		}
		if l.Rlimits == nil {
			l.Rlimits = map[string]Limit[uint64]{}
		}
		l.Rlimits[resource] = Limit[uint64]{Value: v, Optional: optional}
	}
	return true, err
}

func limitOf[T any](n *Node, optional bool, what string, parse func(*Node) (T, error)) (*Limit[T], error) {
	v, err := parse(n)
	if err != nil {
		return nil, err
	}
	return &Limit[T]{Value: v, Optional: optional}, nil
}

func rlimitValue(n *Node, what string, isBytes bool) (uint64, error) {
	if isBytes {
		v, err := bytesIn(n, what, 0, Bytes(maxRlimit))
		return uint64(v), err
	}
	return countIn(n, what, 0, maxRlimit)
}

// bytesIn reads a size from lowest to highest.
func bytesIn(n *Node, what string, lowest, highest Bytes) (Bytes, error) {
	s, err := n.Text(what)
	if err != nil {
		return 0, err
	}
	v, err := ParseBytes(s)
	if err != nil {
		return 0, n.Errorf(unitHint(err, "512M: a number and K, M, G or T"), "%s: %s", what, err)
	}
	if v < lowest || v > highest {
		return 0, n.Errorf("", "%s: %s is out of range, %s to %s", what, s, lowest, highest)
	}
	return v, nil
}

// countIn reads a count from lowest to highest.
func countIn(n *Node, what string, lowest, highest uint64) (uint64, error) {
	s, err := n.Text(what)
	if err != nil {
		return 0, err
	}
	v, err := ParseCount(s)
	if err != nil {
		return 0, n.Errorf(unitHint(err, "64: digits only"), "%s: %s", what, err)
	}
	if v < lowest || v > highest {
		return 0, n.Errorf("", "%s: %s is out of range, %d to %d", what, s, lowest, highest)
	}
	return v, nil
}

func cpu(n *Node) (CPU, error) {
	s, err := n.Text("limits.cpu_max")
	if err != nil {
		return CPU{}, err
	}
	v, err := ParseCPU(s)
	if err != nil {
		return CPU{}, n.Errorf(unitHint(err, `50% or "50000 100000"`), "limits.cpu_max: %s", err)
	}
	return v, nil
}

func timeout(n *Node) (time.Duration, error) {
	return DurationOf(n, "limits.timeout")
}

// DurationOf reads a wall time of at most 146 years from a node.
func DurationOf(n *Node, what string) (time.Duration, error) {
	s, err := n.Text(what)
	if err != nil {
		return 0, err
	}
	v, err := ParseDuration(s)
	if err == nil && v > maxTimeout {
		err = ErrOverflow
	}
	if err != nil {
		return 0, n.Errorf(unitHint(err, "60s: a number and ms, s, m or h"), "%s: %s", what, err)
	}
	return v, nil
}

// ioMax reads one line of io.max or a list of them: "MAJ:MIN rbps=1M
// wiops=100", sizes with suffix for bps (cgroup-v2.rst, io.max). A line is
// kept with its numbers written out.
func ioMax(n *Node) ([]string, error) {
	const what = "limits.io_max"
	items := []*Node{n}
	if n.Kind == Sequence {
		items = n.Items
	}
	if len(items) == 0 || len(items) > maxIODevices {
		return nil, n.Errorf("", "%s: want 1 to %d devices, got %d", what, maxIODevices, len(items))
	}
	var out []string
	seen := map[string]Pos{}
	for _, item := range items {
		s, err := item.Text(what)
		if err != nil {
			return nil, err
		}
		device, line, err := ioLine(s)
		if err != nil {
			return nil, item.Errorf(`write it like "8:0 rbps=10M wiops=100"`, "%s: %q: %s", what, s, err)
		}
		if err := item.once(what, device, seen); err != nil {
			return nil, err
		}
		out = append(out, line)
	}
	return out, nil
}

var errDevice = errors.New("want a device MAJ:MIN and at least one of rbps, wbps, riops, wiops")

func ioLine(s string) (device, line string, err error) {
	fields := strings.Fields(s)
	if len(fields) < 2 {
		return "", "", errDevice
	}
	major, minor, ok := strings.Cut(fields[0], ":")
	a, err1 := ParseCount(major)
	b, err2 := ParseCount(minor)
	if !ok || err1 != nil || err2 != nil || a > 1<<12-1 || b > 1<<20-1 {
		return "", "", errDevice
	}
	out := []string{fields[0]}
	seen := map[string]bool{}
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		if seen[key] {
			return "", "", errors.New(key + " is here twice")
		}
		seen[key] = true
		var v Bytes
		switch key {
		case "rbps", "wbps":
			v, err = ParseBytes(value)
		case "riops", "wiops":
			var c uint64
			c, err = ParseCount(value)
			v = Bytes(c)
		default:
			return "", "", errDevice
		}
		if err != nil {
			return "", "", err
		}
		if v == 0 {
			return "", "", errors.New(key + " of 0 would block every request")
		}
		out = append(out, key+"="+countText(v))
	}
	return fields[0], strings.Join(out, " "), nil
}
