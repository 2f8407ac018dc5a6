// Package feature probes what the host's kernel and its set-up can hold, by
// name. [Probe] looks at everything once; [Set.Get] answers with what is
// there, what a run loses without it, and how to get it.
//
// Abilities are tried, never derived from a version: distributions carry
// patches in both directions, and a container may refuse what its kernel has.
// A probe leaves nothing behind.
package feature

import (
	"slices"
	"strings"
)

// Feature is one ability of the host.
type Feature struct {
	// Name is stable: `sbx doctor --json`, requires.features and error
	// messages use it.
	Name string `json:"name"`
	// Present says whether a run started by this process can use it.
	Present bool `json:"present"`
	// Detail says what was seen: a version, a mount point, the kernel's
	// answer.
	Detail string `json:"detail,omitempty"`
	// Cost is what a run loses without it.
	Cost string `json:"cost"`
	// MinKernel is the first kernel that has it, "5.12", for people only;
	// its source stands at the probe.
	MinKernel string `json:"min-kernel"`
	// Fix is what to do on a host whose kernel is new enough; it is filled
	// in whether or not the feature is present.
	Fix string `json:"fix"`
}

// Set is the answer of Probe. The zero value has no feature at all. It is a
// value: copies share memory that nobody writes to.
type Set struct {
	features []Feature
}

// NewSet makes a set of its own, for tests and for answers that were stored.
func NewSet(features ...Feature) Set {
	f := slices.Clone(features)
	slices.SortFunc(f, func(a, b Feature) int { return strings.Compare(a.Name, b.Name) })
	return Set{f}
}

// Has reports whether the named feature is present. An unknown name is not.
func (s Set) Has(name string) bool {
	f, ok := s.Get(name)
	return ok && f.Present
}

// Get returns a feature by name; it is false for an unknown name.
func (s Set) Get(name string) (Feature, bool) {
	i, ok := slices.BinarySearchFunc(s.features, name, func(f Feature, n string) int { return strings.Compare(f.Name, n) })
	if !ok {
		return Feature{}, false
	}
	return s.features[i], true
}

// All returns every feature, sorted by name. The caller owns the slice.
func (s Set) All() []Feature { return slices.Clone(s.features) }

// Names returns the names of all features that Probe knows, sorted.
func Names() []string {
	out := make([]string, 0, len(probes))
	for _, p := range probes {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

// Known returns the description of a feature without looking at the host.
func Known(name string) (Feature, bool) {
	for _, p := range probes {
		if p.Name == name {
			return p.Feature, true
		}
	}
	return Feature{}, false
}

// Probe looks at the host. It takes about a millisecond, most of it the
// clones of the userns probe, and never fails: what cannot be seen is absent,
// with the reason in Detail. It may be called by several goroutines.
func Probe() Set {
	out := make([]Feature, 0, len(probes))
	host := look()
	for _, p := range probes {
		f := p.Feature
		f.Present, f.Detail = p.try(host)
		out = append(out, f)
	}
	return NewSet(out...)
}
