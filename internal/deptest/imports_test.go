package deptest

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// ban is an import that a package must not have, and why.
type ban struct{ imported, reason string }

// own makes the path of one of our packages.
func own(short string) string { return module + "/" + short }

const (
	yaml       = "github.com/goccy/go-yaml"
	cobra      = "github.com/spf13/cobra"
	fsnotify   = "github.com/fsnotify/fsnotify"
	libseccomp = "github.com/seccomp/libseccomp-golang"
	minisign   = "aead.dev/minisign"
)

// TestHotPath: what sbx links is paid for by every invocation. The bans hold
// for everything that is linked, the standard library's own needs included.
func TestHotPath(t *testing.T) {
	sbx := find(t, "cmd/sbx")
	bans := []ban{
		{"runtime/cgo", "cgo makes every start slower by about 0.6 ms"},
		{libseccomp, "it is cgo, and compiling a filter takes milliseconds: plans hold compiled filters"},
		{yaml, "plans are compiled when a bundle is loaded; nothing is parsed here"},
		{cobra, "verbs with flags and help are sbxd's"},
		{"github.com/spf13/pflag", "see cobra"},
		{"github.com/prometheus", "metrics are the daemon's; linked, it more than doubles the start"},
		{"github.com/cilium/ebpf", "BPF is sbxd's"},
		{"github.com/containerd/cgroups", "internal/cgroup does what a run needs"},
		{fsnotify, "watching the registry is the daemon's"},
		{"net", "a client of the daemon's socket needs x/sys/unix only"},
		{"fmt", "it costs a quarter of a millisecond at every start; messages are put together with strconv"},
		{"encoding/json", "see fmt; the report is written by hand (runner/json.go)"},
		{"regexp", "compiled at start"},
		{"log", "sbx prints, see ctl.Say"},
		{"flag", "it needs fmt"},
		{"os/exec", "it searches PATH: sbxd is found beside sbx and nowhere else"},
		{"os/signal", "it starts threads at every run; docs/adr/0007"},
		{"context", "nothing here is canceled by one"},
		{"text", "see fmt"},
		{"crypto", "digests are taken when a bundle is loaded"},
		{own("policy"), "policies are compiled, never read here"},
		{own("registry"), "bundles are loaded by sbxd"},
		{own("internal/engine"), "it makes plans; sbx carries them out"},
		{own("internal/filter"), "it makes filters; sbx loads the bytes"},
		{own("internal/feature"), "the host is probed when a plan is made"},
		{own("internal/testenv"), "for tests only"},
	}
	for _, b := range bans {
		for _, d := range sbx.Deps {
			if matches(d, b.imported) {
				t.Errorf("cmd/sbx links %s, which it must not: %s", d, b.reason)
			}
		}
	}
	for _, d := range append(slices.Clone(sbx.Deps), sbx.ImportPath) {
		if p := packages(t)[d]; p != nil && len(p.CgoFiles) > 0 && !p.Standard {
			t.Errorf("cmd/sbx links %s, which has cgo files", d)
		}
	}
}

// TestStaticBuild: sbx builds where there is no C compiler, for both
// architectures.
func TestStaticBuild(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		cmd := exec.Command("go", "vet", "./cmd/sbx")
		cmd.Dir = root(t)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch, "GOFLAGS=-buildvcs=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s without cgo: %v\n%s", arch, err, out)
		}
	}
}

