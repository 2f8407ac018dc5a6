package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

// maskBundles fills the registry with commands that show what the call names
// and hide a part of it. In the policies, WORK is the working directory.
func maskBundles(t *testing.T, h *host) {
	t.Helper()
	work := strings.NewReplacer("WORK", h.work(), "BASE", h.base)
	for name, policy := range map[string]string{
		"here":  `filesystem: {read: ["{{cwd}}"], mask: ["{{cwd}}/.git", "{{cwd}}/.env", "{{cwd}}/deep/key", WORK/abs, BASE/alias/abs-alias, WORK/private]}`,
		"write": `filesystem: {write: ["{{cwd}}"], mask: ["{{cwd}}/.git", "{{cwd}}/.env"]}`,
		"deep":  `filesystem: {write: ["{{cwd}}"], mask: [WORK/own/deep/key]}`,
		"both":  `filesystem: {read: [WORK], write: ["{{cwd}}"], mask: [WORK/own/deep/key]}`,
		"link":  `filesystem: {read: [WORK/private], write: ["{{cwd}}"], mask: [WORK/own/link]}`,
	} {
		h.bundle(t, name, bin+"/act", work.Replace(policy))
	}
	for name, rest := range map[string]string{
		"file": `argv: [cat, "{{at}}"]}` + "\nparams: [{name: at, type: path, access: read, position: 1, required: true}]\n",
		"tree": `argv: [cat, "{{at}}/{{sub}}"]}` + "\nparams: [{name: at, type: path, access: read, position: 1, required: true}, {name: sub, type: string, position: 2, required: true}]\n",
	} {
		h.write(t, "registry/"+name+".yaml", work.Replace("apiVersion: sbx/v1\nname: "+name+"\nversion: 1.0.0\nexec: {path: "+bin+"/act, args: declared, "+rest+
			`policy: {filesystem: {mask: ["{{cwd}}/.env", WORK/private, WORK/.git]}}`+"\n"), 0o644)
	}
}

// TestMasks: what a policy masks is hidden in what only the call shows, by the
// daemon and without it, and what lies beside it is shown.
func TestMasks(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		for _, dir := range []string{"work/.git", "work/deep", "work/sub", "work/private/in", "work/own", "work/own/.git", "work/own/deep"} {
			h.mkdir(t, dir)
		}
		for name, text := range map[string]string{
			".git/config": "hidden", ".env": "hidden", "deep/key": "hidden", "deep/other": "shown", "in": "shown", "abs-alias": "hidden",
			"private/in/f": "hidden", "sub/.env": "shown", "own/.env": "hidden", "own/.git/config": "hidden", "own/in": "shown",
		} {
			h.write(t, "work/"+name, text, 0o644)
		}
		if err := os.Symlink("work", h.path("alias")); err != nil {
			t.Fatal(err)
		}
		if h.uid == 0 { // a run never writes what is root's
			check(t, filepath.WalkDir(h.path("work/own"), func(p string, _ os.DirEntry, err error) error {
				if err != nil {
					return err
				}
				return os.Chown(p, ordinary, ordinary)
			}))
		}
		maskBundles(t, h)
		h.serve(t)
		for _, direct := range []bool{true, false} {
			name := "daemon"
			if direct {
				name = "direct"
			}
			t.Run(name, func(t *testing.T) {
				run := func(dir string, words ...string) result {
					t.Helper()
					r := h.run(t, h.both(direct, call{words: words, dir: h.path(dir)}))
					if via := r.report.Via; via != name {
						t.Errorf("via %q", via)
					}
					return r
				}
				shows := func(dir string, words ...string) {
					t.Helper()
					if r := run(dir, words...); r.status != 0 || r.stdout != "shown" {
						t.Errorf("%q in %s is not shown\n%s", words, dir, r)
					}
				}
				hides := func(dir string, words ...string) {
					t.Helper()
					if r := run(dir, words...); r.status != 1 || !strings.Contains(r.stdout, "permission denied") {
						t.Errorf("%q in %s is not hidden\n%s", words, dir, r)
					}
				}
				refuses := func(want, dir string, words ...string) {
					t.Helper()
					r := run(dir, words...)
					wantEnd(t, r, 126, "refused")
					if !strings.Contains(r.stderr, want) || !strings.Contains(r.stderr, "\nhint: ") {
						t.Errorf("want %q and a hint\n%s", want, r)
					}
				}
				shows("work", "here", "cat", "in")
				shows("work", "here", "cat", "deep/other")
				for _, p := range []string{".git/config", ".env", "deep/key", "abs-alias", "private/in/f"} {
					hides("work", "here", "cat", p)
				}
				shows("work/own", "here", "cat", "in")
				hides("work/own", "here", "cat", ".env")
				hides("alias", "here", "cat", ".env")
				refuses(`the view hides "`+h.path("work/private")+`"`, "work/private", "here", "cat", "in/f")
				refuses(`the view hides "`+h.path("work/private")+`"`, "work/private/in", "here", "cat", "f")

				// What comes later is hidden from the first run on that could see
				// it: no earlier launch is used again (internal/early).
				for _, p := range []string{"work/sub/.git", "work/abs"} {
					cat := func() result {
						return h.run(t, h.both(direct, call{words: []string{"here", "cat", filepath.Base(p)}, dir: h.path(filepath.Dir(p)), plain: true}))
					}
					for range 3 {
						if r := cat(); r.status != 1 || !strings.Contains(r.stdout, "no such file") {
							t.Errorf("%s", r)
						}
					}
					h.write(t, p, "hidden", 0o644)
					if r := cat(); r.status != 1 || !strings.Contains(r.stdout, "permission denied") {
						t.Errorf("%s is not hidden\n%s", p, r)
					}
					check(t, os.Remove(h.path(p)))
				}

				// In a writable directory, too, where what the run makes is its
				// own until the next.
				hides("work/own", "write", "cat", ".git/config")
				hides("work/own", "write", "cat", ".env")
				hides("work/own", "write", "write", ".env", "x")
				hides("work/own", "write", "write", ".git/x", "x")
				kept := h.path("work/own/.env")
				check(t, os.Rename(kept, kept+".kept"))
				if r := run("work/own", "write", "write", ".env", "its own"); r.status != 0 {
					t.Errorf("%s", r)
				}
				hides("work/own", "write", "cat", ".env")
				if text, err := os.ReadFile(kept); err != nil || string(text) != "its own" {
					t.Errorf("%q, %v", text, err)
				}
				check(t, os.Rename(kept+".kept", kept))
				check(t, os.Rename(kept, kept+".kept"))
				check(t, os.Symlink(".env.kept", kept))
				refuses("leads through the symbolic link", "work/own", "write", "cat", ".env")
				check(t, os.Rename(kept+".kept", kept))

				shows("work", "file", "in")
				shows("work", "file", "sub/.env")
				refuses(`the view hides "`+h.path("work/.env")+`"`, "work", "file", ".env")
				refuses(`the view hides "`+h.path("work/private")+`"`, "work", "file", "private/in/f")
				refuses(`the view hides "`+h.path("work/.git")+`"`, "work/sub", "file", "../.git/config")
				shows("work/sub", "tree", "..", "in")
				hides("work/sub", "tree", "..", ".git/config")
				hides("work/sub", "tree", "..", "sub/.env")
				shows("work", "tree", ".", "sub/.env")
				hides("work", "tree", ".", ".env")
			})
		}
	})
}

