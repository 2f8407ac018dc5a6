package params

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/plan"
)

// call compiles a template and expands it for a command line.
func call(list []plan.Param, argv, args []string) ([]string, error) {
	front, words, err := Compile(list, argv, "/sbx/bundle")
	if err != nil {
		return nil, err
	}
	values, err := Parse(list, args)
	if err != nil {
		return nil, err
	}
	out, err := Expand(words, list, values, "/home/u/my dir")
	return append(front, out...), err
}

// all names every parameter of dump once, so that Compile accepts it.
var all = []string{"{{db}}", "{{level}}", "{{ratio}}", "{{fast?--fast}}", "{{wait}}", "{{size}}", "{{format}}", "{{table}}"}

func TestExpand(t *testing.T) {
	for _, tt := range []struct {
		name string
		argv []string
		args []string
		want []string
		err  string
	}{
		{"absent ones vanish, a default stays", all, []string{"main"}, []string{"main", "8M"}, ""},
		{"a list becomes its items", []string{"{{table}}"}, []string{"main", "a", "b c", ""}, []string{"a", "b c", ""}, ""},
		{"true", []string{"{{fast?-f}}"}, []string{"main", "--fast"}, []string{"-f"}, ""},
		{"false", []string{"{{fast?-f}}"}, []string{"main", "--no-fast"}, nil, ""},
		{"in the middle", []string{"a{{db}}b={{size}}{{db}}"}, []string{"main"}, []string{"amainb=8Mmain"}, ""},
		{"in the middle and absent", []string{"x", "--level={{level}}", "y"}, []string{"main"}, []string{"x", "y"}, ""},
		{"places", []string{"{{bundle}}/etc", "--dir={{cwd}}", "{{cwd}}"}, []string{"main"}, []string{"/sbx/bundle/etc", "--dir=/home/u/my dir", "/home/u/my dir"}, ""},
		{"text of the manifest may be anything", []string{"", "-", "}}", "{", "$(id)", "a b"}, []string{"main"}, []string{"", "-", "}}", "{", "$(id)", "a b"}, ""},
		{"a value is no template", []string{"{{table}}", "t={{level}}"}, []string{"main", "{{db}}", "{{cwd}}"}, []string{"{{db}}", "{{cwd}}"}, ""},
		{"an enum may be an option", []string{"{{format}}"}, []string{"main", "--format=-c"}, []string{"-c"}, ""},
		{"a dash behind text", []string{"--level={{level}}"}, []string{"main", "--level", "-3"}, []string{"--level=-3"}, ""},
		{"a dash alone", []string{"{{level}}"}, []string{"main", "--level", "-3"}, nil, "take it for an option"},
		{"a dash in a list", []string{"{{table}}"}, []string{"main", "a", "--", "--x"}, nil, "take it for an option"},
		{"a dash in front of text", []string{"{{level}}:{{db}}"}, []string{"main", "--level=-3"}, nil, "take it for an option"},
		{"a minus alone", []string{"{{table}}"}, []string{"main", "-"}, nil, "take it for an option"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := dump
			if len(tt.argv) != len(all) {
				list = shown(dump, strings.Join(tt.argv, ""))
			}
			got, err := call(list, tt.argv, tt.args)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %q, %v; want %q", got, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// shown makes paths of the parameters that a template does not name, which
// need not be in an argument. db keeps its place.
func shown(list []plan.Param, template string) []plan.Param {
	out := append([]plan.Param(nil), list...)
	for i := range out {
		if !strings.Contains(template, "{{"+out[i].Name) {
			out[i].Type, out[i].HasDefault, out[i].Chars = plan.ParamPath, false, ""
		}
	}
	return out
}

func TestExpandAllowsADashThatIsNamed(t *testing.T) {
	list := []plan.Param{
		{Name: "a", Type: plan.ParamString, Chars: "-x", Set: set("-x"), Max: 9},
		{Name: "b", Type: plan.ParamString, Max: 9, Default: "-", HasDefault: true},
		{Name: "c", Type: plan.ParamString, Max: 9},
	}
	argv := []string{"{{a}}", "{{b}}", "{{c}}{{a}}"}
	for _, tt := range []struct{ args, want string }{
		{"--a=-x", "-x -"}, {"--a=-x --c=", "-x - -x"}, {"--b=-", ""}, {"--a=x --c=-", ""},
	} {
		got, err := call(list, argv, strings.Fields(tt.args))
		if tt.want == "" && err == nil || tt.want != "" && (err != nil || strings.Join(got, " ") != tt.want) {
			t.Errorf("%s: got %q, %v; want %q", tt.args, got, err, tt.want)
		}
	}
}

func TestExpandIsBounded(t *testing.T) {
	list := []plan.Param{{Name: "a", Type: plan.ParamString, List: true, Position: 1, Max: maxArg}}
	many := make([]string, 20)
	for i := range many {
		many[i] = "{{a}}"
	}
	if _, err := call(list, many, strings.Fields(strings.Repeat("x ", 5000))); err == nil {
		t.Error("100,000 arguments are made of 5,000")
	}
	if _, err := call(list, many, []string{strings.Repeat("x", maxArg)}); err == nil {
		t.Error("more bytes are made than the kernel takes")
	}
	one := []plan.Param{{Name: "a", Type: plan.ParamString, Max: maxArg}}
	if _, err := call(one, []string{"{{a}}{{a}}"}, []string{"--a", strings.Repeat("x", maxArg)}); err == nil {
		t.Error("an argument is longer than the kernel takes")
	}
	if got, err := call(list, many[:1], strings.Fields(strings.Repeat("x ", 5000))); err != nil || len(got) != 5000 {
		t.Errorf("5,000 arguments: %d, %v", len(got), err)
	}
}

// TestExpandOfAnotherPlan: a plan that Compile does not make is an error.
func TestExpandOfAnotherPlan(t *testing.T) {
	list := []plan.Param{{Name: "a", Type: plan.ParamString, List: true}}
	values := []Value{{Items: []string{"x", "y"}}}
	for _, w := range []plan.Word{
		{{Kind: plan.PartParam, Param: 1}}, {{Kind: plan.PartFlag, Param: 1 << 31}}, {{}}, {{Kind: 9}},
		{{Kind: plan.PartText, Text: "a"}, {Kind: plan.PartParam}},
	} {
		if got, err := Expand([]plan.Word{w}, list, values, "/"); err == nil {
			t.Errorf("%v: %q", w, got)
		}
	}
	if _, err := Expand([]plan.Word{{{Kind: plan.PartCwd}}}, nil, nil, ""); err == nil {
		t.Error("a directory without a path is accepted")
	}
}

func TestCompile(t *testing.T) {
	text := func(s string) plan.Part { return plan.Part{Kind: plan.PartText, Text: s} }
	front, words, err := Compile(dump, append([]string{"-v", "", "{{bundle}}x{{bundle}}"}, append(all, "", "end", "a{{db}}b{{cwd}}")...), "/b")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"-v", "", "/bx/b"}, front); d != "" {
		t.Error(d)
	}
	par := func(i uint32) plan.Word { return plan.Word{{Kind: plan.PartParam, Param: i}} }
	if d := cmp.Diff([]plan.Word{
		par(0), par(1), par(2), {{Kind: plan.PartFlag, Text: "--fast", Param: 3}}, par(4), par(5), par(6), par(7),
		nil, {text("end")}, {text("a"), par(0)[0], text("b"), {Kind: plan.PartCwd}},
	}, words); d != "" {
		t.Error(d)
	}
}

func TestCompileRefuses(t *testing.T) {
	str := func(name string) plan.Param { return plan.Param{Name: name, Type: plan.ParamString, Max: 9} }
	yes := func(name string) plan.Param { return plan.Param{Name: name, Type: plan.ParamBool, Max: 9} }
	list := str("l")
	list.List = true
	bad := plan.Param{Name: "n", Type: plan.ParamInt, Max: 9, Default: "x", HasDefault: true}
	for _, tt := range []struct {
		name string
		list []plan.Param
		argv []string
		want string
	}{
		{"no end", nil, []string{"{{a"}, "no end"},
		{"unknown", []plan.Param{str("a")}, []string{"{{b}}"}, `"b" is not a parameter`},
		{"blanks are no part of a name", []plan.Param{str("a")}, []string{"{{ a }}"}, "is not a parameter"},
		{"empty", nil, []string{"{{}}"}, "is not a parameter"},
		{"a list with text", []plan.Param{list}, []string{"x={{l}}"}, "whole argument"},
		{"a list twice in one", []plan.Param{list}, []string{"{{l}}{{l}}"}, "whole argument"},
		{"a condition with text", []plan.Param{yes("b")}, []string{"x{{b?--b}}"}, "whole argument"},
		{"a condition on text", []plan.Param{str("a")}, []string{"{{a?--a}}"}, "only a bool"},
		{"a condition without text", []plan.Param{yes("b")}, []string{"{{b?}}"}, "needs a text"},
		{"a bool as text", []plan.Param{yes("b")}, []string{"{{b}}"}, "no text of its own"},
		{"unused", []plan.Param{str("a")}, nil, `"a" is in no argument`},
		{"two flags of one name", []plan.Param{yes("b"), str("no-b")}, []string{"{{b?-b}}", "{{no-b}}"}, "flag of two"},
		{"default", []plan.Param{bad}, []string{"{{n}}"}, "default of --n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Compile(tt.list, tt.argv, "/b")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, _, err := Compile(nil, []string{"{{bundle}}/x"}, ""); err == nil {
		t.Error("a one-file bundle has a directory")
	}
}