// rooms are the boundaries between packages. A ban holds for the package and
// for whatever of ours it imports.
var rooms = []struct {
	pkg  string
	bans []ban
	// only, when not nil, are all imports outside the standard library that
	// the package may have.
	only []string
}{
	{pkg: "policy", only: []string{}, bans: []ban{
		{"os", "a policy is a value: it reads no file and no process"},
		{"io/fs", "see os"},
		{"syscall", "names and numbers are data; the kernel is not asked"},
		{"net", "see os"},
	}},
	{pkg: "policies", only: []string{}, bans: []ban{
		{"os", "shipped policies are data and their embedding"},
		{"fmt", "see os"},
		{"strings", "see os"},
	}},
	{pkg: "internal/plan", only: []string{}, bans: []ban{
		{"os", "a plan is data, the same on every host; who reads one checks its owner first"},
		{"syscall", "see os"},
		{"encoding/json", "linked into sbx"},
		{"fmt", "linked into sbx"},
	}},
	{pkg: "internal/params", only: []string{own("internal/plan")}, bans: []ban{
		{"os", "values are texts; who opens what they name is internal/ctl"},
		{"syscall", "see os"},
		{"fmt", "linked into sbx"},
		{"regexp", "linked into sbx"},
		{"reflect", "linked into sbx"},
		{"encoding/json", "linked into sbx"},
	}},
	{pkg: "internal/yamlnode", only: []string{yaml, own("policy")}, bans: []ban{
		{"os", "it is given bytes"},
	}},
	{pkg: "internal/sign", only: []string{minisign, "golang.org/x/sys/unix", own("internal/plan"), own("internal/safefs"), own("internal/yamlnode"), own("policy")}, bans: []ban{
		{own("registry"), "it is asked before a bundle is parsed: it gets a name, a digest and bytes"},
		{own("internal/engine"), "see registry"},
		{"os/exec", "it starts nothing"},
		{"net", "keys and revocations are files"},
	}},
	{pkg: "internal/publish", bans: []ban{
		{own("internal/engine"), "whether the host can run a bundle is asked by a function that it is given"},
		{own("internal/ctl"), "it prints nothing and knows no flags"},
		{own("registry/chain"), "it changes the registry; what is in force is the loader's"},
		{"os/exec", "it starts nothing"},
		{"net", "bundles from elsewhere are another issue's"},
	}},
	{pkg: "nsexec", only: []string{"golang.org/x/sys/unix", own("internal/plan"), own("internal/weak")}, bans: []ban{
		{"C", "the child is a copy of a Go process: no C code may run in it"},
		{"fmt", "linked into sbx"},
		{"log", "errors go up; nothing is printed beside a running child"},
		{"os/exec", "it clones by itself"},
		{"net", "a launch has no business with names and addresses"},
	}},
	{pkg: "internal/weak", only: []string{}, bans: []ban{
		{"os", "linked into sbx; but for tests it is two constants"},
		{"fmt", "linked into sbx"},
	}},
	{pkg: "internal/cgroup", only: []string{"golang.org/x/sys/unix"}, bans: []ban{
		{"log", "linked into sbx; errors go up"},
		{"fmt", "linked into sbx"},
		{"os/exec", "it starts nothing"},
	}},
	{pkg: "internal/links", only: []string{}, bans: []ban{
		{"fmt", "linked into sbx"},
		{"path/filepath", "linked into sbx; paths of Linux are package path's"},
	}},
	{pkg: "internal/safefs", only: []string{"golang.org/x/sys/unix"}, bans: []ban{
		{"fmt", "linked into sbx"},
		{"path/filepath", "it walks by descriptor; paths are not put together and resolved again"},
	}},
	{pkg: "internal/state", bans: []ban{
		{own("policy"), "it keeps plans; it does not make them"},
		{own("registry"), "see policy"},
		{"fmt", "linked into sbx"},
	}},
	{pkg: "runner", bans: []ban{
		{own("registry"), "it carries out one plan and knows no bundle; the engine brings the two together"},
		{own("policy"), "a plan holds everything that it needs"},
		{own("internal/engine"), "the engine asks it, not the other way round"},
		{own("internal/loader"), "see engine"},
		{own("internal/ctl"), "it prints nothing and knows no flags"},
		{"fmt", "linked into sbx"},
		{"log", "the report says it"},
	}},
	{pkg: "registry", bans: []ban{
		{own("runner"), "it starts no process"},
		{own("nsexec"), "see runner"},
		{own("internal/cgroup"), "it knows no control groups"},
		{own("internal/filter"), "it knows no seccomp"},
		{own("internal/engine"), "the engine takes bundles from it"},
		{"os/exec", "it starts no process"},
	}},
	{pkg: "service", bans: []ban{
		{cobra, "it is for programs; flags are the command's"},
		{"net", "it serves the program that it is linked into; sockets are the daemon's"},
		{own("internal/daemon"), "see net"},
		{own("internal/testenv"), "for tests only"},
	}},
	{pkg: "registry/snapshot", only: []string{}, bans: []ban{
		{"os", "it is memory and nothing else"},
	}},
	{pkg: "registry/watch", only: []string{fsnotify, "golang.org/x/sys/unix"}, bans: []ban{
		{own("registry"), "a hint knows paths and no bundles"},
		{"os/exec", "it starts nothing"},
	}},
	{pkg: "registry/life", only: []string{"golang.org/x/mod"}, bans: []ban{
		{"os", "a state machine is values; registry/chain keeps them"},
		{"syscall", "see os"},
		{"math/rand", "the same steps give the same states"},
	}},
	{pkg: "registry/chain", only: []string{"golang.org/x/sys/unix", own("internal/safefs"), own("internal/plan"), own("registry")}, bans: []ban{
		{own("internal/state"), "it is given its directory"},
		{own("internal/engine"), "it keeps what it is given"},
		{"os/exec", "it starts no process"},
	}},
	{pkg: "internal/config", only: []string{"golang.org/x/sys/unix", own("internal/plan"), own("internal/safefs"), own("internal/yamlnode"), own("policy")}, bans: []ban{
		{own("internal/engine"), "it says what the file says; what that means for a plan is the engine's"},
		{own("internal/ctl"), "no flag and no variable changes where it is"},
		{"os/exec", "it starts nothing"},
	}},
	{pkg: "internal/filter", only: []string{"golang.org/x/sys/unix", libseccomp, own("internal/syscalls")}, bans: []ban{
		{own("policy"), "a ruleset is numbers; what a policy means is the engine's"},
		{"os/exec", "it starts nothing"},
	}},
	{pkg: "internal/engine", bans: []ban{
		{own("internal/ctl"), "it knows no flags"},
		{own("nsexec"), "it makes plans; the runner carries them out"},
		{cobra, "see internal/ctl"},
		{"flag", "see internal/ctl"},
		{"net", "it knows no sockets"},
	}},
	{pkg: "internal/wire", only: []string{"golang.org/x/sys/unix", own("internal/plan"), own("runner")}, bans: []ban{
		{"encoding/json", "linked into sbx"},
		{"fmt", "linked into sbx"},
		{"net", "linked into sbx"},
		{own("internal/ctl"), "it knows messages, not flags"},
	}},
	{pkg: "internal/daemon", bans: []ban{
		{own("policy"), "it answers callers; what a policy means is in the plan"},
		{own("registry"), "it is given commands by name (Commands)"},
		{own("internal/filter"), "it launches compiled plans"},
		{cobra, "flags and help belong to the command"},
		{"net/http", "the run socket speaks internal/wire; the admin API is a room of its own"},
	}},
	{pkg: "internal/admin", only: []string{"golang.org/x/sys/unix", own("internal/safefs")}, bans: []ban{
		{own("internal/daemon"), "it shows what it is told and asks by its own interfaces; internal/ops ties the two together"},
		{own("registry"), "see internal/daemon"},
		{own("policy"), "see internal/daemon"},
		{own("runner"), "see internal/daemon"},
		{"github.com/prometheus", "metrics come as a handler"},
		{"os/exec", "it starts nothing"},
	}},
	{pkg: "internal/metrics", bans: []ban{
		{own("registry"), "it counts what it is told"},
		{own("policy"), "see registry"},
		{own("internal/admin"), "it is a handler there, and knows no other route"},
		{"os/exec", "it starts nothing"},
	}},
	{pkg: "internal/systemd", only: []string{"golang.org/x/sys/unix", "github.com/coreos/go-systemd/v22"}, bans: []ban{
		{"github.com/coreos/go-systemd/v22/dbus", "units are files in dist/systemd; nothing is asked over a bus"},
		{"os/exec", "it starts nothing"},
	}},
	{pkg: "internal/harden", only: []string{"golang.org/x/sys/unix", own("internal/filter"), own("internal/syscalls")}, bans: []ban{
		{own("policy"), "what it takes away does not depend on any policy"},
		{"os/exec", "it executes nothing but this program itself"},
	}},
	{pkg: "internal/observe", bans: []ban{
		{own("policy"), "it hands on what the daemon tells"},
		{own("internal/engine"), "see policy"},
		{"github.com/prometheus", "see internal/metrics"},
		{"os/exec", "it starts nothing"},
	}},
	{pkg: "internal/audit", only: []string{"golang.org/x/sys/unix", own("internal/safefs")}, bans: []ban{
		{own("policy"), "a record is plain words; who fills it knows what they mean"},
		{own("runner"), "see policy"},
		{"log", "what an operator must hear goes to Options.Warn"},
		{"net", "it writes files"},
		{"os/exec", "it starts nothing"},
	}},
	{pkg: "internal/ctl", bans: []ban{
		{own("policy"), "linked into sbx"},
		{own("registry"), "linked into sbx"},
	}},
}

