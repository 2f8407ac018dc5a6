package runner

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/plan"
)

// aView has one of everything that a path of a caller may meet.
var aView = []plan.Step{
	{Kind: plan.Tree, Path: "/usr", Source: "/usr"},
	{Kind: plan.Symlink, Path: "/lib", Source: "usr/lib"},
	{Kind: plan.Dir, Path: "/etc"},
	{Kind: plan.File, Path: "/etc/passwd"},
	{Kind: plan.Proc, Path: "/proc"},
	{Kind: plan.Tmpfs, Path: "/dev"},
	{Kind: plan.Dir, Path: "/srv"},
	{Kind: plan.Tree, Path: "/srv/in", Source: "/srv/in"},
	{Kind: plan.Tree, Path: "/srv/out", Source: "/srv/out", Flags: plan.Writable | plan.Mapped},
	{Kind: plan.Tree, Path: "/srv/alias", Source: "/data/alias"},
	{Kind: plan.Tmpfs, Path: "/tmp"},
	{Kind: plan.Tmpfs, Path: "/srv/in/scratch", Flags: plan.Exists},
	{Kind: plan.Tree, Flags: plan.SourceCwd},
	{Kind: plan.Tree, Path: "/usr/bin/prog", Source: "/usr/bin/prog", Flags: plan.Executable | plan.OverFile | plan.Exists},
	{Kind: plan.Tmpfs, Path: "/usr/share/masked", Flags: plan.Exists},
	{Kind: plan.Seal, Path: "/usr/share/masked"},
	{Kind: plan.Tree, Path: "/usr/share/hidden", Source: "/dev/null", Flags: plan.Exists | plan.OverFile},
	{Kind: plan.Seal, Path: "/dev"},
	{Kind: plan.Seal, Path: "/"},
}

func TestWithTrees(t *testing.T) {
	const (
		write = plan.Writable | plan.Mapped
		file  = plan.OverFile
	)
	dir := func(p string) plan.Step { return plan.Step{Kind: plan.Dir, Path: p, Mode: 0o755} }
	tree := func(p string, f plan.Flags) plan.Step {
		return plan.Step{Kind: plan.Tree, Path: p, Source: p, Flags: f, Dev: 1, Ino: 2}
	}
	for _, tt := range []struct {
		name  string
		trees []plan.Step
		// want are the steps that come in before the seal of the root.
		want []plan.Step
		err  string
	}{
		{"outside of all", []plan.Step{tree("/home/u/f", file)}, []plan.Step{dir("/home"), dir("/home/u"), tree("/home/u/f", file)}, ""},
		{"beside a tree", []plan.Step{tree("/srv/x", write)}, []plan.Step{tree("/srv/x", write)}, ""},
		{"two with one parent", []plan.Step{tree("/a/b/d", file), tree("/a/b/c", file)},
			[]plan.Step{dir("/a"), dir("/a/b"), tree("/a/b/d", file), tree("/a/b/c", file)}, ""},
		{"the same twice", []plan.Step{tree("/a/b", file), tree("/a/b", file)}, []plan.Step{dir("/a"), tree("/a/b", file)}, ""},
		{"the same, to read and to write", []plan.Step{tree("/a/b", file), tree("/a/b", file|write)},
			[]plan.Step{dir("/a"), tree("/a/b", file), tree("/a/b", file|write|plan.Exists)}, ""},
		{"one in another", []plan.Step{tree("/a/b/c", write), tree("/a/b", 0)}, []plan.Step{dir("/a"), tree("/a/b", 0), tree("/a/b/c", write|plan.Exists)}, ""},
		{"in the private /tmp", []plan.Step{tree("/tmp/x/f", file)}, []plan.Step{dir("/tmp/x"), tree("/tmp/x/f", file)}, ""},
		{"in a scratch directory of a tree", []plan.Step{tree("/srv/in/scratch/x/f", file)}, []plan.Step{dir("/srv/in/scratch/x"), tree("/srv/in/scratch/x/f", file)}, ""},
		{"over a file of the view", []plan.Step{tree("/etc/passwd", file)}, []plan.Step{tree("/etc/passwd", file)}, ""},
		{"shown already", []plan.Step{tree("/usr/share/doc", 0), tree("/srv/in/f", file), tree("/srv/out/f", file|write), tree("/srv/out/g", file)}, nil, ""},
		{"shown already, with its masks", []plan.Step{tree("/usr/share", 0)}, nil, ""},
		{"the program, to read", []plan.Step{tree("/usr/bin/prog", file)}, nil, ""},
		{"to write in what is shown to read", []plan.Step{tree("/srv/in/f", file|write)}, []plan.Step{tree("/srv/in/f", file|write|plan.Exists)}, ""},
		{"to read by its owner's right", []plan.Step{tree("/srv/in/f", file|plan.Mapped)}, []plan.Step{tree("/srv/in/f", file|plan.Mapped|plan.Exists)}, ""},
		{"below the caller's directory, to read", []plan.Step{tree("/home/c/d/f", file)}, nil, ""},
		{"below the caller's directory, to write", []plan.Step{tree("/home/c/d/f", file|write)}, []plan.Step{tree("/home/c/d/f", file|write|plan.Exists)}, ""},

		{"the program, to write", []plan.Step{tree("/usr/bin/prog", file|write)}, nil, "what the run executes"},
		{"a mask", []plan.Step{tree("/usr/share/masked", 0)}, nil, `hides "/usr/share/masked"`},
		{"below a mask", []plan.Step{tree("/usr/share/masked/f", file)}, nil, `hides "/usr/share/masked"`},
		{"a masked file", []plan.Step{tree("/usr/share/hidden", file)}, nil, "something else"},
		{"a device", []plan.Step{tree("/dev/x", file)}, nil, `hides "/dev"`},
		{"a process", []plan.Step{tree("/proc/x", file)}, nil, "something else"},
		{"a tree with a mask in it, to write", []plan.Step{tree("/usr/share", write)}, nil, `it holds "/usr/share/hidden"`},
		{"what holds the caller's directory", []plan.Step{tree("/home/c", 0)}, nil, `it holds "/home/c/d"`},
		{"what holds a tree", []plan.Step{tree("/srv", 0)}, nil, "it holds"},
		{"behind a link of the view", []plan.Step{tree("/lib/x", file)}, nil, "symbolic link"},
		{"where another tree is", []plan.Step{tree("/srv/alias/f", file)}, nil, "something else"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := append([]plan.Step(nil), aView...)
			got, err := withTrees(aView, tt.trees, "/home/c/d")
			if d := cmp.Diff(before, aView); d != "" {
				t.Fatalf("the plan's own view was changed: %s", d)
			}
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			end := len(aView) - 1
			want := append(append(append([]plan.Step(nil), aView[:end]...), tt.want...), aView[end])
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestWithTreesCwd: the caller's directory itself, to write, is no second
// mount: the launch makes the place of the first one.
func TestWithTreesCwd(t *testing.T) {
	view := []plan.Step{{Kind: plan.Tree, Flags: plan.SourceCwd}, {Kind: plan.Seal, Path: "/"}}
	got, err := withTrees(view, []plan.Step{{Kind: plan.Tree, Path: "/home/c", Source: "/home/c", Flags: plan.Writable | plan.Mapped, Dev: 1, Ino: 2}}, "/home/c")
	if err != nil {
		t.Fatal(err)
	}
	want := []plan.Step{{Kind: plan.Tree, Flags: plan.SourceCwd | plan.Writable | plan.Mapped, Dev: 1, Ino: 2}, view[1]}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
