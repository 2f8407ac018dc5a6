package registry

import (
	"fmt"
	"sort"
	"strings"
)

// UnknownError says that words do not lead to a command. It matches
// ErrNotFound or, when the words ended at a group, ErrGroup.
type UnknownError struct {
	// Group is the group that was reached; empty at the top.
	Group string
	// Word is what the group does not have; empty when the words ended.
	Word string
	// Children are the names below the group, one segment each, sorted.
	Children []string
}

// Error says what was not found where.
func (e *UnknownError) Error() string {
	switch {
	case e.Word == "" && e.Group == "":
		return "a command's name is missing"
	case e.Word == "":
		return fmt.Sprintf("%q is %s", e.Group, ErrGroup)
	case e.Group == "":
		return fmt.Sprintf("%s: %q", ErrNotFound, e.Word)
	}
	return fmt.Sprintf("%s: %q in group %q", ErrNotFound, e.Word, e.Group)
}

// Unwrap returns ErrNotFound or ErrGroup.
func (e *UnknownError) Unwrap() error {
	if e.Word == "" && e.Group != "" {
		return ErrGroup
	}
	return ErrNotFound
}

// Find turns words into the name of a command and the words after it. Words
// are taken while the node is a group; a word may hold several segments
// joined by dots. The error is an *UnknownError, or what the source says.
func Find(src Source, words []string) (name string, rest []string, err error) {
	for i, word := range words {
		segments := strings.Split(word, ".")
		for j, segment := range segments {
			next := segment
			if name != "" {
				next = name + "." + segment
			}
			kind, err := src.Node(next)
			if err != nil {
				return "", nil, err
			}
			switch {
			case kind == Command && j == len(segments)-1:
				return next, words[i+1:], nil
			case kind == Group:
				name = next
			default:
				return "", nil, unknown(src, name, strings.Join(segments[j:], "."))
			}
		}
	}
	return "", nil, unknown(src, name, "")
}

func unknown(src Source, group, word string) error {
	e := &UnknownError{Group: group, Word: word}
	entries, err := src.Names()
	if err != nil {
		return err
	}
	prefix := group
	if group != "" {
		prefix += "."
	}
	for _, entry := range entries {
		child, ok := strings.CutPrefix(entry.Name, prefix)
		if ok && child != "" && !strings.Contains(child, ".") {
			e.Children = append(e.Children, child)
		}
	}
	sort.Strings(e.Children)
	return e
}
