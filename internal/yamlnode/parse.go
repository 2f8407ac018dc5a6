// Package yamlnode reads the YAML of bundles and policies into
// [policy.Node], with positions, and presents errors with the line they are
// about. Use [Parse], and [Locate] or [Format] for the errors of whoever
// decodes the node.
//
// It reads a small YAML: one document of mappings, lists and texts, with
// bounded size and depth. Anchors, aliases, tags, merge keys, directives,
// complex keys and several documents are refused by name. It does not look at
// what the document means.
package yamlnode

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/sbx-project/sbx/policy"
)

// MaxSize bounds a document in bytes. It is looked at before anything else.
const MaxSize = 1 << 20

// MaxDepth bounds the nesting of mappings and lists. A manifest needs 6;
// the bound keeps the parser's recursion far from the end of the stack.
const MaxDepth = 32

// maxTokens bounds the work of the parser, which grows with the square of the
// keys of one mapping: 10 s for 50,000 keys, 0.2 s for what this lets through
// (measured). The largest manifest of the tests has 2,000 tokens.
const maxTokens = 20_000

// Parse reads one document. The error is an *Error with position, excerpt
// and hint; its File is file.
//
// Trust boundary. The author of a bundle controls src. No privilege is used
// here, but the loader holds root's. Nothing has been checked but that src
// was read from a file within its bound, which is checked again. Whatever is
// not understood is refused, a panic of the parser included.
func Parse(file string, src []byte) (node *policy.Node, err error) {
	p := &reader{file: file, src: src}
	defer func() {
		if r := recover(); r != nil {
			node, err = nil, p.errorf(policy.Pos{}, "", "not YAML that can be read")
		}
	}()
	if err := p.bounds(); err != nil {
		return nil, err
	}
	tokens := lexer.Tokenize(string(src))
	if err := p.tokens(tokens); err != nil {
		return nil, err
	}
	tree, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, p.syntax(err)
	}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		return nil, p.errorf(policy.Pos{}, "write {} to say nothing", "empty document")
	}
	if len(tree.Docs) > 1 {
		return nil, p.errorf(policy.Pos{}, "one file holds one document", "several documents")
	}
	return p.node(tree.Docs[0].Body, 0)
}

// reader carries what every error needs.
type reader struct {
	file string
	src  []byte
}

func (p *reader) errorf(pos policy.Pos, hint, format string, args ...any) error {
	return &Error{
		File: p.file, Pos: pos, Msg: fmt.Sprintf(format, args...),
		hint: hint, excerpt: excerpt(p.src, pos),
	}
}

// bounds checks size and characters.
func (p *reader) bounds() error {
	if len(p.src) > MaxSize {
		return p.errorf(policy.Pos{}, "", "%d bytes are more than the bound of %d", len(p.src), MaxSize)
	}
	pos := policy.Pos{Line: 1, Col: 1}
	for i := 0; i < len(p.src); {
		r, size := utf8.DecodeRune(p.src[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return p.errorf(pos, "write UTF-8", "byte 0x%02x is not UTF-8", p.src[i])
		case r == '\n':
			pos = policy.Pos{Line: pos.Line + 1, Col: 1}
			i++
			continue
		case r == '\t' && strings.TrimLeft(line(p.src[:i]), " \t") == "":
			return p.errorf(pos, "indent with spaces", "tab in the indentation")
		case r == '\r':
			return p.errorf(pos, "end lines with a newline alone", "carriage return")
		case r != '\t' && isControl(r):
			return p.errorf(pos, "", "control character U+%04X", r)
		}
		i += size
		pos.Col++
	}
	return nil
}

// line returns what follows the last newline of b, at most its last 200
// bytes.
func line(b []byte) string {
	b = b[max(0, len(b)-200):]
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] == '\n' {
			return string(b[i+1:])
		}
	}
	return string(b)
}

func at(t *token.Token) policy.Pos {
	if t == nil || t.Position == nil || t.Position.Line < 1 || t.Position.Column < 1 {
		return policy.Pos{}
	}
	return policy.Pos{Line: t.Position.Line, Col: t.Position.Column}
}

