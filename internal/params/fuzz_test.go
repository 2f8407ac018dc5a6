package params

import (
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/plan"
)

// FuzzCall gives any arguments to a command that takes every kind of
// parameter. Whatever comes out has no NUL byte, no more arguments than are
// allowed, and no argument that begins with '-' but those that the manifest
// writes or names; nothing of it is a template that was filled in twice.
func FuzzCall(f *testing.F) {
	for _, s := range []string{
		"main", "--db=main\n--level\n-3", "main\n--\n-x", "main\n--table\n--fast", "main\n--format=-c\n--fast", "--no-fast\nmain\n{{db}}\n",
		"main\n--dash=-x", "main\n--free=\n--out=-x", "main\n--size=1T\n--ratio=-1e3\n--wait=1h", "--help", "-", "main\nbad\x00",
	} {
		f.Add(s)
	}
	list := append([]plan.Param{
		{Name: "dash", Type: plan.ParamString, Chars: "x-", Set: set("x-"), Max: 10},
		{Name: "free", Type: plan.ParamString, Max: 10},
	}, dump...)
	argv := append([]string{"--fixed", "{{dash}}", "{{free}}{{db}}", "{{cwd}}{{db}}", "x={{free}}{{level}}", "{{out}}"}, all...)
	f.Fuzz(func(t *testing.T, in string) {
		args := strings.Split(in, "\n")
		values, err := Parse(list, args)
		if err != nil {
			return
		}
		front, words, err := Compile(list, argv, "/b")
		if err != nil {
			t.Fatal(err)
		}
		// Paths become absolute before they are used.
		for i := range values {
			for j, item := range values[i].Items {
				if err := Check(&list[i], item); err != nil {
					t.Fatalf("%q passed Parse: %v", item, err)
				}
				if list[i].Type == plan.ParamPath {
					values[i].Items[j] = "/real/" + item
				}
			}
			if len(values[i].Items) > 1 && !list[i].List {
				t.Fatalf("%s has %d values", list[i].Name, len(values[i].Items))
			}
		}
		out, err := Expand(words, list, values, "/cwd")
		if err != nil {
			return
		}
		if len(out) > len(args)*len(argv)+len(argv) || len(out) > MaxArgs || len(front) != 1 {
			t.Fatalf("%d arguments of %d", len(out), len(args))
		}
		for _, a := range out {
			switch {
			case strings.IndexByte(a, 0) >= 0:
				t.Fatalf("NUL in %q", a)
			case !strings.HasPrefix(a, "-"), a == "-c", a == "--fast":
			case strings.Trim(a, "x-") == "": // dash allows it
			default:
				t.Fatalf("%q became the option %q", args, a)
			}
		}
	})
}

// FuzzCompile: no template of a manifest makes it panic, and text without
// templates comes out as it is.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{"{{db}}", "{{fast?--f}}", "a{{cwd}}b", "{{", "}}", "{{{{db}}}}", "{{table}}", "x\n{{size}}y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		argv := strings.Split(in, "\n")
		front, words, err := Compile(nil, argv, "/b")
		if !strings.Contains(in, "{{") && (err != nil || len(words) > 0 || strings.Join(front, "\n") != in) {
			t.Fatalf("%q became %q, %v, %v", argv, front, words, err)
		}
		front, words, err = Compile(dump, append(argv, all...), "/b")
		if err == nil && len(front)+len(words) != len(argv)+len(all) {
			t.Fatalf("%d arguments of %d", len(front)+len(words), len(argv)+len(all))
		}
	})
}
