package runner

import (
	"testing"

	"github.com/sbx-project/sbx/internal/plan"
)

func TestFIFOHole(t *testing.T) {
	tmp := plan.Step{Kind: plan.Tmpfs, Path: "/tmp"}
	write := plan.Step{Kind: plan.Tree, Path: "/srv/out", Flags: plan.Writable}
	for _, tt := range []struct {
		name string
		view []plan.Step
		want string
	}{
		{"nothing nested", []plan.Step{{Kind: plan.Tree, Path: "/usr"}, tmp, write, {Kind: plan.Tree, Path: "/srv/outer"}}, ""},
		{"below /tmp", []plan.Step{tmp, {Kind: plan.Tree, Path: "/tmp/in"}}, "/tmp/in"},
		{"below a writable tree", []plan.Step{write, {Kind: plan.Tree, Path: "/srv/out/in"}}, "/srv/out/in"},
		{"one file", []plan.Step{tmp, {Kind: plan.Tree, Path: "/tmp/in", Flags: plan.OverFile}}, ""},
		{"the working directory", []plan.Step{tmp, {Kind: plan.Tree, Flags: plan.SourceCwd}}, "/tmp/work"},
		{"a writable working directory", []plan.Step{tmp, {Kind: plan.Tree, Flags: plan.SourceCwd | plan.Writable}}, ""},
	} {
		if got := fifoHole(tt.view, "/tmp/work"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
