package params

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/plan"
)

// set is the bit set of some bytes.
func set(chars string) (s [4]uint64) {
	for i := 0; i < len(chars); i++ {
		s[chars[i]>>6] |= 1 << (chars[i] & 63)
	}
	return s
}

const letters = "abcdefghijklmnopqrstuvwxyz"

// dump has one parameter of each kind.
var dump = []plan.Param{
	{Name: "db", Type: plan.ParamString, Chars: "a-z", Set: set(letters), Max: 5, Required: true, Position: 1},
	{Name: "level", Type: plan.ParamInt, Max: 20},
	{Name: "ratio", Type: plan.ParamFloat, Max: 20},
	{Name: "fast", Type: plan.ParamBool, Max: 5},
	{Name: "wait", Type: plan.ParamDuration, Max: 20},
	{Name: "size", Type: plan.ParamSize, Max: 20, Default: "8M", HasDefault: true},
	{Name: "format", Type: plan.ParamEnum, Values: []string{"plain", "-c"}, Max: 20},
	{Name: "table", Type: plan.ParamString, List: true, Max: 20, Position: 2},
	{Name: "out", Type: plan.ParamPath, Access: plan.AccessRead, Max: 4095},
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		// want holds the given values by name; the default is not among them.
		want map[string][]string
		err  string
	}{
		{"named, apart", []string{"--db", "main"}, map[string][]string{"db": {"main"}}, ""},
		{"named, together", []string{"--db=main"}, map[string][]string{"db": {"main"}}, ""},
		{"bare", []string{"main"}, map[string][]string{"db": {"main"}}, ""},
		{"bare and a list", []string{"main", "a", "b"}, map[string][]string{"db": {"main"}, "table": {"a", "b"}}, ""},
		{"a name before takes its position", []string{"--db", "main", "a"}, map[string][]string{"db": {"main"}, "table": {"a"}}, ""},
		{"a name behind takes its position", []string{"a", "--db", "main"}, map[string][]string{"db": {"main"}, "table": {"a"}}, ""},
		{"a list by name and bare", []string{"main", "x", "--table", "a", "--table=b"}, map[string][]string{"db": {"main"}, "table": {"a", "b", "x"}}, ""},
		{"bool", []string{"main", "--fast"}, map[string][]string{"db": {"main"}, "fast": {"true"}}, ""},
		{"bool takes no next word", []string{"--fast", "main"}, map[string][]string{"db": {"main"}, "fast": {"true"}}, ""},
		{"bool no", []string{"main", "--no-fast"}, map[string][]string{"db": {"main"}, "fast": {"false"}}, ""},
		{"bool with a value", []string{"main", "--fast=false"}, map[string][]string{"db": {"main"}, "fast": {"false"}}, ""},
		{"flags end", []string{"--", "main", "--fast", "--", "--help"}, map[string][]string{"db": {"main"}, "table": {"--fast", "--", "--help"}}, ""},
		{"a value may look like a flag", []string{"main", "--table", "--fast"}, map[string][]string{"db": {"main"}, "table": {"--fast"}}, ""},
		{"a value may be empty", []string{"main", "--table="}, map[string][]string{"db": {"main"}, "table": {""}}, ""},
		{"a value may have a sign of equality", []string{"main", "--table=a=b"}, map[string][]string{"db": {"main"}, "table": {"a=b"}}, ""},
		{"one minus is a value", []string{"main", "-"}, map[string][]string{"db": {"main"}, "table": {"-"}}, ""},
		{"the others", []string{"main", "--level=-3", "--ratio", "1e-3", "--wait=1m30s", "--size=0", "--format", "-c", "--out", "a b"},
			map[string][]string{"db": {"main"}, "level": {"-3"}, "ratio": {"1e-3"}, "wait": {"1m30s"}, "size": {"0"}, "format": {"-c"}, "out": {"a b"}}, ""},

		{"missing", nil, nil, "--db is missing"},
		{"unknown", []string{"main", "--nope"}, nil, `unknown flag "--nope"`},
		{"short", []string{"main", "-f"}, nil, `unknown flag "-f"`},
		{"no of what is no bool", []string{"--no-db"}, nil, `unknown flag "--no-db"`},
		{"no with a value", []string{"main", "--no-fast=true"}, nil, "takes no value"},
		{"no value", []string{"--db"}, nil, "--db needs a value"},
		{"twice", []string{"--db", "a", "--db", "b"}, nil, "--db is given twice"},
		{"bool twice", []string{"main", "--fast", "--no-fast"}, nil, "--fast is given twice"},
		{"set", []string{"Main"}, nil, "not one of a-z"},
		{"length", []string{"mainly"}, nil, "longer than 5 bytes"},
		{"NUL", []string{"main", "a\x00b"}, nil, "NUL"},
		{"help", []string{"--help"}, nil, ErrHelp.Error()},
		{"help before what is wrong", []string{"--help", "--nope"}, nil, ErrHelp.Error()},
		{"help is no value", []string{"main", "--help=x"}, nil, `unknown flag "--help"`},
		{"too many", make([]string, MaxArgs+1), nil, "more than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			values, err := Parse(dump, tt.args)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]string{}
			for i, v := range values {
				if v.Given {
					got[dump[i].Name] = v.Items
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseWithoutParameters(t *testing.T) {
	if _, err := Parse(nil, nil); err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{"x"}, {"--x"}, {"--", "x"}, {""}, {"-"}} {
		if _, err := Parse(nil, args); err == nil {
			t.Errorf("%q: accepted", args)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		of        plan.Param
		good, bad []string
	}{
		{plan.Param{Type: plan.ParamString}, []string{"", "-x", "a\nb", "\xff", "{{db}}"}, []string{"a\x00"}},
		{plan.Param{Type: plan.ParamString, Chars: "a-z", Set: set(letters)}, []string{"", "az"}, []string{"a-", "A", "a\x80", " "}},
		{plan.Param{Type: plan.ParamInt}, []string{"0", "-1", "9223372036854775807", "-9223372036854775808"},
			[]string{"", "-", "+1", "01", "-0", "1.0", "0x1", "1_000", " 1", "9223372036854775808", "١"}},
		{plan.Param{Type: plan.ParamFloat}, []string{"0", "-1.5", "1e9", "1E-9", ".5"},
			[]string{"", "+1", "inf", "-Inf", "nan", "0x1p3", "1e400", "1_0", "1,5", "1 "}},
		{plan.Param{Type: plan.ParamBool}, []string{"true", "false"}, []string{"", "yes", "1", "True"}},
		{plan.Param{Type: plan.ParamDuration}, []string{"0", "0s", "1m30s", "1.5h"}, []string{"", "-1s", "+1s", "1", "1d", "9999999999h"}},
		{plan.Param{Type: plan.ParamSize}, []string{"0", "1", "64M", "16777215T"}, []string{"", "-1", "+1", "01", "1m", "1KB", "1.5M", "M", "16777216T", "18446744073709551616"}},
		{plan.Param{Type: plan.ParamPath}, []string{"/a", "a", "-a", ".."}, []string{"", "a\x00"}},
		{plan.Param{Type: plan.ParamEnum, Values: []string{"a", ""}}, []string{"a", ""}, []string{"A", "aa", " "}},
		{plan.Param{}, nil, []string{"", "a"}},
	} {
		tt.of.Name, tt.of.Max = "p", 100
		for _, s := range tt.good {
			if err := Check(&tt.of, s); err != nil {
				t.Errorf("%s: %v", TypeName(tt.of.Type), err)
			}
		}
		for _, s := range tt.bad {
			if err := Check(&tt.of, s); err == nil {
				t.Errorf("%s: %q is accepted", TypeName(tt.of.Type), s)
			}
		}
	}
}

// TestTypeNames: every type has a word, and every word leads back.
func TestTypeNames(t *testing.T) {
	for typ := plan.ParamString; typ <= plan.ParamEnum; typ++ {
		if name := TypeName(typ); name == "" || TypeOf(name) != typ {
			t.Errorf("type %d is %q, which is type %d", typ, name, TypeOf(name))
		}
	}
	if TypeName(0) != "" || TypeName(plan.ParamEnum+1) != "" || TypeOf("") != 0 || TypeOf("secret") != 0 {
		t.Error("an invalid type has a name")
	}
}
