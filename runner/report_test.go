package runner

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/plan"
)

// TestReportMembers pins the names of SPEC section 2.
func TestReportMembers(t *testing.T) {
	r := &Report{ExitCode: 159, Outcome: Violation, Layers: []Layer{{"seccomp", Applied, ""}},
		Violations: []Call{{Kind: "syscall", Syscall: "ptrace", NR: 101, Arch: "amd64", Args: [6]uint64{1<<64 - 1, 2}}}, Changes: []string{"/x"}}
	b := r.JSON()
	if strings.Count(string(b), "\n") != 1 || b[len(b)-1] != '\n' {
		t.Errorf("not one line: %q", b)
	}
	var got struct {
		ExitCode   int    `json:"exit-code"`
		Signal     *int   `json:"signal"`
		Outcome    string `json:"outcome"`
		Layers     []map[string]string
		Violations []struct {
			Syscall string
			Args    []uint64
		}
		Usage map[string]float64
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.ExitCode != 159 || got.Outcome != "violation" || got.Violations[0].Args[0] != 1<<64-1 || got.Layers[0]["state"] != "applied" {
		t.Errorf("got %+v", got)
	}
	var members map[string]any
	json.Unmarshal(b, &members)
	for _, name := range strings.Fields("exit-code signal outcome step run command version revision generation via counted layers violations usage changes reverted-to") {
		if _, ok := members[name]; !ok {
			t.Errorf("member %q is missing", name)
		}
	}
	for _, name := range strings.Fields("time time-wall cpu-user cpu-sys cg-mem-peak max-rss pids-peak io-read io-write csw") {
		if _, ok := got.Usage[name]; !ok {
			t.Errorf("usage member %q is missing", name)
		}
	}
	if got, want := string(ChildLine(7)), "{\"child-pid\":7}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzText: whatever a workload puts into a name, the line is JSON and says
// the same as encoding/json would.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a\"b\\c", "\x00\x1f\x7f\n", "\xff\xfe", "\u2028é", "</script>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := Report{Step: s, Violations: []Call{{Comm: s}}}
		var got struct{ Step string }
		if err := json.Unmarshal(r.JSON(), &got); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		want := s
		if !utf8.ValidString(s) {
			b, _ := json.Marshal(s)
			json.Unmarshal(b, &want)
		}
		if got.Step != want {
			t.Errorf("got %q, want %q", got.Step, want)
		}
	})
}

func TestEnvironment(t *testing.T) {
	e := plan.Env{Set: []string{"HOME=/tmp", "PATH=/usr/bin"}, Pass: []string{"LANG", "LC_*", "HOME"}}
	got := environment(e, []string{"LANG=C", "LC_ALL=de", "LCX=1", "SECRET=x", "HOME=/root", "LANGUAGE=de", "bad", "=x", "PATH=/evil"})
	want := []string{"HOME=/tmp", "PATH=/usr/bin", "LANG=C", "LC_ALL=de"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestUnfitCwd(t *testing.T) {
	view := []plan.Step{
		{Kind: plan.Dir, Path: "/srv"}, {Kind: plan.Tree, Path: "/srv/data"}, {Kind: plan.Tmpfs, Path: "/var/cache"},
		{Kind: plan.Tree, Flags: plan.SourceCwd},
		{Kind: plan.Tree, Path: "/home/u/x/tool", Flags: plan.OverFile},
		{Kind: plan.Tmpfs, Path: "/srv/hidden"}, {Kind: plan.Seal, Path: "/srv/hidden"}, {Kind: plan.Seal, Path: "/"},
	}
	for cwd, want := range map[string]string{
		"": "no path", "/": "top-level", "/srv": "top-level", "(unreachable)/x": "no path",
		"/home/u/x": "", "/srv/a": "", "/srv/data/sub": "", "/srv/database": "",
		"/srv/data": `cover "/srv/data"`, "/var/cache": `cover "/var/cache"`, "/var/cache/a": "",
		"/srv/hidden": `hides "/srv/hidden"`, "/srv/hidden/a": `hides "/srv/hidden"`,
	} {
		got := unfitCwd(cwd, view, 3)
		if !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("unfitCwd(%q) = %q, want %q", cwd, got, want)
		}
	}
	if got := unfitCwd("/a/b", []plan.Step{{Kind: plan.Tree, Path: "/a/b/c/d"}, {Kind: plan.Tree, Flags: plan.SourceCwd}}, 1); !strings.Contains(got, "cover") {
		t.Errorf("a tree below: %q", got)
	}
}

// TestCwdVerdict: the caller's judgement ends a run that shows the directory,
// and no other.
func TestCwdVerdict(t *testing.T) {
	for _, tt := range []struct {
		name string
		view []plan.Step
		why  string
		want int
	}{
		{"shown and unfit", []plan.Step{{Kind: plan.Tree, Flags: plan.SourceCwd}}, "it lies in the state directory", StatusRefused},
		{"shown and fit", []plan.Step{{Kind: plan.Tree, Flags: plan.SourceCwd}}, "", 0},
		{"not shown", []plan.Step{{Kind: plan.Tree, Path: "/usr"}}, "it lies in the state directory", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &run{Options: Options{Plan: &plan.Plan{View: tt.view}, Cwd: "/srv/a/b", CwdUnfit: tt.why}, report: &Report{}}
			if ok := r.chooseDir(); ok != (tt.want == 0) || r.report.ExitCode != tt.want {
				t.Errorf("chooseDir() = %v with status %d, want status %d", ok, r.report.ExitCode, tt.want)
			}
		})
	}
}