// tokens refuses what this YAML has not, and what would nest too deep, before
// the recursive parser sees it.
func (p *reader) tokens(tokens token.Tokens) error {
	if len(tokens) > maxTokens {
		return p.errorf(policy.Pos{}, "", "more than %d tokens", maxTokens)
	}
	flow := 0
	var columns []int // of the open block collections
	headers := 0
	content := false
	for _, t := range tokens {
		switch t.Type {
		case token.AnchorType:
			return p.errorf(at(t), "write the value out", "anchors are not supported")
		case token.AliasType:
			return p.errorf(at(t), "quote it: \""+strings.TrimSpace(wordAt(p.src, at(t)))+"\"", "a value that begins with * is an alias, which is not supported")
		case token.TagType:
			return p.errorf(at(t), "quote the value if it begins with !", "tags are not supported")
		case token.MergeKeyType:
			return p.errorf(at(t), "write the keys out", "merge keys are not supported")
		case token.DirectiveType:
			return p.errorf(at(t), "quote the value if it begins with %", "directives are not supported")
		case token.MappingKeyType:
			return p.errorf(at(t), "quote the value if it begins with ?", "complex keys are not supported")
		case token.InvalidType:
			return p.invalid(t)
		case token.DocumentHeaderType:
			if headers++; headers > 1 || content {
				return p.errorf(at(t), "one file holds one document", "several documents")
			}
			continue
		case token.DocumentEndType:
			return p.errorf(at(t), "take the ... out", "document end marker")
		case token.CommentType:
			continue
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.SequenceEntryType, token.MappingValueType:
			if flow > 0 || t.Position == nil {
				break
			}
			col := t.Position.Column
			if t.Type == token.MappingValueType && t.Prev != nil && t.Prev.Position != nil {
				col = t.Prev.Position.Column
			}
			for len(columns) > 0 && columns[len(columns)-1] >= col {
				columns = columns[:len(columns)-1]
			}
			columns = append(columns, col)
		}
		content = true
		if flow+len(columns) > MaxDepth {
			return p.errorf(at(t), "", "nested deeper than %d levels", MaxDepth)
		}
	}
	return nil
}

// invalid is the error of a token that the lexer refused.
func (p *reader) invalid(t *token.Token) error {
	pos := at(t)
	hint := ""
	word := wordAt(p.src, pos)
	if word != "" && strings.ContainsRune("@`*&!%", rune(word[0])) {
		hint = "quote it: \"" + word + "\""
		return p.errorf(pos, hint, "a value cannot begin with %q", word[:1])
	}
	msg := t.Error
	if msg == "" {
		msg = "not YAML"
	}
	return p.errorf(pos, hint, "%s", clean(msg))
}

