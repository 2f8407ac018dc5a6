package policy

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Risk says in which direction a change goes.
type Risk uint8

// The risks, least first. The zero value is no change.
const (
	// Narrower takes a right away.
	Narrower Risk = iota + 1
	// Neutral neither takes nor gives one.
	Neutral
	// Wider gives a right, or weakens what holds one.
	Wider
	// Dangerous gives a right by which others can be had: a guarded call, a
	// connection to any address, a tree to write, another identity.
	Dangerous
)

var riskNames = [...]string{Narrower: "narrower", Neutral: "neutral", Wider: "wider", Dangerous: "dangerous"}

// String is the lower-case name.
func (r Risk) String() string {
	if r < Narrower || r > Dangerous {
		return fmt.Sprintf("Risk(%d)", uint8(r))
	}
	return riskNames[r]
}

// MarshalText is String.
func (r Risk) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Change is one difference between two policies or manifests.
type Change struct {
	Risk Risk `json:"risk"`
	// Key is what an author would write to make it: "limits.memory_max".
	Key string `json:"key"`
	// Text says it in plain words, lower case, with a verb in front.
	Text string `json:"text"`
}

// Compare says what changes for a workload from policy a to policy b, most
// dangerous first, then by key and text. Both were resolved ([Resolve]): what
// is not stated means the strictest, but for a limit, where it means none.
// It looks at what is written, not at a host: a tree that another one covers is
// seen, a file that is a link to another is not.
func Compare(a, b Policy, calls Calls) []Change {
	c := comparer{calls: calls}
	c.filesystem(a.Filesystem, b.Filesystem)
	c.syscalls(a.Syscalls, b.Syscalls)
	c.network(a.Network, b.Network)
	c.set("sockets", a.Sockets, b.Sockets, Wider, "opens sockets of family %s", "closes sockets of family %s")
	c.limits(a.Limits, b.Limits)
	c.set("devices", a.Devices, b.Devices, Dangerous, "opens the device %s", "closes the device %s")
	c.set("env.pass", a.Env.Pass, b.Env.Pass, Wider, "passes the variable %s", "no longer passes the variable %s")
	c.env(a.Env.Set, b.Env.Set)
	c.user(a.User, b.User)
	c.set("capabilities", a.Capabilities, b.Capabilities, Dangerous, "gives the capability %s", "takes the capability %s")
	c.writeExecute(a.DenyWriteExecute, b.DenyWriteExecute)
	c.set("require", b.Require, a.Require, Wider, "no longer requires the layer %s", "requires the layer %s")
	SortChanges(c.out)
	return c.out
}

// SortChanges puts the most dangerous first.
func SortChanges(list []Change) {
	sort.SliceStable(list, func(i, j int) bool {
		a, b := list[i], list[j]
		switch {
		case a.Risk != b.Risk:
			return a.Risk > b.Risk
		case a.Key != b.Key:
			return a.Key < b.Key
		}
		return a.Text < b.Text
	})
}

// Widens reports whether a change is Wider or Dangerous.
func Widens(list []Change) bool {
	return slices.ContainsFunc(list, func(c Change) bool { return c.Risk >= Wider })
}

type comparer struct {
	calls Calls
	out   []Change
}

func (c *comparer) add(risk Risk, key, format string, args ...any) {
	c.out = append(c.out, Change{Risk: risk, Key: key, Text: fmt.Sprintf(format, args...)})
}

// set compares lists whose order means nothing; more is Wider or worse.
func (c *comparer) set(key string, a, b []string, risk Risk, added, removed string) {
	for _, s := range minus(b, a) {
		c.add(risk, key, added, s)
	}
	for _, s := range minus(a, b) {
		c.add(Narrower, key, removed, s)
	}
}

