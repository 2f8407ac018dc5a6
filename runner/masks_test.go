package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// maskTree makes the files of a test in a directory with a real path, and
// returns that.
func maskTree(t *testing.T, names ...string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		name, target, link := strings.Cut(name, "->")
		p := dir + "/" + name
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		switch {
		case err != nil:
		case link:
			err = os.Symlink(strings.ReplaceAll(target, "DIR", dir), p)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(p, 0o755)
		default:
			err = os.WriteFile(p, nil, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// maskRun is a run in dir/p that shows it, or not, beside other trees.
func maskRun(t *testing.T, dir string, cwd plan.Flags, showCwd bool, masks ...plan.Mask) *run {
	t.Helper()
	t.Chdir(dir + "/p")
	view := []plan.Step{{Kind: plan.Tree, Path: "/usr", Source: "/usr"}, {Kind: plan.Tmpfs, Path: "/tmp"}}
	if showCwd {
		view = append(view, plan.Step{Kind: plan.Tree, Flags: plan.SourceCwd | cwd})
	}
	view = append(view, plan.Step{Kind: plan.Seal, Path: "/"})
	p := &plan.Plan{View: view, Masks: masks, Exec: plan.Exec{Path: "/usr/bin/prog", Inside: "/usr/bin/prog"}}
	return &run{Options: Options{Plan: p, Cwd: dir + "/p"}, report: &Report{}}
}

// give shows a path parameter's tree.
func (r *run) give(t *testing.T, path string, flags plan.Flags) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		flags |= plan.OverFile
	}
	r.Trees = append(r.Trees, plan.Step{Kind: plan.Tree, Flags: flags, Path: path, Source: path, Dev: st.Dev, Ino: st.Ino})
}

func TestHideMasks(t *testing.T) {
	dir := maskTree(t, "p/.git/config", "p/.env", "p/sub/.env", "p/sub/deep/f", "p/socket/", "q/f", "secret/key",
		"p/link->.env", "p/out->../secret", "p/gone->none", "p/chain->sub/up", "p/sub/up->../.git", "alias->p", "to-env->p/.env", "p/self->self", "home->DIR/p")
	sub := func(s string) plan.Mask { return plan.Mask{Path: s, Cwd: true} }
	abs := func(s string) plan.Mask { return plan.Mask{Path: dir + s} }
	tree := func(path string, flags plan.Flags) func(*testing.T, *run) {
		return func(t *testing.T, r *run) { r.give(t, dir+path, flags) }
	}
	const write = plan.Writable | plan.Mapped
	for _, tt := range []struct {
		name  string
		masks []plan.Mask
		cwd   plan.Flags
		no    bool // the caller's directory is not shown
		with  func(*testing.T, *run)
		// want are the places that are hidden, directories with a slash
		// behind; err is a part of the refusal with DIR in it.
		want []string
		err  string
		hint string
	}{
		{name: "nothing is masked"},
		{name: "a directory and a file", masks: []plan.Mask{sub("/.git"), sub("/.env")}, want: []string{"/p/.env", "/p/.git/"}},
		{name: "by its path", masks: []plan.Mask{abs("/p/.git"), abs("/p/.env")}, want: []string{"/p/.env", "/p/.git/"}},
		{name: "by its path through links above", masks: []plan.Mask{abs("/alias/.git"), abs("/home/.env")}, want: []string{"/p/.env", "/p/.git/"}},
		{name: "by a link from outside", masks: []plan.Mask{abs("/to-env")}, want: []string{"/p/.env"}},
		{name: "deep", masks: []plan.Mask{sub("/sub/deep"), sub("/sub/.env")}, want: []string{"/p/sub/.env", "/p/sub/deep/"}},
		{name: "twice, and in one another", masks: []plan.Mask{sub("/sub/deep/f"), sub("/sub"), abs("/p/sub"), abs("/alias/sub/deep")}, want: []string{"/p/sub/"}},
		{name: "not there", masks: []plan.Mask{sub("/none"), sub("/none/deep"), sub("/.env/x"), abs("/p/x"), abs("/none/x")}},
		{name: "elsewhere", masks: []plan.Mask{abs("/q"), abs("/secret/key"), {Path: "/nowhere/x"}}},
		{name: "a link is followed", masks: []plan.Mask{sub("/link"), sub("/chain/config")}, want: []string{"/p/.env", "/p/.git/config"}},
		{name: "a link out of the tree", masks: []plan.Mask{sub("/out"), sub("/out/key"), sub("/gone")}},
		{name: "in the writable directory", cwd: write, masks: []plan.Mask{sub("/.git"), abs("/p/.env"), sub("/none")}, want: []string{"/p/.env", "/p/.git/"}},
		{name: "not shown", no: true, masks: []plan.Mask{sub("/.git"), abs("/p/.env")}},
		{name: "in a parameter's tree", no: true, with: tree("", 0), masks: []plan.Mask{sub("/.git"), abs("/secret")}, want: []string{"/p/.git/", "/secret/"}},
		{name: "in both", with: tree("/secret", 0), masks: []plan.Mask{sub("/.git"), abs("/secret/key")}, want: []string{"/p/.git/", "/secret/key"}},
		{name: "a link into the other", with: tree("/secret", 0), masks: []plan.Mask{sub("/out/key")}, want: []string{"/secret/key"}},
		{name: "in a writable tree in the directory", with: tree("/p/sub", write), masks: []plan.Mask{sub("/sub/.env"), sub("/.git/config")}, want: []string{"/p/.git/config", "/p/sub/.env"}},
		{name: "a mask of the view above", with: func(_ *testing.T, r *run) {
			end := len(r.Plan.View) - 1
			r.Plan.View = append(r.Plan.View[:end:end], plan.Step{Kind: plan.Tmpfs, Path: dir + "/p/sub"}, plan.Step{Kind: plan.Seal, Path: dir + "/p/sub"}, r.Plan.View[end])
		}, masks: []plan.Mask{sub("/sub/.env"), sub("/.env")}, want: []string{"/p/.env"}},

		{name: "the directory itself", masks: []plan.Mask{abs("/p")}, err: `show "DIR/p": the view hides "DIR/p"`, hint: hintCwd},
		{name: "the directory by a link", masks: []plan.Mask{abs("/alias")}, err: `show "DIR/p": the view hides "DIR/alias"`},
		{name: "what holds the directory", masks: []plan.Mask{abs("")}, err: `show "DIR/p": the view hides "DIR"`},
		{name: "a parameter's tree", no: true, with: tree("/secret", 0), masks: []plan.Mask{abs("/secret")}, err: `show "DIR/secret": the view hides "DIR/secret"`, hint: hintTree},
		{name: "a parameter's file", no: true, with: tree("/secret/key", 0), masks: []plan.Mask{abs("/secret")}, err: `show "DIR/secret/key": the view hides "DIR/secret"`},
		{name: "a parameter's file that the directory shows", with: tree("/p/.git/config", 0), masks: []plan.Mask{sub("/.git")}, err: `show "DIR/p/.git/config": the view hides "DIR/p/.git"`},
		{name: "a parameter's file by a link", with: tree("/p/.env", 0), masks: []plan.Mask{sub("/link")}, err: `show "DIR/p/.env": the view hides "DIR/p/link"`},
		{name: "deep in the writable directory", cwd: write, masks: []plan.Mask{abs("/p/sub/.env")}, err: `show "DIR/p": the view hides "DIR/p/sub/.env", which lies deeper`, hint: "mask DIR/p/sub in its place, or show less to be written"},
		{name: "deep in the writable directory, not there", cwd: write, masks: []plan.Mask{abs("/p/none/x")}, err: `which lies deeper`},
		{name: "deep in a parameter's writable tree", no: true, with: tree("", write), masks: []plan.Mask{sub("/.git")}, err: `show "DIR": the view hides "DIR/p/.git", which lies deeper`, hint: "mask DIR/p in its place, or show less to be written"},
		{name: "a link in the writable directory", cwd: write, masks: []plan.Mask{sub("/link")}, err: `leads through the symbolic link "DIR/p/link": a run could turn it`},
		{name: "a link out of the writable directory", cwd: write, masks: []plan.Mask{sub("/out/key")}, err: `leads through the symbolic link "DIR/p/out"`},
		{name: "a link to nothing in the writable directory", cwd: write, masks: []plan.Mask{sub("/gone")}, err: `leads through the symbolic link "DIR/p/gone"`},
		{name: "a path through the writable directory", cwd: write, with: tree("/secret", 0), masks: []plan.Mask{abs("/p/out/key")}, err: `leads through the symbolic link "DIR/p/out"`},
		{name: "links in a circle", masks: []plan.Mask{sub("/self")}, err: `hide "DIR/p/self": lstat DIR/p/self: too many levels`},
		{name: "the program", with: func(_ *testing.T, r *run) { r.Plan.Exec.Inside = dir + "/p/sub/deep/f" }, masks: []plan.Mask{sub("/sub")}, err: `hide "DIR/p/sub": it hides the program`},
		{name: "no path of the directory", no: true, with: func(t *testing.T, r *run) { tree("/secret", 0)(t, r); r.Cwd = "" }, masks: []plan.Mask{sub("/.git")}, err: `hide "{{cwd}}/.git": the working directory has no path`},
		{name: "a replaced tree", no: true, with: func(t *testing.T, r *run) { tree("/secret", 0)(t, r); r.Trees[0].Ino++ }, masks: []plan.Mask{abs("/secret/key")}, err: `hide "DIR/secret/key": it was replaced meanwhile`},
		{name: "a tree that is gone", no: true, with: func(t *testing.T, r *run) {
			tree("/secret", 0)(t, r)
			r.Trees[0].Path, r.Trees[0].Source = dir+"/x/y", dir+"/x/y"
		}, masks: []plan.Mask{abs("/x/y/key")}, err: `it was replaced meanwhile`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := maskRun(t, dir, tt.cwd, !tt.no, tt.masks...)
			if tt.with != nil {
				tt.with(t, r)
			}
			if !r.showTrees() {
				t.Fatal(r.report.Err)
			}
			before := r.Plan
			view := append([]plan.Step(nil), before.View...)
			ok := r.hideMasks()
			if d := cmp.Diff(view, before.View); d != "" {
				t.Fatalf("the plan's own view was changed: %s", d)
			}
			if tt.err != "" {
				got := ""
				if !ok {
					got = strings.ReplaceAll(r.report.Step+": "+r.report.Err.Error(), dir, "DIR")
				}
				if ok || !strings.Contains(got, tt.err) || r.report.ExitCode != StatusRefused || r.report.Outcome != Refused || tt.hint != "" && strings.ReplaceAll(r.report.Hint, dir, "DIR") != tt.hint {
					t.Errorf("got %v, %d %q, hint %q; want %q, hint %q", ok, r.report.ExitCode, got, r.report.Hint, tt.err, tt.hint)
				}
				return
			}
			if !ok {
				t.Fatalf("%s: %v", r.report.Step, r.report.Err)
			}
			end := len(view) - 1
			want := append([]plan.Step(nil), view[:end]...)
			for _, p := range tt.want {
				if at, ok := strings.CutSuffix(p, "/"); ok {
					want = append(want, plan.Step{Kind: plan.Tmpfs, Flags: plan.Exists | plan.Covers, Path: dir + at, Size: 4096, Files: 1})
				} else {
					want = append(want, plan.Step{Kind: plan.Tree, Flags: plan.Exists | plan.OverFile | plan.Covers, Path: dir + p, Source: "/dev/null"})
				}
			}
			if d := cmp.Diff(append(want, view[end]), r.Plan.View); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestHideMasksElsewhere: another process's working directory, as a daemon has
// it, is looked at by its path, and must be the one that was given.
func TestHideMasksElsewhere(t *testing.T) {
	dir := maskTree(t, "p/.env", "q/f")
	var st unix.Stat_t
	if err := unix.Stat(dir+"/p", &st); err != nil {
		t.Fatal(err)
	}
	for _, replaced := range []bool{false, true} {
		r := maskRun(t, dir, 0, true, plan.Mask{Path: "/.env", Cwd: true})
		t.Chdir("/")
		r.config.CwdStamp = plan.Stamp{Dev: st.Dev, Ino: st.Ino}
		if replaced {
			r.config.CwdStamp.Ino++
		}
		ok := r.hideMasks()
		if ok == replaced {
			t.Errorf("replaced %v: %v, %v", replaced, ok, r.report.Err)
		}
		if at := r.Plan.View[len(r.Plan.View)-2]; ok && at.Path != dir+"/p/.env" {
			t.Errorf("hidden is %q", at.Path)
		}
	}
}
