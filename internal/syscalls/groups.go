package syscalls

import "math/bits"

// Group returns the calls that allowing the group name ("@" included) opens,
// sorted, or false when there is no such group. Guarded calls are never among
// them, so the result can be empty (as for @clock). A name may be one that
// only one architecture has. The caller owns the slice.
//
// Groups are systemd's (systemd.exec(5), SystemCallFilter=), brought up to
// [Kernel], and @known, every call of the tables.
func Group(name string) ([]string, bool) {
	g, ok := group(name)
	if !ok {
		return nil, false
	}
	for i := range g {
		g[i] &^= guarded[i]
	}
	return g.names(), true
}

// GroupAll returns every member of the group, guarded calls included: what
// denying the group closes. Use it for nothing that opens calls.
func GroupAll(name string) ([]string, bool) {
	g, ok := group(name)
	if !ok {
		return nil, false
	}
	return g.names(), true
}

// Groups returns the names of all groups, "@" included, sorted. "@guarded" is
// none of them; see [GuardedNames].
func Groups() []string {
	out := make([]string, len(groups))
	for i := range groups {
		out[i] = groups[i].name
	}
	return out
}

// Guarded reports whether only its own name opens the call: it reaches other
// namespaces, processes, keyrings or mounts, the clock or the kernel itself,
// or walks around another rule of the sandbox. The table is gen/guarded.txt.
func Guarded(name string) bool {
	i, ok := index(name)
	return ok && guarded.has(i)
}

// GuardedNames returns the guarded calls of all architectures, sorted.
func GuardedNames() []string { return guarded.names() }

// group returns a copy of the group's members.
func group(name string) (set, bool) {
	for i := range groups {
		if groups[i].name == name {
			return groups[i].set, true
		}
	}
	return set{}, false
}

func (s *set) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (s *set) names() []string {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	out := make([]string, 0, n)
	for w, word := range s {
		for ; word != 0; word &= word - 1 {
			out = append(out, nameAtIndex(w*64+bits.TrailingZeros64(word)))
		}
	}
	return out
}