// minus is what a has and b has not, sorted, each once.
func minus(a, b []string) []string {
	var out []string
	for _, s := range a {
		if !slices.Contains(b, s) && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	sort.Strings(out)
	return out
}

func (c *comparer) filesystem(a, b Filesystem) {
	if was, is := a.Proc == "full", b.Proc == "full"; was != is {
		c.either(is, Wider, "filesystem.proc", "shows all of /proc", "shows only the run's own processes in /proc")
	}
	if was, is := a.View == "minimal", b.View == "minimal"; was != is {
		c.either(is, Wider, "filesystem.view", "shows the minimal view: /usr, a small /etc, /proc, /dev, /tmp", "takes the minimal view away")
	}
	writes, reads := trees(a.Write), append(trees(a.Read), trees(a.Write)...)
	c.trees("filesystem.write", a.Write, b.Write, writes, Dangerous, "adds the write tree %s", "takes the write tree %s away")
	c.trees("filesystem.read", a.Read, b.Read, reads, Wider, "shows %s", "no longer shows %s")
	c.trees("filesystem.exec", a.Exec, b.Exec, trees(a.Exec), Wider, "lets %s be executed", "no longer lets %s be executed")
	for _, r := range b.Read {
		if i := slices.IndexFunc(a.Read, func(o PathRule) bool { return o.Path == r.Path }); i >= 0 && a.Read[i].AsOwner != r.AsOwner {
			c.either(r.AsOwner, Wider, "filesystem.read", "shows "+r.Path+" with its owner's rights", "shows "+r.Path+" with others' rights only")
		}
	}
	// A mask covers: fewer of them show more.
	c.set("filesystem.mask", trees(b.Mask), trees(a.Mask), Wider, "uncovers %s", "covers %s")
	c.tmpfs(a.Tmpfs, b.Tmpfs)
}

func (c *comparer) either(is bool, risk Risk, key, yes, no string) {
	if is {
		c.add(risk, key, "%s", yes)
	} else {
		c.add(Narrower, key, "%s", no)
	}
}

// trees compares lists of paths. What covered by some tree of before was
// there already.
func (c *comparer) trees(key string, a, b []PathRule, before []string, risk Risk, added, removed string) {
	was, is := trees(a), trees(b)
	for _, path := range minus(is, was) {
		switch {
		case key == "filesystem.exec" && path == "view":
			c.add(Dangerous, key, "lets every program of the view be executed")
		case covered(path, before):
			c.add(Neutral, key, added+", which a tree above it did already", path)
		default:
			c.add(risk, key, added, path)
		}
	}
	for _, path := range minus(was, is) {
		if covered(path, is) {
			c.add(Neutral, key, removed+", which a tree above it still does", path)
		} else {
			c.add(Narrower, key, removed, path)
		}
	}
}

func trees(rules []PathRule) []string {
	var out []string
	for _, r := range rules {
		out = append(out, r.Path)
	}
	return out
}

func covered(path string, by []string) bool {
	return slices.ContainsFunc(by, func(tree string) bool {
		return tree == path || strings.HasPrefix(path, strings.TrimSuffix(tree, "/")+"/")
	})
}

func (c *comparer) tmpfs(a, b []Tmpfs) {
	const key = "filesystem.tmpfs"
	at := func(list []Tmpfs, path string) (Tmpfs, bool) {
		i := slices.IndexFunc(list, func(t Tmpfs) bool { return t.Path == path })
		if i < 0 {
			return Tmpfs{}, false
		}
		return list[i], true
	}
	for _, t := range b {
		old, ok := at(a, t.Path)
		switch {
		case !ok:
			c.add(Wider, key, "adds memory files at %s, %s", t.Path, t.Size)
		case t.Size > old.Size || t.Files > old.Files:
			c.add(Wider, key, "lets memory files at %s grow from %s, %d files, to %s, %d files", t.Path, old.Size, old.Files, t.Size, t.Files)
		case t != old:
			c.add(Narrower, key, "shrinks memory files at %s to %s, %d files", t.Path, t.Size, t.Files)
		}
	}
	for _, t := range a {
		if _, ok := at(b, t.Path); !ok {
			c.add(Narrower, key, "takes memory files at %s away", t.Path)
		}
	}
}

// networkRank orders modes; the unknown and the unstated are the strictest.
func networkRank(mode string) int { return slices.Index([]string{"none", "loopback", "egress"}, mode) }

func (c *comparer) network(a, b Network) {
	const key = "network.mode"
	was, is := max(networkRank(a.Mode), 0), max(networkRank(b.Mode), 0)
	switch {
	case is == 2 && was < 2:
		c.add(Dangerous, key, "opens the network")
	case is > was:
		c.add(Wider, key, "opens its own loopback")
	case is < was && is == 0:
		c.add(Narrower, key, "closes the network")
	case is < was:
		c.add(Narrower, key, "closes the network but for its own loopback")
	}
	if is == 2 && len(b.Allow) == 0 && len(a.Allow) > 0 {
		c.add(Narrower, "network.allow", "names no destination any more")
	}
	old := map[string]bool{}
	for _, e := range a.Allow {
		old[destination(e)] = true
	}
	now := map[string]bool{}
	for _, e := range b.Allow {
		d := destination(e)
		if now[d] = true; old[d] {
			continue
		}
		if anywhere(e) {
			c.add(Dangerous, "network.allow", "connects to any address (%s)", d)
		} else {
			c.add(Wider, "network.allow", "connects to %s", d)
		}
	}
	for _, e := range a.Allow {
		if d := destination(e); !now[d] {
			c.add(Narrower, "network.allow", "no longer connects to %s", d)
		}
	}
}

// destination spells an egress rule.
func destination(e Endpoint) string {
	out := e.Host + e.CIDR
	if e.Port != 0 {
		out += fmt.Sprintf(":%d", e.Port)
	}
	if e.UDP {
		out = "udp://" + out
	}
	return out
}

// anywhere reports whether a rule is for so much of the address space that it
// is no bound: every name, or a prefix shorter than what any network has
// (IANA gives out /8 and, of IPv6, /12 at most).
func anywhere(e Endpoint) bool {
	if e.Host == "*" {
		return true
	}
	address, length, ok := strings.Cut(e.CIDR, "/")
	bits, err := strconv.Atoi(length)
	return ok && err == nil && (bits < 8 || strings.Contains(address, ":") && bits < 12)
}

func (c *comparer) env(a, b map[string]string) {
	names := map[string]bool{}
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	for _, name := range sortedKeys(names) {
		old, was := a[name]
		now, is := b[name]
		switch {
		case was && !is:
			c.add(Neutral, "env.set", "no longer sets %s", name)
		case is && (!was || old != now):
			c.add(Neutral, "env.set", "sets %s to %q", name, now)
		}
	}
}

func (c *comparer) user(a, b string) {
	rank := func(u string) int {
		switch u {
		case "", "caller":
			return 1
		case "dynamic":
			return 0
		}
		return 2
	}
	was, is := rank(a), rank(b)
	switch {
	case is == 2 && a != b:
		c.add(Dangerous, "user", "runs as %s", b)
	case is > was:
		c.add(Wider, "user", "runs as the caller, not as a user of its own")
	case is < was && is == 1:
		c.add(Narrower, "user", "runs as the caller, no longer as %s", a)
	case is < was:
		c.add(Narrower, "user", "runs as a user of its own")
	}
}

func (c *comparer) writeExecute(a, b *bool) {
	was, is := a != nil && *a, b != nil && *b
	if was != is {
		c.either(!is, Dangerous, "memory_deny_write_execute", "lets memory be written and executed", "refuses memory that is written and executed")
	}
}

func (c *comparer) limits(a, b Limits) {
	limit(c, "memory_max", a.MemoryMax, b.MemoryMax, Bytes.String, atMost)
	limit(c, "memory_swap_max", a.MemorySwapMax, b.MemorySwapMax, Bytes.String, atMost)
	limit(c, "pids_max", a.PidsMax, b.PidsMax, countString, atMost)
	limit(c, "cpu_max", a.CPUMax, b.CPUMax, CPU.String, func(a, b CPU) int {
		// Quotas are under 2^43 and periods under 2^20: no overflow.
		return atMost(a.Quota*b.Period, b.Quota*a.Period)
	})
	limit(c, "cpu_weight", a.CPUWeight, b.CPUWeight, countString, atMost)
	limit(c, "io_max", a.IOMax, b.IOMax, func(v []string) string { return strings.Join(v, ", ") }, func(a, b []string) int {
		if slices.Equal(a, b) {
			return 0
		}
		return 1 // which of two texts is the tighter is the kernel's: say the worse
	})
	limit(c, "timeout", a.Timeout, b.Timeout, FormatDuration, atMost[time.Duration])
	limit(c, "output_max", a.OutputMax, b.OutputMax, Bytes.String, atMost)
	names := map[string]bool{}
	for name := range a.Rlimits {
		names[name] = true
	}
	for name := range b.Rlimits {
		names[name] = true
	}
	at := func(m map[string]Limit[uint64], name string) *Limit[uint64] {
		if l, ok := m[name]; ok {
			return &l
		}
		return nil
	}
	for _, name := range sortedKeys(names) {
		limit(c, "rlimit_"+name, at(a.Rlimits, name), at(b.Rlimits, name), countString, atMost)
	}
}

func countString(v uint64) string { return strconv.FormatUint(v, 10) }

// atMost orders upper bounds: 1 when b is the wider.
func atMost[T ~uint64 | ~int64](a, b T) int {
	switch {
	case b > a:
		return 1
	case b < a:
		return -1
	}
	return 0
}

// limit compares one limit. wider is positive when the second value allows
// more.
func limit[T any](c *comparer, name string, a, b *Limit[T], text func(T) string, wider func(a, b T) int) {
	key := "limits." + name
	switch {
	case a == nil && b == nil:
		return
	case a == nil:
		c.add(Narrower, key, "sets %s to %s", name, text(b.Value))
		return
	case b == nil:
		c.add(Wider, key, "drops %s (%s)", name, text(a.Value))
		return
	}
	switch w := wider(a.Value, b.Value); {
	case w > 0:
		c.add(Wider, key, "raises %s from %s to %s", name, text(a.Value), text(b.Value))
	case w < 0:
		c.add(Narrower, key, "lowers %s from %s to %s", name, text(a.Value), text(b.Value))
	}
	if a.Optional != b.Optional {
		c.either(b.Optional, Wider, key, "runs without "+name+" where the host cannot hold it", "refuses to run where the host cannot hold "+name)
	}
}
