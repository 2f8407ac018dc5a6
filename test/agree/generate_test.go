package agree_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"

	"github.com/sbx-project/sbx/internal/syscalls"
)

// generated is one policy and the calls that its own rules are about.
type generated struct {
	name, text string
	calls      []call
}

// generator writes policies that sbx takes: one that it refuses is a failure.
type generator struct {
	*rand.Rand
	tree *tree
	b    strings.Builder
	// dirs: host directories are shown, which Unix sockets are refused beside.
	dirs bool
	// base: the policy extends base.
	base  bool
	calls []call
}

// generate makes policy number i. Equal seeds, numbers and trees make
// equal policies.
func generate(seed uint64, i int, tree *tree) generated {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, uint64(i))), tree: tree, base: i%3 != 2}
	if !g.base {
		g.line("extends: []")
	}
	g.section("filesystem", func() { g.filesystem(i) })
	g.section("syscalls", g.syscalls)
	g.network()
	g.rest()
	return generated{fmt.Sprintf("%03d", i), g.b.String(), g.calls}
}

func (g *generator) line(format string, args ...any) { fmt.Fprintf(&g.b, format+"\n", args...) }

// section writes key above what body writes, and nothing where it writes
// nothing: a key without a value is refused.
func (g *generator) section(key string, body func()) {
	before := g.b.String()
	g.b.Reset()
	body()
	inner := g.b.String()
	g.b.Reset()
	g.b.WriteString(before)
	if inner != "" {
		g.b.WriteString(key + ":\n" + inner)
	}
}

// chance is true p times in a hundred.
func (g *generator) chance(p int) bool { return g.IntN(100) < p }

// pick takes up to n different items.
func pick[T any](g *generator, n int, from []T) []T {
	var out []T
	for _, i := range g.Perm(len(from))[:min(n, len(from))] {
		out = append(out, from[i])
	}
	return out
}

// list writes key and the items that there are, quoted.
func (g *generator) list(key string, items []string) {
	if len(items) == 0 {
		return
	}
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = s
		if !strings.HasPrefix(s, "{path:") {
			quoted[i] = fmt.Sprintf("%q", s)
		}
	}
	g.line("  %s: [%s]", key, strings.Join(quoted, ", "))
}

func (g *generator) filesystem(i int) {
	t := g.tree
	if !g.base && g.chance(60) || g.chance(10) {
		g.line("  view: %s", []string{"none", "minimal"}[g.IntN(2)])
	}
	if g.chance(40) || i%10 == 0 {
		g.line("  proc: %s", []string{"subset", "full"}[g.IntN(2)])
	}
	var read, write []string
	masks := []string{
		t.path("read/pub"), t.path("read/dir"), t.path("read/dir/deep/pub"), t.path("write/pub"), t.path("write/dir"), t.path("lone"),
		t.path("absent"), "/usr/share", "/usr/bin/env", "/proc/cpuinfo", "/proc/sys",
	}
	masked := 3
	cwd := g.chance(20)
	// What shows nothing of the host's directories leaves room for Unix
	// sockets.
	g.dirs = g.chance(80)
	if g.dirs {
		read = pick(g, g.IntN(4), []string{t.path("read"), t.path("read/dir"), t.path("read/dir/deep"), t.path("write/ro")})
		write = pick(g, g.IntN(3), []string{t.path("write"), t.path("read/rw"), t.path("read/dir/deep/rw")})
		if cwd {
			masked = 6
			masks = append(masks, "{{cwd}}/pub", "{{cwd}}/dir", "{{cwd}}/closed", "{{cwd}}/absent", t.path("cwd/open"), t.path("cwd/shared"), t.path("cwd/none"))
			if g.chance(50) {
				write = append(write, "{{cwd}}")
			} else {
				read = append(read, "{{cwd}}")
				masks = append(masks, "{{cwd}}/dir/pub", t.path("cwd/closed/pub"))
			}
		}
	}
	read = append(read, pick(g, g.IntN(3), []string{t.path("lone"), t.path("link"), "-" + t.path("absent"), "-/etc/hostname", "-/etc/hosts"})...)
	if g.chance(15) {
		write = append(write, t.path("lonerw"))
	}
	for k := range read {
		if g.chance(10) && strings.HasPrefix(read[k], t.path("")) {
			read[k] = fmt.Sprintf("{path: %q, as: owner}", read[k])
		}
	}
	g.list("read", read)
	g.list("write", write)
	var exec []string
	switch g.IntN(5) {
	case 0:
		exec = []string{"view"}
	case 1, 2:
		from := []string{"-" + t.path("absent")}
		if !slices.Contains(write, "{{cwd}}") { // in which code could lie
			from = append(from, t.path("exec/prog"), t.path("read/exe"))
			if g.dirs {
				from = append(from, t.path("exec"), t.path("exec/plugins"))
			}
		}
		exec = pick(g, 1+g.IntN(2), from)
	}
	g.list("exec", exec)
	g.list("mask", pick(g, g.IntN(masked), masks))
	var tmpfs []string
	for _, p := range pick(g, g.IntN(3), []string{"/tmp", "/dev/shm", "/agree/scratch", t.path("read/sub")}) {
		tmpfs = append(tmpfs, fmt.Sprintf("{path: %q, size: %dK, files: %d}", p, 64<<g.IntN(5), 16+g.IntN(100)))
	}
	g.list("tmpfs", tmpfs)
}

