package policy

import (
	"fmt"
	"sort"
	"strings"
)

// Kind is the kind of a Node; the zero value is invalid.
type Kind uint8

// The kinds of nodes.
const (
	Scalar Kind = iota + 1
	Mapping
	Sequence
)

// String names the kind for messages.
func (k Kind) String() string {
	switch k {
	case Scalar:
		return "a single value"
	case Mapping:
		return "a mapping"
	case Sequence:
		return "a list"
	}
	return "nothing"
}

// Node is one value of a parsed document, whatever its syntax was. Whoever
// makes a Node has bounded its depth and size.
type Node struct {
	Kind Kind
	// Value is the text of a Scalar, unquoted and unescaped. An unquoted
	// number or word keeps its spelling.
	Value string
	// Quoted is set for a Scalar in quotes or in block style: it is text,
	// never null, a number or a truth value.
	Quoted bool
	Pos    Pos
	// Pairs are the entries of a Mapping in the order of the source.
	Pairs []Pair
	// Items are the entries of a Sequence.
	Items []*Node
}

// Pair is one entry of a mapping. Key is a Scalar.
type Pair struct {
	Key, Value *Node
}

// Keys maps each known key of a mapping to what decodes its value.
type Keys map[string]func(*Node) error

// Errorf makes an Error at the node.
func (n *Node) Errorf(hint, format string, args ...any) error {
	return &Error{Pos: n.Pos, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

// IsNull reports whether the node is a key without a value, or null.
func (n *Node) IsNull() bool {
	if n.Kind != Scalar || n.Quoted {
		return false
	}
	switch n.Value {
	case "", "~", "null", "Null", "NULL":
		return true
	}
	return false
}

// Decode walks a mapping. What names it in messages. A key that is not in
// keys, or is there twice, is an *Error; so is a value that is missing.
func (n *Node) Decode(what string, keys Keys) error {
	return n.Each(what, func(key, value *Node) error {
		decode, ok := keys[key.Value]
		if !ok {
			return unknownKey(key, what, keys)
		}
		return decode(value)
	})
}

// Each calls f for each pair of a mapping, after it has checked that keys
// are texts, different, and have a value.
func (n *Node) Each(what string, f func(key, value *Node) error) error {
	if err := n.want(what, Mapping); err != nil {
		return err
	}
	seen := make(map[string]Pos, len(n.Pairs))
	for _, pair := range n.Pairs {
		if pair.Key.Kind != Scalar || pair.Key.IsNull() || pair.Key.Value == "" {
			return pair.Key.Errorf("", "%s: a key must be a text", what)
		}
		if at, ok := seen[pair.Key.Value]; ok {
			return duplicateKey(pair.Key, what, at)
		}
		seen[pair.Key.Value] = pair.Key.Pos
		if pair.Value.IsNull() {
			return pair.Key.Errorf("write [] or {} for nothing, or take the key out",
				"%s: key %q has no value", what, pair.Key.Value)
		}
		if err := f(pair.Key, pair.Value); err != nil {
			return err
		}
	}
	return nil
}

func duplicateKey(key *Node, what string, first Pos) error {
	return key.Errorf("keep one of them",
		"%s: key %q is here twice, first at %s", what, key.Value, first)
}

func unknownKey(key *Node, what string, keys Keys) error {
	known := make([]string, 0, len(keys))
	for k := range keys {
		known = append(known, k)
	}
	sort.Strings(known)
	return key.Errorf(OneOf(key.Value, known), "%s: unknown key %q", what, key.Value)
}

// List calls f for each item of a sequence.
func (n *Node) List(what string, f func(*Node) error) error {
	if err := n.want(what, Sequence); err != nil {
		return err
	}
	for _, item := range n.Items {
		if item.IsNull() {
			return item.Errorf("", "%s: empty item", what)
		}
		if err := f(item); err != nil {
			return err
		}
	}
	return nil
}

// Text returns a scalar that is not empty.
func (n *Node) Text(what string) (string, error) {
	if err := n.want(what, Scalar); err != nil {
		return "", err
	}
	if n.IsNull() || n.Value == "" {
		return "", n.Errorf("", "%s: empty value", what)
	}
	if strings.IndexByte(n.Value, 0) >= 0 {
		return "", n.Errorf("", "%s: NUL byte in value", what)
	}
	return n.Value, nil
}

// Bool returns an unquoted true or false.
func (n *Node) Bool(what string) (bool, error) {
	if err := n.want(what, Scalar); err != nil {
		return false, err
	}
	if !n.Quoted {
		switch n.Value {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	}
	return false, n.Errorf("write true or false, without quotes",
		"%s: %q is not a truth value", what, n.Value)
}

// Choice returns a text that is one of names.
func (n *Node) Choice(what string, names ...string) (string, error) {
	s, err := n.Text(what)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if s == name {
			return s, nil
		}
	}
	return "", n.Errorf(OneOf(s, names), "%s: unknown value %q", what, s)
}

// Texts returns a list of different texts, never nil.
func (n *Node) Texts(what string) ([]string, error) {
	out := []string{}
	seen := map[string]Pos{}
	err := n.List(what, func(item *Node) error {
		s, err := item.Text(what)
		if err != nil {
			return err
		}
		if err := item.once(what, s, seen); err != nil {
			return err
		}
		out = append(out, s)
		return nil
	})
	return out, err
}

// once refuses a second item with the same text.
func (n *Node) once(what, s string, seen map[string]Pos) error {
	if at, ok := seen[s]; ok {
		return n.Errorf("keep one of them", "%s: %q is listed twice, first at %s", what, s, at)
	}
	seen[s] = n.Pos
	return nil
}

func (n *Node) want(what string, kind Kind) error {
	if n.Kind == kind {
		return nil
	}
	if n.IsNull() {
		return n.Errorf("", "%s is empty", what)
	}
	hint := ""
	if kind == Sequence && n.Kind == Scalar {
		hint = "write [" + n.Value + "]"
		if Plain(n.Value) != n.Value {
			hint = "write [" + Plain(n.Value) + "]"
		}
	}
	return n.Errorf(hint, "%s: want %s, got %s", what, kind, n.Kind)
}
