package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrCycle says that commands require each other in a circle, ErrRequires that
// a required command is not there. Like ErrTree they refuse a tree whole.
var (
	ErrCycle    = errors.New("requires itself")
	ErrRequires = errors.New("requires a command that is not there")
)

// Node is one name of a tree for CheckTree.
type Node struct {
	Name string
	// Group is set for a group that has a directory of its own; groups that
	// follow from the names of commands need no node.
	Group bool
	// Requires are the commands that must be there.
	Requires []string
}

// maxTreeErrors bounds what CheckTree lists: people mend one after the other.
const maxTreeErrors = 20

// CheckTree tells whether the commands of a registry can be in force together.
// The error is everything that speaks against it, sorted, at most 20 lines; it
// matches ErrTree, ErrRequires and ErrCycle as it applies. Nodes may come in
// any order.
func CheckTree(nodes []Node) error {
	commands := make(map[string][]string, len(nodes))
	groups := map[string]bool{}
	names := make([]string, 0, len(nodes))
	for _, n := range nodes {
		if n.Group {
			groups[n.Name] = true
			continue
		}
		commands[n.Name] = n.Requires
		names = append(names, n.Name)
	}
	for _, name := range names {
		for i := range len(name) {
			if name[i] == '.' {
				groups[name[:i]] = true
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	var errs []error
	for _, name := range names {
		if groups[name] {
			errs = append(errs, fmt.Errorf("%q: %w", name, ErrTree))
		}
	}
	for _, name := range names {
		for _, need := range commands[name] {
			if _, ok := commands[need]; !ok {
				errs = append(errs, fmt.Errorf("%q: %w: %q", name, ErrRequires, need))
			}
		}
	}
	for _, circle := range circles(names, commands) {
		errs = append(errs, fmt.Errorf("%q: %w: %s", circle[0], ErrCycle, strings.Join(append(circle, circle[0]), " -> ")))
	}
	if n := len(errs) - maxTreeErrors; n > 0 {
		errs = append(errs[:maxTreeErrors], fmt.Errorf("and %d more", n))
	}
	return errors.Join(errs...)
}

// circles returns one circle for each edge that leads back on a walk of the
// names in order, each beginning with its least name and each once.
func circles(names []string, requires map[string][]string) [][]string {
	const (
		unseen = iota
		open
		done
	)
	state := make(map[string]int, len(names))
	var way []string
	var out [][]string
	found := map[string]bool{}
	var walk func(name string)
	walk = func(name string) {
		state[name] = open
		way = append(way, name)
		for _, need := range requires[name] {
			switch state[need] {
			case unseen:
				if _, ok := requires[need]; ok {
					walk(need)
				}
			case open:
				circle := slices.Clone(way[slices.Index(way, need):])
				least := slices.Index(circle, slices.Min(circle))
				circle = append(circle[least:], circle[:least]...)
				if key := strings.Join(circle, " "); !found[key] {
					found[key] = true
					out = append(out, circle)
				}
			}
		}
		way = way[:len(way)-1]
		state[name] = done
	}
	for _, name := range names {
		if state[name] == unseen {
			walk(name)
		}
	}
	return out
}