// needed are the calls that the probe reports with. Most policies leave them
// open; under the others it does one thing in each run.
var needed = []string{"write", "close", "openat", "newfstatat", "faccessat", "mmap", "exit_group"}

// everyRun are the calls that no policy may refuse.
var everyRun = []string{"exit", "exit_group", "rt_sigreturn", "restart_syscall", "execve", "execveat"}

// closes tells whether refusing the group would end reporting, or the run's
// regular end.
func closes(group string, names []string) bool {
	members, _ := syscalls.GroupAll(group)
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(members, n) })
}

// refusable are groups and names that a list may refuse.
func (g *generator) refusable(quiet bool) (groups, names []string) {
	keep := needed
	if quiet {
		keep = nil
	}
	keep = append(slices.Clone(keep), everyRun...)
	for _, group := range syscalls.Groups() {
		if !closes(group, keep) {
			groups = append(groups, group)
		}
	}
	for _, n := range syscalls.Names(runtime.GOARCH) {
		if !slices.Contains(keep, n) {
			names = append(names, n)
		}
	}
	return groups, names
}

// errnos that the kernel seldom gives by itself, so that an answer of the
// filter is told from one of the kernel, and the two that policies mostly use.
var errnos = []string{"EDOM", "ERANGE", "EXDEV", "EUSERS", "EMLINK", "EDEADLK", "ENETDOWN", "EDQUOT", "ENOTBLK", "EPERM", "ENOSYS"}

func (g *generator) syscalls() {
	quiet := g.chance(12) // the probe may lose its voice
	groups, names := g.refusable(quiet)
	allow := pick(g, g.IntN(4), syscalls.Groups())
	if !g.base {
		allow = append(allow, pick(g, 1+g.IntN(5), groups)...)
		if !quiet {
			allow = append(allow, "@basic-io", "@file-system")
		}
	}
	allow = append(allow, pick(g, g.IntN(6), syscalls.Names(runtime.GOARCH))...)
	allow = append(allow, pick(g, g.IntN(3), syscalls.GuardedNames())...)
	for range g.IntN(3) {
		allow = append(allow, fmt.Sprintf("nr:%d", []uint32{0, 1, 39, 400, 461, 480, 511, 600, 1000}[g.IntN(9)]))
	}
	slices.Sort(allow)
	allow = slices.Compact(allow)
	// A guarded call is opened by its name alone.
	allow = slices.DeleteFunc(allow, func(s string) bool {
		var nr uint32
		if n, _ := fmt.Sscanf(s, "nr:%d", &nr); n != 1 {
			return false
		}
		name, ok := syscalls.Name(runtime.GOARCH, nr)
		return ok && syscalls.Guarded(name)
	})
	g.list("allow", allow)
	g.list("deny", append(pick(g, g.IntN(3), groups), pick(g, g.IntN(4), names)...))

	used := slices.Clone(allow)
	first := true
	for _, errno := range pick(g, g.IntN(4), errnos) {
		var items []string
		for _, s := range append(pick(g, g.IntN(2), groups), pick(g, 1+g.IntN(5), names)...) {
			if !slices.Contains(used, s) {
				items, used = append(items, s), append(used, s)
			}
		}
		if len(items) == 0 {
			continue
		}
		if first {
			g.line("  errno:")
			first = false
		}
		g.b.WriteString("  ")
		g.list(errno, items)
	}
	var rules []string
	for range g.IntN(5) {
		if rule := g.rule(); rule != "" {
			rules = append(rules, rule)
		}
	}
	if len(rules) > 0 {
		g.line("  rules:\n%s", strings.Join(rules, "\n"))
	}
	if g.chance(60) {
		g.line("  default: %s", []string{"kill", "errno"}[g.IntN(2)])
	}
}

