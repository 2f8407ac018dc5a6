package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/internal/yamlnode"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

const whole = `sandbox_owner: sbx-data
id_base: 1879048192
require: [cgroup.memory, userns]
daemon: required
metrics: {collectors: [runs, launch]}
audit: {file: /var/log/sbx/audit.log}
`

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Config
	}{
		{whole, Config{
			SandboxOwner: "sbx-data", IDBase: 1879048192, Require: []string{"cgroup.memory", "userns"}, Daemon: DaemonRequired,
			Collectors: []string{"runs", "launch"}, AuditFile: "/var/log/sbx/audit.log",
		}},
		{"{}", Config{}},
		{"daemon: optional\nmetrics: {collectors: []}\nrequire: []\n", Config{Collectors: []string{}, Require: []string{}}},
	} {
		got, err := Parse("sbx.yaml", []byte(tt.text))
		if d := cmp.Diff(tt.want, got); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", tt.text, err, d)
		}
	}
	if got := (Config{}).Owner(); got != "sbx" {
		t.Errorf("owner when nothing is said: %q", got)
	}
	if got := (Config{SandboxOwner: "x"}).Owner(); got != "x" {
		t.Errorf("owner: %q", got)
	}
}

// TestParseRefuses: each mistake with its place and, where there is one, what
// was meant.
func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want, hint string }{
		{"requires: [userns]", `sbx.yaml:1:1: configuration: unknown key "requires"`, `did you mean "require"?`},
		{"daemon: optional\nsandbox_owner: root", `2:16: sandbox_owner: nothing is written as root`, "name a user"},
		{"sandbox_owner: Sbx", `1:16: sandbox_owner: "Sbx" is not a user name`, "useradd"},
		{"id_base: 1000", `1:10: id_base: 1000 is out of range`, "nobody's"},
		{"id_base: 4294967295", `1:10: id_base: 4294967295 is out of range`, "nobody's"},
		{"id_base: many", `1:10: id_base:`, "digits"},
		{"require: [cgroup.memroy]", `1:11: require: unknown layer "cgroup.memroy"`, `did you mean "cgroup.memory"?`},
		{"require: userns", `1:10: require: want a list`, "write [userns]"},
		{"require: [userns, userns]", `1:19: require: "userns" is listed twice`, "keep one"},
		{"daemon: require", `1:9: daemon: unknown value "require"`, `did you mean "required"?`},
		{"daemon: true", `1:9: daemon: unknown value "true"`, "one of: optional, required"},
		{"metrics: {collector: [a]}", `1:11: metrics: unknown key "collector"`, `did you mean "collectors"?`},
		{"metrics: {collectors: [A]}", `1:24: metrics.collectors: "A" is not a name`, "lower-case"},
		{"audit: {file: audit.log}", `1:15: audit.file: "audit.log" is not an absolute`, "/var/log"},
		{"audit: {file: /var/../x}", `1:15: audit.file: "/var/../x" is not an absolute`, "/var/log"},
		{"audit: /var/log/x", `1:8: audit: want a mapping`, ""},
		{"a: &b c", `anchor`, ""},
	} {
		_, err := Parse("sbx.yaml", []byte(tt.text))
		var at *yamlnode.Error
		if !errors.As(err, &at) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(at.Hint(), tt.hint) {
			t.Errorf("%s\ngot  %v\nwant %s, hint %s", tt.text, err, tt.want, tt.hint)
		}
	}
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sbx.yaml")
	got, err := LoadFile(path)
	if want := (Config{Stamp: plan.Stamp{Path: path, Absent: true}}); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("no file: %+v, %v", got, err)
	}
	if err := os.WriteFile(path, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err = LoadFile(path)
	if err != nil || got.AuditFile == "" || got.Stamp.Ino == 0 || got.Stamp.Size != int64(len(whole)) || got.Stamp.Absent {
		t.Errorf("a file: %+v, %v", got, err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	var owner *safefs.OwnerError
	if _, err := LoadFile(path); !errors.As(err, &owner) {
		t.Errorf("a file that others may write: %v", err)
	}
	var kind *safefs.KindError
	if _, err := LoadFile(dir); !errors.As(err, &kind) {
		t.Errorf("a directory: %v", err)
	}
	if os.Geteuid() == 0 {
		if err := errors.Join(os.Chmod(path, 0o644), os.Chown(path, 1000, 1000)); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadFile(path); !errors.As(err, &owner) {
			t.Errorf("an ordinary user's file: %v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("{}"))
	f.Add([]byte("require: [x]\nmetrics: {collectors: a}"))
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := Parse("sbx.yaml", src)
		var at *yamlnode.Error
		if err != nil && !errors.As(err, &at) {
			t.Fatalf("%T is not a *yamlnode.Error: %v", err, err)
		}
		if err == nil && c.IDBase != 0 && c.IDBase < minIDBase {
			t.Fatalf("id base %d", c.IDBase)
		}
	})
}