func TestRooms(t *testing.T) {
	for _, room := range rooms {
		t.Run(room.pkg, func(t *testing.T) {
			imports := ownImports(t, find(t, room.pkg))
			for imported, by := range imports {
				for _, b := range room.bans {
					if matches(imported, b.imported) {
						t.Errorf("%s imports %s (by %s), which it must not: %s", room.pkg, imported, by, b.reason)
					}
				}
				if room.only == nil || imported == "C" {
					continue
				}
				p := packages(t)[imported]
				if p == nil || p.Standard || slices.ContainsFunc(room.only, func(allowed string) bool { return matches(imported, allowed) }) {
					continue
				}
				if by == room.pkg {
					t.Errorf("%s imports %s; outside the standard library it may import only %q", room.pkg, imported, room.only)
				}
			}
		})
	}
}

// TestSoleImporters: what only one package may import.
func TestSoleImporters(t *testing.T) {
	tests := []struct {
		imported string
		allowed  []string
		reason   string
	}{
		{libseccomp, []string{"internal/filter"}, "it is the only cgo, and the oracle of one compiler"},
		{yaml, []string{"internal/yamlnode"}, "strictness and positions are decided in one place"},
		{fsnotify, []string{"registry/watch"}, "what an event is worth is decided in one place"},
		{minisign, []string{"internal/sign"}, "what is accepted as a signature is decided in one place"},
		{cobra, []string{"cmd/sbxd"}, "flags and help belong to the command"},
		{own("internal/testenv"), nil, "for tests only"},
		{"github.com/coreos/go-systemd", []string{"internal/systemd"}, "one place speaks with the service manager"},
		{"github.com/prometheus", []string{"internal/metrics"}, "labels are bounded in one place"},
		{"github.com/containerd/cgroups", []string{"internal/metrics"}, "it reads statistics; groups are internal/cgroup's"},
		{"plugin", nil, "nothing is loaded into a running sbx"},
		{"net/http/pprof", nil, "it registers itself on import"},
	}
	for _, tt := range tests {
		found := false
		for _, p := range ourPackages(t) {
			if !slices.ContainsFunc(p.Imports, func(i string) bool { return matches(i, tt.imported) }) {
				continue
			}
			found = true
			if !slices.Contains(tt.allowed, p.short()) {
				t.Errorf("%s imports %s, which only %q may: %s", p.short(), tt.imported, tt.allowed, tt.reason)
			}
		}
		if !found && len(tt.allowed) > 0 {
			t.Errorf("nobody imports %s: drop its rule", tt.imported)
		}
	}
	for _, p := range ourPackages(t) {
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s has cgo files %q: cgo comes in by internal/filter and %s alone", p.short(), p.CgoFiles, libseccomp)
		}
	}
}

// TestBlackBox: tests of the built program do not look into its mechanisms.
func TestBlackBox(t *testing.T) {
	mechanisms := []string{"nsexec", "runner", "internal/cgroup", "internal/filter", "internal/engine", "internal/ctl", "internal/loader", "internal/state"}
	for _, short := range []string{"test/integration", "test/hostile"} {
		p := find(t, short)
		for _, list := range [][]string{p.Imports, p.TestImports, p.XTestImports} {
			for _, i := range list {
				if slices.Contains(mechanisms, strings.TrimPrefix(i, module+"/")) {
					t.Errorf("%s imports %s: it tests the built program from outside", short, i)
				}
			}
		}
	}
}