// rule is one argument rule; it notes calls that show what the rule does.
// Empty: none this time.
func (g *generator) rule() string {
	on := testable[g.IntN(len(testable))]
	nr, ok := syscalls.Number(runtime.GOARCH, on.name)
	if !ok {
		on = testable[0]
		nr, _ = syscalls.Number(runtime.GOARCH, on.name)
	}
	var tests []test
	var args []string
	for _, index := range pick(g, 1+g.IntN(2), on.free) {
		t := test{index: index, value: g.Uint64N(20), mask: none}
		if slices.Contains(on.wide, index) && g.chance(50) {
			t.value |= []uint64{high, 1 << 63, 1 << 40, 0x80000000}[g.IntN(4)]
		} else if g.chance(20) {
			t.value = []uint64{0x7fffffff, 0x80000000, 0xffffffff}[g.IntN(3)]
		}
		if index == 0 {
			t.value = noFD + g.Uint64N(3)
		}
		op := []string{"eq", "ne", "masked_eq", "masked_eq", "lt", "le", "gt", "ge"}[g.IntN(8)]
		arg := fmt.Sprintf("{index: %d, op: %s, value: %#x", index, op, t.value)
		if op == "masked_eq" {
			t.mask = t.value | 1<<g.IntN(8) | 0xf000
			if !slices.Contains(on.wide, index) {
				t.mask &= 0xffffffff
			}
			arg += fmt.Sprintf(", mask: %#x", t.mask)
		}
		tests, args = append(tests, t), append(args, arg+"}")
	}
	action := []string{"allow", "errno, errno: " + errnos[g.IntN(len(errnos))], "kill"}[g.IntN(3)]
	g.calls = append(g.calls, around(g.Rand, nr, tests)...)
	return fmt.Sprintf("    - {names: [%s], args: [%s], action: %s}", on.name, strings.Join(args, ", "), action)
}

func (g *generator) network() {
	if g.chance(30) {
		g.line("network: {mode: %s}", []string{"none", "loopback"}[g.IntN(2)])
	}
	families := []string{"inet", "inet6", "netlink"}
	if !g.dirs {
		families = append(families, "unix", "unix")
	}
	if g.chance(35) {
		list := pick(g, 1+g.IntN(2), families)
		slices.Sort(list)
		g.line("sockets: [%s]", strings.Join(slices.Compact(list), ", "))
	}
}

// rest writes what has no part in the filter or the view.
func (g *generator) rest() {
	g.line("env:")
	g.list("pass", pick(g, g.IntN(4), []string{"LANG", "LC_*", "AGREE_*", "TZ", "NOT_SET", "AGREE_ONE"}))
	g.line("  set: {AGREE_SET: %q, EMPTY: \"\", TZ: UTC}", fmt.Sprintf("a b=%d", g.IntN(100)))
	g.line("limits:")
	// An emulated guest is slow, and a run that hangs must end.
	g.line("  timeout: 60s")
	for _, l := range pick(g, g.IntN(4), []string{
		"rlimit_nofile: 128", "rlimit_fsize: 1M", "rlimit_stack: 4M", "rlimit_memlock: 16K", "rlimit_sigpending: 20", "rlimit_msgqueue: 4096",
		"rlimit_locks: 9", "-memory_max: 128M", "-pids_max: 20", "output_max: 1M",
	}) {
		g.line("  %s", l)
	}
	if g.chance(25) {
		g.line("memory_deny_write_execute: %v", g.chance(40))
	}
}
