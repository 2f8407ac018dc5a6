package policy

import (
	"maps"
	"reflect"
	"slices"
	"sort"
	"strings"
)

// Base is the stock policy that every policy extends unless it says
// otherwise.
const Base = "base"

// Resolve merges p into what it extends: [Base] when p.Extends is nil,
// nothing when it is empty. stock returns a stock policy by name; each must
// say `extends: []`, because there is one level only.
//
// Lists are concatenated without duplicates, scalars and limits of p replace
// those that it extends. What p says about a syscall, by its own name or by a
// group, replaces what the stock policies say about this very name; deny is
// never replaced, and a group opens no guarded call. A number that has a name
// is that name. Two stock policies that differ in a scalar which p does
// not state are an *Error, so the order of extends never matters.
//
// Positions of the result are those of p: what a stock policy alone says has
// none. The result has an empty Extends, so that resolving it again changes
// nothing. It shares no memory with p that a caller may change.
func Resolve(p Policy, stock func(name string) (Policy, error), calls Calls) (Policy, error) {
	names := p.Extends
	if names == nil {
		names = []string{Base}
	}
	names = append([]string(nil), names...)
	sort.Strings(names)

	p.Syscalls = calls.named(p.Syscalls)

	m := merger{calls: calls, conflicts: map[string]bool{}, peers: true}
	var sum Policy
	for _, name := range names {
		s, err := stock(name)
		if unknown, ok := err.(*Error); ok && unknown.Pos == (Pos{}) {
			unknown.Pos = p.Places.Of("extends " + name)
		}
		if err != nil {
			return Policy{}, err
		}
		if s.Extends == nil || len(s.Extends) > 0 {
			return Policy{}, &Error{Msg: "extends: stock policy \"" + name + "\" must say extends: []"}
		}
		sum = m.policy(sum, unplaced(s))
	}
	m.peers = false
	sum = m.policy(sum, p)
	if len(m.conflicts) > 0 {
		return Policy{}, &Error{
			Pos:  p.Places.Of("extends"),
			Msg:  "extends: the stock policies " + strings.Join(names, ", ") + " differ in " + strings.Join(sortedKeys(m.conflicts), ", "),
			Hint: "state it in the policy",
		}
	}
	sum.Extends = []string{}
	sum.Places = maps.Clone(p.Places)
	return sum, nil
}

// merger merges policies. As long as peers is set, two that state the same
// thing differently leave a conflict; after that the second one wins, and
// takes back the conflict.
type merger struct {
	calls     Calls
	peers     bool
	conflicts map[string]bool
}

// stated records that a key is stated by the right side, and whether the left
// side states another value.
func (m *merger) stated(key string, differs bool) {
	switch {
	case !m.peers:
		delete(m.conflicts, key)
	case differs:
		m.conflicts[key] = true
	}
}

func (m *merger) text(key, a, b string) string {
	if b == "" {
		return a
	}
	m.stated(key, a != "" && a != b)
	return b
}

// pointer merges a scalar that is nil when not stated.
func pointer[T any](m *merger, key string, a, b *T) *T {
	if b == nil {
		return a
	}
	m.stated(key, a != nil && !reflect.DeepEqual(*a, *b))
	v := *b
	return &v
}

// entries merges maps key by key; nil is "not stated".
func entries[V any](m *merger, key string, a, b map[string]V) map[string]V {
	if a == nil && b == nil {
		return nil
	}
	out := make(map[string]V, len(a)+len(b))
	for k, v := range a {
		out[k] = v
	}
	for k, v := range b {
		old, both := a[k]
		m.stated(key+k, both && !reflect.DeepEqual(old, v))
		out[k] = v
	}
	return out
}

// list concatenates without duplicates, by key; an entry of b replaces that
// of a with the same key, in its place. nil is "not stated".
func list[T any](m *merger, what string, a, b []T, key func(T) string, same func(a, b T) bool) []T {
	if a == nil && b == nil {
		return nil
	}
	out := make([]T, 0, len(a)+len(b))
	at := make(map[string]int, len(a)+len(b))
	for _, v := range a {
		at[key(v)] = len(out)
		out = append(out, v)
	}
	for _, v := range b {
		i, both := at[key(v)]
		m.stated(what+key(v), both && !same(out[i], v))
		if both {
			out[i] = v
			continue
		}
		at[key(v)] = len(out)
		out = append(out, v)
	}
	return out
}

func texts(m *merger, a, b []string) []string {
	return list(m, "list ", a, b, func(s string) string { return s }, func(a, b string) bool { return true })
}

func paths(m *merger, what string, a, b []PathRule) []PathRule {
	return list(m, what+" ", a, b, func(r PathRule) string { return r.Path }, func(a, b PathRule) bool {
		return a.Optional == b.Optional && a.AsOwner == b.AsOwner
	})
}

func (m *merger) policy(a, b Policy) Policy {
	return Policy{
		Filesystem:       m.filesystem(a.Filesystem, b.Filesystem),
		Syscalls:         m.syscalls(a.Syscalls, b.Syscalls),
		Network:          m.network(a.Network, b.Network),
		Sockets:          texts(m, a.Sockets, b.Sockets),
		Limits:           m.limits(a.Limits, b.Limits),
		Devices:          texts(m, a.Devices, b.Devices),
		Env:              Env{Pass: texts(m, a.Env.Pass, b.Env.Pass), Set: entries(m, "env.set.", a.Env.Set, b.Env.Set)},
		User:             m.text("user", a.User, b.User),
		Capabilities:     texts(m, a.Capabilities, b.Capabilities),
		DenyWriteExecute: pointer(m, "memory_deny_write_execute", a.DenyWriteExecute, b.DenyWriteExecute),
		Require:          texts(m, a.Require, b.Require),
	}
}

