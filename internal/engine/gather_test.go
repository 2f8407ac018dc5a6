package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/registry"
)

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestGatherProgram(t *testing.T) {
	dir := tempDir(t)
	cat, err := os.ReadFile("/usr/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cat)
	digest := hex.EncodeToString(sum[:])
	elf := write(t, dir+"/elf", string(cat), 0o755)
	write(t, dir+"/plain", string(cat), 0o644)
	write(t, dir+"/text", "echo\n", 0o755)
	write(t, dir+"/sh", "#!/bin/sh -e  -u \necho\n", 0o755)
	write(t, dir+"/env", "#! /usr/bin/env cat\n", 0o755)
	write(t, dir+"/envS", "#!/usr/bin/env -S cat -u  -v\n", 0o755)
	write(t, dir+"/envquote", "#!/usr/bin/env -S cat 'a b'\n", 0o755)
	write(t, dir+"/envvar", "#!/usr/bin/env A=1 cat\n", 0o755)
	write(t, dir+"/envnone", "#!/usr/bin/env no-such-program\n", 0o755)
	write(t, dir+"/relative", "#!sh\n", 0o755)
	write(t, dir+"/twice", "#!"+dir+"/sh\n", 0o755)
	write(t, dir+"/long", "#!/bin/sh "+strings.Repeat("x", 300)+"\n", 0o755)
	write(t, dir+"/gone", "#!/no/such/interpreter\n", 0o755)
	if err := os.Symlink("elf", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop", dir+"/loop"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", dir+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	libc, _ := filepath.Glob("/usr/lib/*-linux-gnu/libm.so.6")
	if len(libc) == 0 {
		t.Fatal("no libm to refuse")
	}
	sh, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	library := write(t, dir+"/library", readAll(t, libc[0]), 0o755)

	for _, tt := range []struct {
		name   string
		req    Request
		path   string // of the program; empty: refused
		argv   []string
		status int
		want   string
	}{
		{name: "absolute", req: Request{Path: elf, Args: []string{"-n"}}, path: elf, argv: []string{"elf", "-n"}},
		{name: "argv0", req: Request{Path: elf, Argv0: "busy"}, path: elf, argv: []string{"busy"}},
		{name: "link", req: Request{Path: dir + "/link"}, path: elf, argv: []string{"link"}},
		{name: "in the bundle", req: Request{Path: "elf", BundleDir: dir}, path: elf, argv: []string{"elf"}},
		{name: "out of the bundle", req: Request{Path: "../elf", BundleDir: dir}, status: 126, want: "out of the bundle"},
		{name: "by PATH", req: Request{Path: "cat"}, path: "/usr/bin/cat", argv: []string{"cat"}},
		{name: "not by PATH", req: Request{Path: "no-such-program"}, status: 127, want: `no program "no-such-program" in /usr/local/bin:/usr/bin:/bin`},
		{name: "missing", req: Request{Path: dir + "/none"}, status: 127, want: "no program"},
		{name: "below a file", req: Request{Path: elf + "/x"}, status: 127, want: "no program"},
		{name: "empty", req: Request{}, status: 127, want: "no program is named"},
		{name: "no x bit", req: Request{Path: dir + "/plain"}, status: 126, want: "no execute permission"},
		{name: "directory", req: Request{Path: dir}, status: 126, want: "not a regular file"},
		{name: "socket", req: Request{Path: dir + "/socket"}, status: 126, want: "no such device or address"},
		{name: "link to itself", req: Request{Path: dir + "/loop"}, status: 126, want: "too many links"},
		{name: "text", req: Request{Path: dir + "/text"}, status: 126, want: "no ELF program"},
		{name: "library", req: Request{Path: library}, status: 126, want: "it is a library"},
		{name: "digest", req: Request{Path: elf, SHA256: digest}, path: elf, argv: []string{"elf"}},
		{name: "other digest", req: Request{Path: elf, SHA256: strings.Repeat("0", 64)}, status: 126, want: "its sha256 is " + digest},
		{name: "script", req: Request{Path: dir + "/sh", Args: []string{"x"}}, path: sh, argv: []string{"/bin/sh", "-e  -u", "/sbx/bin/sh", "x"}},
		{name: "env", req: Request{Path: dir + "/env"}, path: "/usr/bin/cat", argv: []string{"cat", "/sbx/bin/env"}},
		{name: "env -S", req: Request{Path: dir + "/envS"}, path: "/usr/bin/cat", argv: []string{"cat", "-u", "-v", "/sbx/bin/envS"}},
		{name: "env -S with quotes", req: Request{Path: dir + "/envquote"}, status: 126, want: "splitting at blanks"},
		{name: "env with variables", req: Request{Path: dir + "/envvar"}, status: 126, want: "is not env NAME"},
		{name: "env of nothing", req: Request{Path: dir + "/envnone"}, status: 127, want: "no-such-program"},
		{name: "relative interpreter", req: Request{Path: dir + "/relative"}, status: 126, want: "not an absolute path"},
		{name: "script of a script", req: Request{Path: dir + "/twice"}, status: 126, want: "is a script itself"},
		{name: "long line", req: Request{Path: dir + "/long"}, status: 126, want: "longer than 256"},
		{name: "interpreter missing", req: Request{Path: dir + "/gone"}, status: 127, want: "/no/such/interpreter"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.req.Policy, tt.req.Features = resolved(t, `{}`), everything()
			in, err := Gather(tt.req)
			if tt.path == "" {
				var e *Error
				if !errors.As(err, &e) || e.Status != tt.status || !strings.Contains(e.Error(), tt.want) {
					t.Errorf("Gather = %v, want status %d and %q", err, tt.status, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			p, err := Compile(in)
			if err != nil {
				t.Fatal(err)
			}
			if p.Exec.Path != tt.path || p.Exec.Identity.Path != tt.path {
				t.Errorf("executes %q, identity of %q; want %q", p.Exec.Path, p.Exec.Identity.Path, tt.path)
			}
			if d := cmp.Diff(tt.argv, p.Argv); d != "" {
				t.Errorf("argv (-want +got):\n%s", d)
			}
			if want, err := Stamp(tt.path); err != nil || p.Exec.Identity != want {
				t.Errorf("identity %+v, want %+v, %v", p.Exec.Identity, want, err)
			}
			if name := tt.req.Path; filepath.IsAbs(name) {
				// Whatever the request names is watched by its own name.
				if !slices.ContainsFunc(p.Stamps, func(s plan.Stamp) bool { return s.Path == name }) {
					t.Errorf("no stamp of %q", name)
				}
			}
		})
	}
}

func readAll(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestGatherView: facts and their effect, on real trees.
func TestGatherView(t *testing.T) {
	dir := tempDir(t)
	write(t, dir+"/in/a", "a", 0o644)
	write(t, dir+"/real/b", "b", 0o644)
	write(t, dir+"/exec/plain", "text", 0o644)
	write(t, dir+"/progs/run", "#!/bin/sh\n", 0o755)
	if err := os.Symlink(dir+"/real", dir+"/in/link"); err != nil {
		t.Fatal(err)
	}
	compile := func(text string) (*plan.Plan, error) {
		in, err := Gather(Request{Path: "/usr/bin/cat", Policy: resolved(t, strings.ReplaceAll(text, "DIR", dir)), Features: everything()})
		if err != nil {
			return nil, err
		}
		return Compile(in)
	}
	steps := func(p *plan.Plan) string {
		var b strings.Builder
		for _, s := range p.View {
			b.WriteString(strings.ReplaceAll(stepText(&s), dir, "DIR") + "\n")
		}
		return b.String()
	}
	for _, tt := range []struct {
		name, policy string
		want, not    []string
		once         bool
	}{
		{"read", `filesystem: {read: [DIR/in]}`, []string{"tree DIR/in\n"}, nil, true},
		{"through a link", `filesystem: {read: [DIR/in/link]}`, []string{"tree DIR/in/link from DIR/real\n"}, nil, true},
		{"mask through a link", `filesystem: {read: [DIR/real], mask: [DIR/in/link]}`, []string{"tmpfs DIR/real mode=0000"}, nil, true},
		{"mask of a tree shown elsewhere", `filesystem: {read: [DIR/in/link], mask: [DIR/real/b]}`, []string{"tree DIR/in/link/b from /dev/null"}, nil, true},
		{"mask above a tree", `filesystem: {read: [DIR/in], mask: [DIR]}`, []string{"tmpfs DIR/in mode=0000"}, nil, true},
		{"optional and absent", `filesystem: {read: [-DIR/none]}`, nil, []string{"DIR/none"}, true},
		{"plug-ins", `filesystem: {exec: [DIR/exec]}`, []string{"tree DIR/exec executable"}, nil, true},
		{"programs", `filesystem: {exec: [DIR/progs]}`, []string{"tree DIR/progs executable", "/etc/alternatives"}, nil, false},
		{"exec of a written tree", `filesystem: {write: [DIR/progs], exec: [DIR/progs]}`, []string{"tree DIR/progs writable mapped\n", "tree DIR/progs executable exists\n"}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := compile(tt.policy)
			if err != nil {
				t.Fatal(err)
			}
			got := steps(p)
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("no step %q in\n%s", w, got)
				}
			}
			for _, w := range tt.not {
				if strings.Contains(got, w) {
					t.Errorf("step %q in\n%s", w, got)
				}
			}
			if once := len(p.Filter.ExecOnce) > 0; once != tt.once {
				t.Errorf("exec-once is %v, want %v", once, tt.once)
			}
		})
	}
	_, err := compile(`filesystem: {read: [DIR/in, DIR/in/link]}`)
	var e *Error
	if !errors.As(err, &e) || e.Hint != "name "+dir+"/real" {
		t.Errorf("a tree behind a link in a tree: %v, want the hint to name it", err)
	}
	p, err := compile(`filesystem: {read: [-DIR/none]}`)
	if err != nil {
		t.Fatal(err)
	}
	absent := false
	for _, s := range p.Stamps {
		absent = absent || s.Absent && s.Path == dir+"/none"
	}
	if !absent {
		t.Error("an absent optional path leaves no stamp: its coming would go unseen")
	}
}

// TestGatherHostPrograms compiles plans for real programs with the probed
// features of this host; optional limits let that pass everywhere.
func TestGatherHostPrograms(t *testing.T) {
	features := feature.Probe()
	for _, name := range []string{"cat", "bash", "git", "jq", "perl", "node", "tar"} {
		path := "/usr/bin/" + name
		if _, err := os.Stat(path); err != nil {
			t.Logf("%s is not on this host", path)
			continue
		}
		in, err := Gather(Request{Path: path, Policy: resolved(t, `{}`), Features: features})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p, err := Compile(in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(p.View) > 120 || len(p.Filter.Insns)/8 > 1000 {
			t.Errorf("%s: %d steps, %d instructions", name, len(p.View), len(p.Filter.Insns)/8)
		}
		t.Logf("%-5s %d steps, %d instructions", name, len(p.View), len(p.Filter.Insns)/8)
	}
}

func TestForBundle(t *testing.T) {
	manifest := func(exec string) *registry.Bundle {
		exec, params, _ := strings.Cut(exec, " params: ")
		if params == "" {
			params = "[]"
		}
		m, err := registry.ParseManifest("x.yaml", []byte("apiVersion: sbx/v1\nname: x\nversion: 1.0.0\nexec: "+exec+"\nparams: "+params+"\npolicy: {env: {set: {A: b}}}\n"))
		if err != nil {
			t.Fatal(err)
		}
		return &registry.Bundle{Manifest: m, Digest: "sha256:1", Stamps: []plan.Stamp{{Path: "/r"}}}
	}
	r, err := ForBundle(manifest(`{path: /usr/bin/cat, args: passthrough, argv: [-n]}`), 3, "b", everything())
	if err != nil {
		t.Fatal(err)
	}
	if r.Declared || len(r.Params) != 0 {
		t.Errorf("passthrough declares %v", r.Params)
	}
	if r.Command != "x" || r.Version != "1.0.0" || r.Generation != 3 || r.Path != "/usr/bin/cat" || r.Policy.Env.Set["HOME"] != "/tmp" || r.Policy.Env.Set["A"] != "b" {
		t.Errorf("request %+v", r)
	}
	for exec, want := range map[string]string{
		`{path: bin/x, args: passthrough}`: "ships no files",
		`{path: /usr/bin/cat, args: declared, argv: ["{{p}}"]} params: [{name: p, type: path, access: read, secret: true}]`: `path "p" cannot be secret`,
		`{path: /usr/bin/cat} params: [{name: p, type: string}]`:                                                            `"p" is in no argument`,
		`{path: /usr/bin/cat, argv: ["{{p}}"]} params: [{name: p, type: int, default: x}]`:                                  "not a whole number",
		`{path: /usr/bin/cat, args: passthrough, argv: ["{{bundle}}/x"]}`:                                                   "ships no files",
	} {
		_, err := ForBundle(manifest(exec), 1, "b", everything())
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Error(), want) {
			t.Errorf("%s: %v, want %q", exec, err, want)
		}
	}
}

// TestForBundleParams: what a manifest declares, in the form of a plan.
func TestForBundleParams(t *testing.T) {
	m, err := registry.ParseManifest("x.yaml", []byte(`apiVersion: sbx/v1
name: db.backup
version: 1.0.0
summary: Dump one database
exec: {path: /usr/bin/cat, args: declared, argv: ["--db={{db}}", "{{v?-v}}", "{{tables}}"]}
params:
  - {name: db, type: string, chars: "a-c@", max: 63, required: true, position: 1, help: name}
  - {name: v, type: bool, default: "true"}
  - {name: tables, type: [enum], values: [a, b]}
  - {name: out, type: path, access: create, position: 2}
`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ForBundle(&registry.Bundle{Manifest: m}, 1, "b", everything())
	if err != nil {
		t.Fatal(err)
	}
	if !r.Declared || r.Summary != "Dump one database" {
		t.Errorf("declared %v, summary %q", r.Declared, r.Summary)
	}
	if d := cmp.Diff([]plan.Param{
		{Name: "db", Type: plan.ParamString, Chars: "a-c@", Set: [4]uint64{0, 1<<('a'&63) | 1<<('b'&63) | 1<<('c'&63) | 1<<('@'&63)}, Max: 63, Required: true, Position: 1, Help: "name"},
		{Name: "v", Type: plan.ParamBool, Max: registry.DefaultParamMax, Default: "true", HasDefault: true},
		{Name: "tables", Type: plan.ParamEnum, List: true, Values: []string{"a", "b"}, Max: registry.DefaultParamMax},
		{Name: "out", Type: plan.ParamPath, Access: plan.AccessCreate, Position: 2, Max: registry.DefaultParamMax},
	}, r.Params); d != "" {
		t.Error(d)
	}
}
