package engine

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/elfclosure"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// resolved parses and resolves a policy as written.
func resolved(t testing.TB, text string) policy.Policy {
	t.Helper()
	p, err := registry.ParsePolicy("policy.yaml", []byte(text))
	if err != nil {
		t.Fatalf("parse %q: %v", text, err)
	}
	p, err = Resolve(p)
	if err != nil {
		t.Fatalf("resolve %q: %v", text, err)
	}
	return p
}

// everything is a host with all features.
func everything() feature.Set {
	var f []feature.Feature
	for _, name := range feature.Names() {
		k, _ := feature.Known(name)
		k.Present = true
		f = append(f, k)
	}
	return feature.NewSet(f...)
}

// without is a host that lacks some.
func without(names ...string) feature.Set {
	f := everything().All()
	for i := range f {
		for _, n := range names {
			f[i].Present = f[i].Present && f[i].Name != n
		}
	}
	return feature.NewSet(f...)
}

const triplet = "/usr/lib/x86_64-linux-gnu/"

// merged is a Debian host with a merged /usr, and jq as the program.
func merged(t testing.TB, text string) Input {
	lib := func(name, real string) elfclosure.File {
		return elfclosure.File{Path: "/lib/x86_64-linux-gnu/" + name, Real: triplet + real}
	}
	id := plan.Stamp{Path: "/usr/bin/jq", Dev: 1, Ino: 2, Size: 3, MtimeNs: 4, CtimeNs: 5}
	return Input{
		Build: "test", BootID: "boot", Command: "jq", Version: "1.0.0", Revision: "sha256:00", Generation: 7,
		Arch: "amd64", Policy: resolved(t, text), Features: everything(),
		Program: Program{Path: id.Path, Identity: id, Argv0: "jq", Closure: elfclosure.Closure{
			Loader: elfclosure.File{Path: "/lib64/ld-linux-x86-64.so.2", Real: triplet + "ld-linux-x86-64.so.2"},
			Libs:   []elfclosure.File{lib("libjq.so.1", "libjq.so.1.0.4"), lib("libc.so.6", "libc.so.6")},
		}},
		Host: Host{
			Links: []Link{{"/bin", "usr/bin"}, {"/lib", "usr/lib"}, {"/lib64", "usr/lib64"}, {"/sbin", "usr/sbin"}},
			Paths: map[string]PathFact{
				"/srv/in": {Directory, "/srv/in"}, "/srv/in/deep": {Directory, "/srv/in/deep"},
				"/srv/out": {Directory, "/data/out"}, "/etc/localtime": {RegularFile, "/usr/share/zoneinfo/UTC"},
				"/etc/ssl/certs": {Directory, "/etc/ssl/certs"}, "/usr/share/doc": {Directory, "/usr/share/doc"},
				"/srv/in/secret": {RegularFile, "/srv/in/secret"}, "/bin/sh": {RegularFile, "/usr/bin/dash"},
				"/usr/lib/plugins": {Directory, "/usr/lib/plugins"}, "/dev/fuse": {CharDevice, "/dev/fuse"},
				"/dev/vda": {OtherFile, "/dev/vda"}, "/proc/kcore": {RegularFile, "/proc/kcore"}, "/proc/acpi": {Directory, "/proc/acpi"},
				"/opt/tool": {Directory, "/opt/tool"}, "/usr/share/link/x": {Directory, "/opt/target/x"},
			},
			Exec: map[string]ExecFact{
				"/bin/sh":          {Program: true, Closure: elfclosure.Closure{Libs: []elfclosure.File{lib("libc.so.6", "libc.so.6")}}},
				"/usr/lib/plugins": {Closure: elfclosure.Closure{Libs: []elfclosure.File{lib("libm.so.6", "libm.so.6")}}},
			},
			LoaderCache: true, AlternativesExist: true,
			Stamps: []plan.Stamp{{Path: "/etc/ld.so.cache"}},
		},
		Stamps: []plan.Stamp{{Path: "/registry"}, {Path: "/registry/jq.yaml"}},
	}
}

// sizes are the compiler's business, not the engine's.
var instructions = regexp.MustCompile(`filter +\d+ instructions`)