func (m *merger) filesystem(a, b Filesystem) Filesystem {
	return Filesystem{
		Proc:  m.text("filesystem.proc", a.Proc, b.Proc),
		View:  m.text("filesystem.view", a.View, b.View),
		Read:  paths(m, "filesystem.read", a.Read, b.Read),
		Write: paths(m, "filesystem.write", a.Write, b.Write),
		Exec:  paths(m, "filesystem.exec", a.Exec, b.Exec),
		Mask:  paths(m, "filesystem.mask", a.Mask, b.Mask),
		Tmpfs: list(m, "filesystem.tmpfs ", a.Tmpfs, b.Tmpfs,
			func(t Tmpfs) string { return t.Path }, func(a, b Tmpfs) bool { return a.Size == b.Size && a.Files == b.Files }),
	}
}

func (m *merger) network(a, b Network) Network {
	return Network{
		Mode: m.text("network.mode", a.Mode, b.Mode),
		Allow: list(m, "list ", a.Allow, b.Allow, func(e Endpoint) string {
			e.Pos = Pos{}
			return endpointKey(e)
		}, func(a, b Endpoint) bool { return true }),
	}
}

func (m *merger) limits(a, b Limits) Limits {
	return Limits{
		MemoryMax:     pointer(m, "limits.memory_max", a.MemoryMax, b.MemoryMax),
		MemorySwapMax: pointer(m, "limits.memory_swap_max", a.MemorySwapMax, b.MemorySwapMax),
		PidsMax:       pointer(m, "limits.pids_max", a.PidsMax, b.PidsMax),
		CPUMax:        pointer(m, "limits.cpu_max", a.CPUMax, b.CPUMax),
		CPUWeight:     pointer(m, "limits.cpu_weight", a.CPUWeight, b.CPUWeight),
		IOMax:         pointer(m, "limits.io_max", a.IOMax, b.IOMax),
		Timeout:       pointer(m, "limits.timeout", a.Timeout, b.Timeout),
		OutputMax:     pointer(m, "limits.output_max", a.OutputMax, b.OutputMax),
		Rlimits:       entries(m, "limits.rlimit_", a.Rlimits, b.Rlimits),
	}
}

// syscalls merges rulesets. Between peers a refusal beats a permission (an
// errno drops the other's allow of the same name); after that what b says
// replaces what a says by name.
func (m *merger) syscalls(a, b Syscalls) Syscalls {
	said := map[string]bool{} // by b, so that nothing that a says by name stands
	if !m.peers {
		m.answers(b, said)
		a.Allow = slices.DeleteFunc(slices.Clone(a.Allow), func(n Name) bool { return said[n.Text] })
		m.opens(b, said)
	}
	key := func(n Name) string { return n.Text }
	same := func(Name, Name) bool { return true }
	out := Syscalls{
		Allow:   list(m, "list ", a.Allow, b.Allow, key, same),
		Deny:    list(m, "list ", a.Deny, b.Deny, key, same),
		Default: m.text("syscalls.default", a.Default, b.Default),
	}
	if a.Rules != nil || b.Rules != nil {
		out.Rules = append(append([]Rule{}, a.Rules...), b.Rules...)
	}

	// errno of a name: b's, else a's unless b allows the name.
	errnoOf := map[string]string{}
	var order []Name
	add := func(s Syscalls, skip map[string]bool) {
		for _, errno := range sortedKeys(s.Errno) {
			for _, n := range s.Errno[errno] {
				old, both := errnoOf[n.Text]
				if skip[n.Text] {
					continue
				}
				m.stated("syscalls.errno of "+n.Text, both && old != errno)
				if !both {
					order = append(order, n)
				}
				errnoOf[n.Text] = errno
			}
		}
	}
	for name := range said {
		delete(m.conflicts, "syscalls.errno of "+name)
	}
	add(a, said)
	add(b, nil)
	if a.Errno != nil || b.Errno != nil {
		out.Errno = map[string][]Name{}
		for errno := range a.Errno {
			out.Errno[errno] = []Name{}
		}
		for errno := range b.Errno {
			out.Errno[errno] = []Name{}
		}
		for _, n := range order {
			errno := errnoOf[n.Text]
			out.Errno[errno] = append(out.Errno[errno], n)
		}
		for errno, names := range out.Errno {
			if len(names) == 0 {
				delete(out.Errno, errno)
			}
		}
	}
	// A refusal beats a permission of the same name.
	refused := map[string]bool{}
	for _, n := range out.Deny {
		refused[n.Text] = true
	}
	for name := range errnoOf {
		refused[name] = true
	}
	if out.Allow != nil {
		kept := make([]Name, 0, len(out.Allow))
		for _, n := range out.Allow {
			if !refused[n.Text] {
				kept = append(kept, n)
			}
		}
		out.Allow = kept
	}
	return out
}

// opens notes the calls that s allows, by name or in a group.
func (m *merger) opens(s Syscalls, calls map[string]bool) {
	for _, n := range s.Allow {
		for _, call := range m.calls.members(n.Text) {
			if call == n.Text || !m.calls.guarded(call) {
				calls[call] = true
			}
		}
	}
}

// answers notes the calls that s answers with an errno, by name or in a group.
func (m *merger) answers(s Syscalls, calls map[string]bool) {
	for _, names := range s.Errno {
		for _, n := range names {
			for _, call := range m.calls.members(n.Text) {
				calls[call] = true
			}
		}
	}
}