// syntax presents an error of the parser.
func (p *reader) syntax(err error) error {
	type tokenError interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if e, ok := err.(tokenError); ok {
		pos := at(e.GetToken())
		hint := ""
		if word := wordAt(p.src, pos); word != "" && strings.ContainsRune("@`*&!%{", rune(word[0])) {
			hint = "quote it: \"" + word + "\""
		}
		if template := p.templateAt(pos); template != "" {
			pos.Col--
			return p.errorf(pos, "quote it: \""+template+"\"", "a template without quotes")
		}
		return p.errorf(pos, hint, "%s", clean(e.GetMessage()))
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return p.errorf(policy.Pos{}, "", "%s", clean(first))
}

// templateAt returns the unquoted {{template}} whose second brace is at pos,
// which YAML takes for two mappings.
func (p *reader) templateAt(pos policy.Pos) string {
	pos.Col--
	word := wordAt(p.src, pos)
	if !strings.HasPrefix(word, "{{") {
		return ""
	}
	return word + "}}"
}

// clean makes a foreign message printable and short.
func clean(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	s = strings.Map(func(r rune) rune {
		if isControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	if len(s) > 200 {
		s = s[:200]
	}
	return strings.ToValidUTF8(s, "")
}

// wordAt returns the unquoted value that begins at pos, up to what ends it.
func wordAt(src []byte, pos policy.Pos) string {
	lines := strings.SplitN(string(src), "\n", pos.Line+1)
	if pos.Line < 1 || pos.Line > len(lines) {
		return ""
	}
	runes := []rune(lines[pos.Line-1])
	if pos.Col < 1 || pos.Col > len(runes) {
		return ""
	}
	word := string(runes[pos.Col-1:])
	if i := strings.IndexAny(word, ",]} \t\""); i >= 0 {
		word = word[:i]
	}
	return word
}

// node turns a syntax tree into a policy.Node. depth counts the collections
// above it.
func (p *reader) node(n ast.Node, depth int) (*policy.Node, error) {
	if n == nil {
		return nil, p.errorf(policy.Pos{}, "", "a value is missing")
	}
	pos := at(n.GetToken())
	if depth > MaxDepth {
		return nil, p.errorf(pos, "", "nested deeper than %d levels", MaxDepth)
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return p.mapping(n.Values, collectionPos(n.IsFlowStyle, n.Values, pos), depth)
	case *ast.MappingValueNode:
		values := []*ast.MappingValueNode{n}
		return p.mapping(values, collectionPos(false, values, pos), depth)
	case *ast.SequenceNode:
		out := &policy.Node{Kind: policy.Sequence, Pos: pos}
		for _, value := range n.Values {
			item, err := p.node(value, depth+1)
			if err != nil {
				return nil, err
			}
			out.Items = append(out.Items, item)
		}
		return out, nil
	case *ast.StringNode:
		quoted := n.Token != nil && (n.Token.Type == token.SingleQuoteType || n.Token.Type == token.DoubleQuoteType)
		if !quoted {
			if err := p.plain(n, pos); err != nil {
				return nil, err
			}
		}
		return &policy.Node{Kind: policy.Scalar, Value: n.Value, Quoted: quoted, Pos: pos}, nil
	case *ast.LiteralNode:
		value := ""
		if n.Value != nil {
			value = n.Value.Value
		}
		return &policy.Node{Kind: policy.Scalar, Value: value, Quoted: true, Pos: pos}, nil
	case *ast.NullNode, *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		// As spelt: what it means is the decoder's business.
		t := n.GetToken()
		value := strings.TrimSpace(t.Origin)
		if t.Type == token.ImplicitNullType {
			value = ""
		}
		return &policy.Node{Kind: policy.Scalar, Value: value, Pos: pos}, nil
	}
	return nil, p.errorf(pos, "", "%s is not supported", strings.ToLower(n.Type().String()))
}

// plain refuses unquoted texts that the parser takes and a reader would
// take for something else.
func (p *reader) plain(n *ast.StringNode, pos policy.Pos) error {
	quote := "quote the value"
	if n.Token != nil && strings.Contains(strings.TrimSpace(n.Token.Origin), "\n") {
		return p.errorf(pos, quote, "a value without quotes goes on in the next line")
	}
	if strings.Contains(n.Value, ": ") || strings.HasSuffix(n.Value, ":") {
		return p.errorf(pos, quote+", or put a comma before the key", "%q without quotes", ": ")
	}
	if n.Value != "" && strings.ContainsRune("]},", rune(n.Value[0])) {
		return p.errorf(pos, quote, "a value cannot begin with %q", n.Value[:1])
	}
	return nil
}

// collectionPos is where a mapping begins: the brace, or the first key of
// one in block style.
func collectionPos(flow bool, values []*ast.MappingValueNode, pos policy.Pos) policy.Pos {
	if !flow && len(values) > 0 && values[0].Key != nil {
		if first := at(values[0].Key.GetToken()); first != (policy.Pos{}) {
			return first
		}
	}
	return pos
}

func (p *reader) mapping(values []*ast.MappingValueNode, pos policy.Pos, depth int) (*policy.Node, error) {
	out := &policy.Node{Kind: policy.Mapping, Pos: pos}
	seen := make(map[string]policy.Pos, len(values))
	for _, value := range values {
		key, err := p.node(value.Key, depth+1)
		if err != nil {
			return nil, err
		}
		if key.Kind != policy.Scalar {
			return nil, p.errorf(key.Pos, "", "a key must be a text")
		}
		if first, ok := seen[key.Value]; ok {
			return nil, p.errorf(key.Pos, "keep one of them", "key %q is here twice, first at %s", key.Value, first)
		}
		seen[key.Value] = key.Pos
		child, err := p.node(value.Value, depth+1)
		if err != nil {
			return nil, err
		}
		out.Pairs = append(out.Pairs, policy.Pair{Key: key, Value: child})
	}
	return out, nil
}