func TestCompileGolden(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy string
		change func(*Input)
	}{
		{"empty", `{}`, nil},
		{"trees", `
filesystem:
  read: [/srv/in/deep, /srv/in, -/etc/localtime, /etc/ssl/certs, /usr/share/doc, /usr/share/link/x, -/absent, "{{cwd}}"]
  write: [/srv/out]
  tmpfs: [{path: /tmp, size: 8M, files: 10}, {path: /var/cache/x, size: 1M}]`, nil},
		{"masks", `
filesystem: {proc: full, read: [/srv/in], mask: [/srv/in/secret, /srv/in/deep, /proc/kcore, /usr/share/doc, /nowhere]}`, nil},
		{"masks-late", `
filesystem:
  read: [/srv/in, "{{cwd}}"]
  mask: ["{{cwd}}/.git", "{{cwd}}/deep/.env", /srv/in/secret, /opt/tool, /nowhere, /proc/kcore]`, nil},
		{"masks-late-writable", `
filesystem:
  read: [/srv/in]
  write: ["{{cwd}}"]
  mask: ["{{cwd}}/.git", /srv/in/secret, /nowhere]`, nil},
		{"masks-of-parameters", `filesystem: {mask: ["{{cwd}}/.git", /opt/tool]}`, pathParameter},
		{"masks-of-nothing", `filesystem: {mask: ["{{cwd}}/.git", /opt/tool, /nowhere]}`, nil},
		{"exec-program", `filesystem: {exec: [/bin/sh]}`, nil},
		{"exec-plugins", `filesystem: {exec: [/usr/lib/plugins]}`, nil},
		{"exec-view", `filesystem: {exec: [view], read: [/srv/in]}`, nil},
		{"view-none", "filesystem: {view: none, read: [/srv/in]}\n", func(in *Input) {
			in.Policy.Filesystem.Proc = ""
		}},
		{"owner", `filesystem: {read: [{path: /srv/in, as: owner}, "{{cwd}}"], write: ["{{cwd}}"]}`, nil},
		{"bundle", `filesystem: {exec: ["{{bundle}}/plugins"]}`, func(in *Input) {
			in.BundleDir = "/store/ab"
			in.Program.Path, in.Program.Identity.Path = "/store/ab/bin/dump", "/store/ab/bin/dump"
			in.Program.Closure.Libs = append(in.Program.Closure.Libs, elfclosure.File{Path: "/store/ab/lib/libown.so", Real: "/store/ab/lib/libown.so.1", Private: true})
			in.Host.Paths["/store/ab/plugins"] = PathFact{Directory, "/store/ab/plugins"}
			in.Args = []string{"--conf", "{{bundle}}/conf"}
		}},
		{"declared", `{}`, func(in *Input) {
			in.Declared, in.Summary = true, "Dump one database"
			in.Params = []plan.Param{
				{Name: "db", Type: plan.ParamString, Chars: "a-z", Max: 63, Required: true, Position: 1},
				{Name: "v", Type: plan.ParamBool, Max: 5, Default: "true", HasDefault: true},
				{Name: "format", Type: plan.ParamEnum, List: true, Values: []string{"plain", ""}, Max: 9},
				{Name: "out", Type: plan.ParamPath, Access: plan.AccessCreate, Max: 4095, Position: 2},
			}
			in.Args = []string{"--fixed={{bundle}}", "", "--db={{db}}@{{cwd}}", "", "{{v?-v}}", "{{format}}", "{{out}}"}
		}},
		{"declared-nothing", `{}`, func(in *Input) { in.Declared = true }},
		{"script", `{}`, func(in *Input) {
			in.Program.Script = &Script{Path: "/home/u/run.sh", Stamp: plan.Stamp{Path: "/home/u/run.sh"}, Interpreter: "/usr/bin/jq", Args: []string{"-f"}}
			in.Args = []string{"x"}
		}},
		{"outside", `{}`, func(in *Input) {
			in.Program.Path, in.Program.Identity.Path = "/opt/tool/bin/t", "/opt/tool/bin/t"
		}},
		{"outside-origin", `{}`, func(in *Input) {
			in.Program.Path, in.Program.Identity.Path = "/opt/tool/bin/t", "/opt/tool/bin/t"
			in.Program.Closure.Libs = append(in.Program.Closure.Libs, elfclosure.File{Path: "/opt/tool/lib/libt.so.1", Real: "/opt/tool/lib/libt.so.1.2", Private: true})
		}},
		{"unmerged", `{}`, func(in *Input) {
			in.Host.Links = []Link{{Path: "/bin"}, {Path: "/lib"}, {"/lib64", "lib"}}
			in.Program.Closure.Loader.Real = "/lib/ld-2.so"
			in.Program.Closure.Libs = []elfclosure.File{{Path: "/lib/libc.so.6", Real: "/lib/libc-2.so"}}
		}},
		{"static", `{}`, func(in *Input) {
			in.Program.Closure = elfclosure.Closure{}
			in.Host.LoaderCache, in.Host.Stamps = false, nil
		}},
		{"limits", `
limits: {memory_max: 64M, memory_swap_max: 0, -pids_max: 8, cpu_max: 50%, cpu_weight: 10, timeout: 5s, output_max: 1M, rlimit_nofile: 32, -rlimit_fsize: 1M}
env: {pass: [HOME2], set: {B: x, A: "1"}}
network: {mode: loopback}
require: [userns, cgroup.memory]
memory_deny_write_execute: false`, func(in *Input) { in.Policy.Devices = []string{"/dev/fuse"} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := merged(t, tt.policy)
			if tt.change != nil {
				tt.change(&in)
			}
			p, err := Compile(in)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tt.name+".plan", instructions.ReplaceAllString(Describe(p), "filter       N instructions"))
			b, err := p.Encode()
			if err != nil {
				t.Fatal(err)
			}
			back, err := plan.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := back.Encode(); err != nil || !bytes.Equal(b, again) {
				t.Errorf("the plan does not survive its encoding: %v", err)
			}
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got, refresh with -update):\n%s", file, d)
	}
}

