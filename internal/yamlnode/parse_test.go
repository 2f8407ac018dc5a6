package yamlnode

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/policy"
)

// dump writes a tree in one line: quoted values in quotes, each with its
// position.
func dump(n *policy.Node) string {
	switch n.Kind {
	case policy.Scalar:
		if n.Quoted {
			return fmt.Sprintf("%q@%s", n.Value, n.Pos)
		}
		return fmt.Sprintf("%s@%s", n.Value, n.Pos)
	case policy.Sequence:
		items := make([]string, len(n.Items))
		for i, item := range n.Items {
			items[i] = dump(item)
		}
		return fmt.Sprintf("[%s]@%s", strings.Join(items, " "), n.Pos)
	}
	pairs := make([]string, len(n.Pairs))
	for i, p := range n.Pairs {
		pairs[i] = dump(p.Key) + "=" + dump(p.Value)
	}
	return fmt.Sprintf("{%s}@%s", strings.Join(pairs, " "), n.Pos)
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"numbers keep their spelling", "a: 0x5401\nb: 010\nc: 1_000\nd: 1.0\ne: .inf\n",
			"{a@1:1=0x5401@1:4 b@2:1=010@2:4 c@3:1=1_000@3:4 d@4:1=1.0@4:4 e@5:1=.inf@5:4}@1:1"},
		{"words keep their spelling", "a: yes\nb: True\nc: ~\nd: 12:30\n",
			"{a@1:1=yes@1:4 b@2:1=True@2:4 c@3:1=~@3:4 d@4:1=12:30@4:4}@1:1"},
		{"quotes", "a: 'x''y'\n\"b\": \"\\x41\\u00e9\\n\"\nc: \"\"\n",
			"{a@1:1=\"x'y\"@1:4 \"b\"@2:1=\"Aé\\n\"@2:6 c@3:1=\"\"@3:4}@1:1"},
		{"flow", "a: [x, -/etc/y, {p: \"{{cwd}}\", q: r}]\n",
			`{a@1:1=[x@1:5 -/etc/y@1:8 {p@1:18="{{cwd}}"@1:21 q@1:32=r@1:35}@1:17]@1:4}@1:1`},
		{"block", "a:\n  - x # comment\n  - b: c\n    d: e\n-f: g\n",
			"{a@1:1=[x@2:5 {b@3:5=c@3:8 d@4:5=e@4:8}@3:5]@2:3 -f@5:1=g@5:5}@1:1"},
		{"flow over lines", "a: {\n  x: 1,\n  y: 2\n}\n", "{a@1:1={x@2:3=1@2:6 y@3:3=2@3:6}@1:4}@1:1"},
		{"no value", "a:\nb: 1\n", "{a@1:1=@1:3 b@2:1=1@2:4}@1:1"},
		{"text blocks", "a: |\n  x\n  y\nb: >-\n  x\n  y\n", `{a@1:1="x\ny\n"@1:4 b@4:1="x y"@4:4}@1:1`},
		{"header", "---\na: 1\n", "{a@2:1=1@2:4}@2:1"},
		{"columns are characters", "é: ü\nb: [ä, x]\n", "{é@1:1=ü@1:4 b@2:1=[ä@2:5 x@2:8]@2:4}@1:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := Parse("f", []byte(tt.in))
			if err != nil {
				t.Fatal(Format(err, "f", []byte(tt.in)))
			}
			if diff := cmp.Diff(tt.want, dump(n)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in, want, hint string }{
		{"empty", "", "f: empty document", "write {} to say nothing"},
		{"only a comment", "# x\n", "f: empty document", "write {} to say nothing"},
		{"bytes", "a: \xff\n", "f:1:4: byte 0xff is not UTF-8", "write UTF-8"},
		{"carriage return", "a: 1\r\n", "f:1:5: carriage return", "end lines with a newline alone"},
		{"byte order mark", "\ufeffa: 1\n", "f:1:1: control character U+FEFF", ""},
		{"escape", "a: \x1b[31m\n", "f:1:4: control character U+001B", ""},
		{"tab", "a:\n\t- b\n", "f:2:1: tab in the indentation", "indent with spaces"},
		{"tab after spaces", "a:\n  \tb: c\n", "f:2:3: tab in the indentation", "indent with spaces"},
		{"anchor", "a: &x 1\n", "f:1:4: anchors are not supported", "write the value out"},
		{"alias", "a: [*.org]\n", "f:1:5: a value that begins with * is an alias, which is not supported", `quote it: "*.org"`},
		{"at", "a: [x, @y]\n", `f:1:8: a value cannot begin with "@"`, `quote it: "@y"`},
		{"backquote", "a: `x`\n", "f:1:4: a value cannot begin with \"`\"", "quote it: \"`x`\""},
		{"tag", "a: !!python x\n", "f:1:4: tags are not supported", "quote the value if it begins with !"},
		{"merge", "<<: {a: 1}\n", "f:1:1: merge keys are not supported", "write the keys out"},
		{"directive", "%YAML 1.1\n---\na: 1\n", "f:1:1: directives are not supported", "quote the value if it begins with %"},
		{"two documents", "a: 1\n---\nb: 2\n", "f:2:1: several documents", "one file holds one document"},
		{"end marker", "a: 1\n...\n", "f:2:1: document end marker", "take the ... out"},
		{"complex key", "? a\n: b\n", "f:1:1: complex keys are not supported", "quote the value if it begins with ?"},
		{"key twice", "a: 1\nb: 2\na: 3\n", `f:3:1: key "a" is here twice, first at 1:1`, "keep one of them"},
		{"key twice in flow", "a: {x: 1, x: 2}\n", `f:1:11: key "x" is here twice, first at 1:5`, "keep one of them"},
		{"key twice by quotes", "a: 1\n\"a\": 2\n", `f:2:1: key "a" is here twice, first at 1:1`, "keep one of them"},
		{"template", "a: {{cwd}}\n", "f:1:4: a template without quotes", `quote it: "{{cwd}}"`},
		{"next line", "a: x\n y\n", "f:1:4: a value without quotes goes on in the next line", "quote the value"},
		{"comma missing", "a: {x: 1 y: 2}\n", `f:1:8: ": " without quotes`, "quote the value, or put a comma before the key"},
		{"brace", "a: }\n", `f:1:4: a value cannot begin with "}"`, "quote the value"},
		{"two colons", "a: b: c\n", "f:1:4: mapping value is not allowed in this context", ""},
		{"unclosed list", "a: [1, 2\n", "f:1:4: sequence end token ']' not found", ""},
		{"unclosed quote", "a: \"x\n", "f:1:4: could not find end character of double-quoted text", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f", []byte(tt.in))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v, want %s", err, tt.want)
			}
			if e.Error() != tt.want || e.Hint() != tt.hint {
				t.Errorf("error %q, hint %q; want %q, %q", e, e.Hint(), tt.want, tt.hint)
			}
		})
	}
}

