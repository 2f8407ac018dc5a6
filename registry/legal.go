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

// TreeError is one thing that speaks against a tree. It matches ErrTree,
// ErrRequires or ErrCycle.
type TreeError struct {
	// Name is the command that it is told of.
	Name string
	// Others are a command below it (ErrTree), the command that it requires
	// (ErrRequires), or the rest of the circle in its order (ErrCycle).
	Others []string
	// Err is the sentinel.
	Err error
}

// Error names the command, and what else has a part in it.
func (e *TreeError) Error() string {
	text := fmt.Sprintf("%q: %s", e.Name, e.Err)
	switch e.Err {
	case ErrRequires:
		return text + fmt.Sprintf(": %q", e.Others[0])
	case ErrCycle:
		return text + ": " + e.Name + " -> " + strings.Join(append(slices.Clone(e.Others), e.Name), " -> ")
	}
	return text
}

// Unwrap returns the sentinel.
func (e *TreeError) Unwrap() error { return e.Err }

// maxTreeErrors bounds what one error lists: people mend one after the other.
const maxTreeErrors = 20

// CheckTree tells whether the commands of a registry can be in force together.
// The error is everything that speaks against it, sorted, at most 20 lines; it
// matches ErrTree, ErrRequires and ErrCycle as it applies. Nodes may come in
// any order.
func CheckTree(nodes []Node) error { return JoinTree(TreeErrors(nodes)) }

// JoinTree makes one error of several, nil of none.
func JoinTree(list []*TreeError) error {
	var errs []error
	for i, e := range list {
		if i == maxTreeErrors {
			errs = append(errs, fmt.Errorf("and %d more", len(list)-i))
			break
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// TreeErrors is CheckTree without a bound and one by one.
func TreeErrors(nodes []Node) []*TreeError {
	commands := make(map[string][]string, len(nodes))
	groups := map[string]string{} // with a command below
	names := make([]string, 0, len(nodes))
	for _, n := range nodes {
		if n.Group {
			if _, ok := groups[n.Name]; !ok {
				groups[n.Name] = ""
			}
			continue
		}
		commands[n.Name] = n.Requires
		names = append(names, n.Name)
	}
	for _, name := range names {
		for i := range len(name) {
			if name[i] == '.' {
				groups[name[:i]] = name
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	var errs []*TreeError
	for _, name := range names {
		if below, ok := groups[name]; ok {
			errs = append(errs, &TreeError{Name: name, Others: []string{below}, Err: ErrTree})
		}
	}
	for _, name := range names {
		for _, need := range commands[name] {
			if _, ok := commands[need]; !ok {
				errs = append(errs, &TreeError{Name: name, Others: []string{need}, Err: ErrRequires})
			}
		}
	}
	for _, circle := range circles(names, commands) {
		errs = append(errs, &TreeError{Name: circle[0], Others: circle[1:], Err: ErrCycle})
	}
	return errs
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