func TestRulesetGolden(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		in := merged(t, `{}`)
		in.Arch = arch
		rs, err := Ruleset(in)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "base-"+arch+".filter", filter.Describe(rs))
	}
}

func TestCompileIsPure(t *testing.T) {
	const text = `{filesystem: {read: [/srv/in], exec: [/bin/sh]}, syscalls: {allow: [ptrace], deny: ["@mount"]}}`
	in, same := merged(t, text), merged(t, text)
	a, err := Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(same.Policy, in.Policy); d != "" {
		t.Errorf("Compile changes the policy:\n%s", d)
	}
	if d := cmp.Diff(same.Host, in.Host); d != "" {
		t.Errorf("Compile changes the host's facts:\n%s", d)
	}
	for range 5 {
		b, err := Compile(merged(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(a, b); d != "" {
			t.Fatalf("two plans of one input differ:\n%s", d)
		}
	}
}

// TestViewOrder checks what every plan must keep: mount points before what
// lies in them, nothing writable and executable, the seals last.
func TestViewOrder(t *testing.T) {
	for _, text := range []string{
		`{}`, `filesystem: {read: [/srv/in/deep, /srv/in], write: [/srv/out], exec: [view]}`,
		`filesystem: {proc: full, write: ["{{cwd}}"], exec: [/bin/sh]}`,
	} {
		p, err := Compile(merged(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if last := p.View[len(p.View)-1]; last.Kind != plan.Seal || last.Path != "/" {
			t.Errorf("%s: the last step is %s, want the seal of /", text, stepText(&last))
		}
		program := 0
		made := map[string]bool{"/": true}
		for _, s := range p.View {
			if s.Flags&plan.Writable != 0 && s.Flags&plan.Executable != 0 {
				t.Errorf("%s: %s", text, stepText(&s))
			}
			if s.Kind == plan.Tmpfs && s.Flags&plan.Executable != 0 {
				t.Errorf("%s: %s", text, stepText(&s))
			}
			if s.Path == p.Exec.Inside && s.Source == p.Exec.Path && s.Flags&plan.Executable != 0 {
				program++
			}
			if s.Flags&(plan.Exists|plan.SourceCwd) == 0 && s.Kind != plan.Seal && !made[filepath.Dir(s.Path)] {
				t.Errorf("%s: %s: its directory is not made", text, stepText(&s))
			}
			made[s.Path] = true
		}
		if program != 1 {
			t.Errorf("%s: the program is bound %d times, want once", text, program)
		}
	}
}
