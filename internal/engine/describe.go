package engine

import (
	"fmt"
	"strings"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/policy"
)

// KeyWidth is how many bytes the key of each line of [Describe] is padded to;
// a space and the value follow.
const KeyWidth = 12

// Describe returns a plan for people: the program, the view step by step, the
// limits and the environment. What the filter says is [filter.Describe] of
// [Ruleset]; here stands only its size. The text has no promise of stability.
func Describe(p *plan.Plan) string {
	var b strings.Builder
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "%-*s %s\n", KeyWidth, key, fmt.Sprintf(format, args...))
	}
	if p.Command != "" {
		line("command", "%s %s", p.Command, p.Version)
	}
	if p.Revision != "" {
		line("revision", "%s", p.Revision)
	}
	line("execute", "%s as %s", p.Exec.Path, p.Exec.Inside)
	line("argv", "%q", p.Argv)
	describeParams(line, p)
	if p.Chdir != "" {
		line("chdir", "%s", p.Chdir)
	}
	line("hostname", "%s", p.Hostname)
	exec := "execve is open to what the view shows executable"
	if len(p.Filter.ExecOnce) > 0 {
		exec = "one execveat, that of the program"
	}
	line("filter", "%d instructions; %s", len(p.Filter.Insns)/8, exec)
	if p.DenyWriteExecute {
		line("memory", "never writable and executable")
	}
	if p.Loopback {
		line("network", "loopback")
	}
	switch u := &p.User; {
	case u.UID != 0:
		line("user", "%s (%d:%d on the host)", u.Name, u.UID, u.GID)
	case u.Name == plan.UserDynamic:
		line("user", "ids of the run's own")
	}
	if p.Capabilities != 0 {
		line("capabilities", "%s", strings.Join(capabilityNames(p.Capabilities), " "))
	}
	for _, s := range p.View {
		line("view", "%s", stepText(&s))
	}
	for _, m := range p.Masks {
		path := m.Path
		if m.Cwd {
			path = policy.Cwd + path
		}
		line("mask", "%s, in what the call shows", path)
	}
	limitText(line, &p.Limits)
	for _, r := range p.Rlimits {
		required := ""
		if r.Required {
			required = " (required)"
		}
		line("rlimit", "%s %d%s", strings.TrimPrefix(r.Key(), "rlimit_"), r.Value, required)
	}
	for _, s := range p.Env.Set {
		line("env", "%s", s)
	}
	for _, s := range p.Env.Pass {
		line("env pass", "%s", s)
	}
	for _, s := range p.Require {
		line("require", "%s", s)
	}
	for _, s := range p.Host.Require {
		line("require", "%s (of this host)", s)
	}
	for _, s := range p.Stamps {
		if s.Absent {
			line("depends", "%s (absent)", s.Path)
			continue
		}
		line("depends", "%s", s.Path)
	}
	return b.String()
}

var kindNames = [...]string{
	plan.Dir: "dir", plan.Symlink: "symlink", plan.File: "file", plan.Tmpfs: "tmpfs", plan.Proc: "proc",
	plan.Devpts: "devpts", plan.Device: "device", plan.Tree: "tree", plan.Seal: "seal",
}

var flagNames = []struct {
	flag plan.Flags
	name string
}{
	{plan.Writable, "writable"}, {plan.Executable, "executable"}, {plan.Optional, "optional"}, {plan.Subset, "subset"},
	{plan.SourceCwd, "cwd"}, {plan.Mapped, "mapped"}, {plan.OverFile, "overfile"}, {plan.Exists, "exists"},
	{plan.Covers, "covers"},
}

func stepText(s *plan.Step) string {
	var w []string
	kind := fmt.Sprintf("kind %d", s.Kind)
	if int(s.Kind) < len(kindNames) && kindNames[s.Kind] != "" {
		kind = kindNames[s.Kind]
	}
	w = append(w, kind)
	switch {
	case s.Flags&plan.SourceCwd != 0:
		w = append(w, "{{cwd}}")
	case s.Kind == plan.Symlink:
		w = append(w, s.Path, "->", s.Source)
	case s.Source != "" && s.Source != s.Path:
		w = append(w, s.Path, "from", s.Source)
	default:
		w = append(w, s.Path)
	}
	if s.Kind == plan.Dir || s.Kind == plan.File || s.Kind == plan.Tmpfs {
		w = append(w, fmt.Sprintf("mode=%04o", s.Mode))
	}
	if s.Kind == plan.Tmpfs {
		w = append(w, fmt.Sprintf("size=%d files=%d", s.Size, s.Files))
	}
	for _, f := range flagNames {
		if s.Flags&f.flag != 0 {
			w = append(w, f.name)
		}
	}
	if s.Kind == plan.File {
		w = append(w, fmt.Sprintf("%q", s.Data))
	}
	return strings.Join(w, " ")
}

func limitText(line func(string, string, ...any), l *plan.Limits) {
	required := map[string]string{}
	for _, r := range l.Required {
		required[r] = " (required)"
	}
	number := func(key string, v uint64, show bool) {
		if show {
			line("limit", "%s %d%s", key, v, required[key])
		}
	}
	number("memory_max", l.MemoryMax, l.MemoryMax != 0)
	number("memory_swap_max", l.MemorySwapMax, l.SwapSet)
	number("pids_max", l.PidsMax, l.PidsMax != 0)
	if l.CPUQuota != 0 {
		line("limit", "cpu_max %d/%d%s", l.CPUQuota, l.CPUPeriod, required["cpu_max"])
	}
	number("cpu_weight", l.CPUWeight, l.CPUWeight != 0)
	for _, s := range l.IOMax {
		line("limit", "io_max %s%s", s, required["io_max"])
	}
	if l.Timeout != 0 {
		line("limit", "timeout %s", l.Timeout)
	}
	number("output_max", l.OutputMax, l.OutputMax != 0)
}

// capabilityNames names bits.
func capabilityNames(bits uint64) (names []string) {
	for i, name := range policy.CapabilityNames() {
		if bits>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return names
}
