package registry

import (
	"fmt"
	"sort"
)

// Sources is several sources as one: of a name that is found twice the
// earlier wins. It is a Source itself.
type Sources []Source

// Load reads from the first source that has the name.
func (s Sources) Load(name string) (Bundle, error) {
	r, err := s.Read(name)
	if err != nil {
		return Bundle{}, err
	}
	return r.Parse()
}

// Read reads from the first source that has the name.
func (s Sources) Read(name string) (Raw, error) {
	for _, src := range s {
		kind, err := src.Node(name)
		if err != nil {
			return Raw{}, err
		}
		if kind != Missing {
			return src.Read(name)
		}
	}
	return Raw{}, fmt.Errorf("load %q: %w", name, ErrNotFound)
}

// Node is what the first source that has the name says. A source that cannot
// say is an error: a later one must not take its place.
func (s Sources) Node(name string) (NodeKind, error) {
	for _, src := range s {
		kind, err := src.Node(name)
		if err != nil || kind != Missing {
			return kind, err
		}
	}
	return Missing, nil
}

// Names lists all sources, sorted by name, those of earlier sources first. A
// command that an earlier source has is Shadowed; a group that two have is
// listed once.
func (s Sources) Names() ([]Entry, error) {
	var out []Entry
	seen := map[string]NodeKind{}
	for _, src := range s {
		entries, err := src.Names()
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			kind := Command
			if e.Group {
				kind = Group
			}
			first := seen[e.Name]
			if first == Group && kind == Group {
				continue
			}
			e.Shadowed = first != Missing
			if first == Missing {
				seen[e.Name] = kind
			}
			out = append(out, e)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}
