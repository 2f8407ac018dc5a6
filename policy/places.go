package policy

import (
	"slices"
	"strings"
)

// Places tells where a policy says things that carry no position of their
// own, for errors that are found after the parsing. A key is the dotted name
// of a value ("user", "limits.memory_max", "env.set.HOME") or, for an item of
// a list, the list's name, a space and the item ("require cgroup.memory").
type Places map[string]Pos

// Of returns the place of a value, of the nearest one around it when it has
// none of its own, and zero when the source does not state it: then it comes
// from a stock policy or a default.
func (p Places) Of(key string) Pos {
	for {
		if at, ok := p[key]; ok {
			return at
		}
		i := strings.LastIndexByte(key, ' ')
		if i < 0 {
			return Pos{}
		}
		key = key[:i]
	}
}

// note walks a mapping and notes its values. An optional limit has the place
// of its name.
func (p Places) note(prefix string, n *Node) {
	for _, pair := range n.Pairs {
		key := prefix + strings.TrimPrefix(pair.Key.Value, "-")
		v := pair.Value
		p[key] = v.Pos
		switch v.Kind {
		case Mapping:
			p.note(key+".", v)
		case Sequence:
			for _, item := range v.Items {
				if item.Kind == Scalar {
					p[key+" "+item.Value] = item.Pos
				}
			}
		}
	}
}

// unplaced returns a stock policy without positions: they are of another file
// than those of the policy that extends it.
func unplaced(p Policy) Policy {
	p.Places = nil
	f := &p.Filesystem
	for _, list := range []*[]PathRule{&f.Read, &f.Write, &f.Exec, &f.Mask} {
		*list = each(*list, func(r *PathRule) { r.Pos = Pos{} })
	}
	f.Tmpfs = each(f.Tmpfs, func(t *Tmpfs) { t.Pos = Pos{} })
	p.Syscalls = p.Syscalls.Unplaced()
	p.Network.Allow = each(p.Network.Allow, func(e *Endpoint) { e.Pos = Pos{} })
	return p
}

// Unplaced returns a copy without positions: what the calls are, wherever that
// is written.
func (s Syscalls) Unplaced() Syscalls {
	name := func(n *Name) { n.Pos = Pos{} }
	s.Allow, s.Deny = each(s.Allow, name), each(s.Deny, name)
	if s.Errno != nil {
		calls := make(map[string][]Name, len(s.Errno))
		for errno, names := range s.Errno {
			calls[errno] = each(names, name)
		}
		s.Errno = calls
	}
	s.Rules = each(s.Rules, func(r *Rule) {
		r.Pos = Pos{}
		r.Names = each(r.Names, name)
	})
	return s
}

// each returns a changed copy of a list; nil stays nil.
func each[T any](list []T, change func(*T)) []T {
	out := slices.Clone(list)
	for i := range out {
		change(&out[i])
	}
	return out
}