// TestMaskedDeep: below a directory that the run may write, a mask that it could
// move away with a directory between refuses the run.
func TestMaskedDeep(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		for _, dir := range []string{"work/own/deep", "work/private", "work/here"} {
			h.mkdir(t, dir)
		}
		h.write(t, "work/own/deep/key", "hidden", 0o644)
		h.write(t, "work/private/f", "hidden", 0o644)
		check(t, os.Symlink("../private/f", h.path("work/own/link")))
		if h.uid == 0 {
			check(t, os.Chown(h.path("work/here"), ordinary, ordinary))
		}
		maskBundles(t, h)
		// Also where the policy's own trees show the place, on which that of
		// the call lies.
		for _, name := range []string{"deep", "both"} {
			r := h.run(t, h.both(true, call{words: []string{name, "exit", "0"}, dir: h.path("work/own")}))
			wantEnd(t, r, 126, "refused")
			if !strings.Contains(r.stderr, "which lies deeper than a direct child") || !strings.Contains(r.stderr, "\nhint: mask "+h.path("work/own/deep")) {
				t.Errorf("%s", r)
			}
		}
		r := h.run(t, h.both(true, call{words: []string{"link", "exit", "0"}, dir: h.path("work/own")}))
		wantEnd(t, r, 126, "refused")
		if !strings.Contains(r.stderr, "leads through the symbolic link") {
			t.Errorf("%s", r)
		}
		for name, hidden := range map[string]string{"both": "work/own/deep/key", "link": "work/private/f"} {
			r := h.run(t, h.both(true, call{words: []string{name, "cat", h.path(hidden)}, dir: h.path("work/here")}))
			if r.status == 0 || strings.Contains(r.stdout, "hidden") {
				t.Errorf("%s", r)
			}
		}
		wantEnd(t, h.run(t, h.both(true, call{words: []string{"here", "exit", "0"}, dir: h.path("work/own")})), 0, "ok")
		check := h.write(t, "deep.yaml", `filesystem: {write: ["{{cwd}}"], mask: ["{{cwd}}/deep/key"]}`+"\n", 0o644)
		if r := h.run(t, call{verb: "check", plain: true, words: []string{check}}); r.status != 1 || !strings.Contains(r.stdout+r.stderr, "lies deeper in the writable {{cwd}}") {
			t.Errorf("%s", r)
		}
	})
}
