package registry

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/policy"
)

var update = flag.Bool("update", false, "rewrite the messages at the end of testdata/*.bad.yaml")

// marker begins the pinned message at the end of a bad file.
const marker = "# want:\n"

// TestBad holds every bad manifest to its message, excerpt and hint.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d bad files, want at least 40: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.yaml"), func(t *testing.T) {
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			src, want, pinned := strings.Cut(string(whole), marker)
			_, err = ParseManifest("bundle.yaml", []byte(src))
			if err == nil {
				t.Fatal("accepted")
			}
			var located *yamlnode.Error
			if !errors.As(err, &located) || located.Pos.Line == 0 {
				t.Errorf("no position in %v", err)
			}
			got := ""
			for _, line := range strings.Split(yamlnode.Format(err, "bundle.yaml", []byte(src)), "\n") {
				got += strings.TrimRight("# "+line, " ") + "\n"
			}
			if *update {
				if err := os.WriteFile(file, []byte(src+marker+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !pinned {
				t.Fatalf("no pinned message; got\n%s", got)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGood: every key arrives where it belongs.
func TestGood(t *testing.T) {
	src, err := os.ReadFile("testdata/full.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseManifest("bundle.yaml", src)
	if err != nil {
		t.Fatal(yamlnode.Format(err, "bundle.yaml", src))
	}
	want := Manifest{
		Name: "db.backup", Version: "2.4.1-rc.1", Summary: "Dump one database",
		Exec: Exec{
			Path: "bin/dump", SHA256: strings.Repeat("0123456789abcdef", 4), Argv0: "pg_dump",
			Argv: []string{"--format=custom", "--name={{db}}", "{{tables}}", "{{verbose?--verbose}}", "{{out}}", "", "{{cwd}}/x", "{{bundle}}"},
		},
		Params: []Param{
			{Name: "db", Type: "string", Chars: "a-z0-9_", Max: 63, Required: true, Help: "database name"},
			{Name: "out", Type: "path", Access: "create", Position: 1, Max: DefaultParamMax},
			{Name: "tables", Type: "string", List: true, Position: 2, Max: DefaultParamMax},
			{Name: "verbose", Type: "bool", Max: DefaultParamMax},
			{Name: "level", Type: "enum", Values: []string{"fast", "best"}, Default: "fast", HasDefault: true, Max: DefaultParamMax},
			{Name: "password", Type: "string", Secret: true, Max: DefaultParamMax},
			{Name: "wait", Type: "duration", Default: "5s", HasDefault: true, Max: DefaultParamMax},
		},
		Requires: Requires{SBX: ">=0.3", Commands: []string{"db.list"}, Features: []string{"landlock", "cgroup.memory"}},
		Floor:    "2.0.0", Counter: map[string]uint64{"host-a": 2, "host-b.example": 0},
		Checks: []Check{
			{Argv: []string{"--version"}},
			{Argv: []string{"trace"}, Violation: "ptrace"},
		},
		OnViolation: OnViolationQuarantine,
		Probation:   Probation{Runs: 5, Window: 24 * time.Hour}, RevertBudget: RevertBudget{Count: 1, Window: 24 * time.Hour},
		Allow:  Allow{Users: []string{}, Groups: []string{"ops"}},
		Policy: policy.Policy{Filesystem: policy.Filesystem{Write: []policy.PathRule{{Path: "/var/backups"}}}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreTypes(policy.Pos{}, []policy.Pos{}, policy.Places{})); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

// TestDefaults: what a manifest does not state.
func TestDefaults(t *testing.T) {
	got, err := ParseManifest("bundle.yaml", []byte("apiVersion: sbx/v1\nname: a\nversion: 1.0.0\nexec: {path: /bin/true}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Manifest{
		Name: "a", Version: "1.0.0", Exec: Exec{Path: "/bin/true"},
		OnViolation: OnViolationRevert,
		Probation:   Probation{Runs: 5, Window: 24 * time.Hour}, RevertBudget: RevertBudget{Count: 1, Window: 24 * time.Hour},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreTypes(policy.Pos{}, []policy.Pos{}, policy.Places{})); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

func FuzzManifest(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "../policies/commands/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		m, err := ParseManifest("f", src)
		if err != nil {
			var located *yamlnode.Error
			if !errors.As(err, &located) {
				t.Fatalf("%T is not a *yamlnode.Error: %v", err, err)
			}
			return
		}
		if CheckName(m.Name) != nil || !IsVersion(m.Version) || m.Exec.Path == "" || strings.HasPrefix(m.Exec.Path, "..") {
			t.Errorf("accepted %q %q %q", m.Name, m.Version, m.Exec.Path)
		}
	})
}