// TestParseBounds: what is made to be slow or deep is refused, soon.
func TestParseBounds(t *testing.T) {
	var keys, indented strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&keys, "k%d: v\n", i)
	}
	for i := range 300 {
		indented.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	for _, tt := range []struct{ name, in, want string }{
		{"large", strings.Repeat("#", MaxSize+1), "1048577 bytes are more than the bound of 1048576"},
		{"flow lists", "a: " + strings.Repeat("[", 10_000), "nested deeper than 32 levels"},
		{"flow mappings", strings.Repeat("{a: ", 5_000), "nested deeper than 32 levels"},
		{"block lists", strings.Repeat("- ", 100_000), "more than 20000 tokens"},
		{"few block lists", strings.Repeat("- ", 5_000), "nested deeper than 32 levels"},
		{"mappings in one line", strings.Repeat("a: ", 5_000), "nested deeper than 32 levels"},
		{"indentation", indented.String(), "nested deeper than 32 levels"},
		{"keys", keys.String(), "more than 20000 tokens"},
		{"items", "a: [" + strings.Repeat("x, ", 50_000) + "x]\n", "more than 20000 tokens"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			_, err := Parse("f", []byte(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
			if took := time.Since(start); took > parseDeadline {
				t.Errorf("took %v", took)
			}
		})
	}
	deepest := strings.Repeat("[", MaxDepth-1)
	if _, err := Parse("f", []byte("a: "+deepest+strings.Repeat("]", MaxDepth-1)+"\n")); err != nil {
		t.Errorf("%d levels: %v", MaxDepth, err)
	}
}

func TestExcerpt(t *testing.T) {
	long := "a: [" + strings.Repeat("word, ", 50) + "@x]\n"
	_, err := Parse("f", []byte(long))
	var e *Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	line, caret, ok := strings.Cut(e.Excerpt(), "\n")
	if !ok || len(line) > excerptWidth || len(caret) > excerptWidth || line[len(caret)-1] != '@' {
		t.Errorf("excerpt\n%s", e.Excerpt())
	}
}

// TestLocate: a decoder's error gets file, excerpt and hint, and stays itself.
func TestLocate(t *testing.T) {
	src := []byte("a: 1\nfilesytem: {}\n")
	cause := &policy.Error{Pos: policy.Pos{Line: 2, Col: 1}, Msg: "unknown", Hint: "known", Err: policy.ErrNotBuilt}
	err := Locate("f", src, fmt.Errorf("wrapped: %w", cause))
	if want := "f:2:1: unknown\nfilesytem: {}\n^\nhint: known"; Format(err, "f", src) != want {
		t.Errorf("format %q, want %q", Format(err, "f", src), want)
	}
	if !errors.Is(err, policy.ErrNotBuilt) {
		t.Error("not ErrNotBuilt any more")
	}
	if Locate("g", nil, err) != err {
		t.Error("located twice")
	}
	other := errors.New("other")
	if Locate("f", src, other) != other || Locate("f", src, nil) != nil {
		t.Error("another error was changed")
	}
}
