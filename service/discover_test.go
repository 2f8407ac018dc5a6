package service

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

type tools struct {
	DB struct {
		Backup struct {
			Program   `path:"/usr/bin/pg_dump" version:"2.4.1" summary:"Dump \"one\" database" argv:"--format=custom {{db}} {{dry-run?--dry-run}}" policy:"{network: {mode: loopback}, limits: {timeout: 30s}}"`
			DB        string        `required:"true" max:"63" chars:"a-z0-9_" help:"database: name"`
			Out       Path          `access:"create" position:"1"`
			DryRun    bool          `help:"do nothing"`
			Tables    []string      `name:"table"`
			HTTPPort  uint16        `default:"80"`
			Ratio     float64       `default:"0.5"`
			Wait      time.Duration `default:"5s"`
			Buffer    Size          `default:"1M"`
			Level     string        `values:"fast,best" default:"fast"`
			unexposed int
		}
	} `name:"db"`
	Hello   *hello
	private int
}

type hello struct {
	Program `path:"/bin/echo"`
}

func TestDiscover(t *testing.T) {
	_ = tools{private: 0}.DB.Backup.unexposed
	for _, v := range []any{tools{}, &tools{}, (*tools)(nil)} {
		manifests, err := Discover(v)
		if err != nil {
			t.Fatal(err)
		}
		if len(manifests) != 2 {
			t.Fatalf("%d manifests, want 2", len(manifests))
		}
		var got []registry.Manifest
		for _, m := range manifests {
			one, err := registry.ParseManifest("m", m)
			if err != nil {
				t.Fatalf("%v\n%s", err, m)
			}
			got = append(got, one)
		}
		d := uint64(registry.DefaultParamMax)
		want := registry.Manifest{
			Name: "db.backup", Version: "2.4.1", Summary: `Dump "one" database`,
			Exec: registry.Exec{Path: "/usr/bin/pg_dump", Argv0: "pg_dump", Argv: []string{"--format=custom", "{{db}}", "{{dry-run?--dry-run}}"}},
			Params: []registry.Param{
				{Name: "db", Type: "string", Required: true, Max: 63, Chars: "a-z0-9_", Help: "database: name"},
				{Name: "out", Type: "path", Access: "create", Position: 1, Max: d},
				{Name: "dry-run", Type: "bool", Help: "do nothing", Max: d},
				{Name: "table", Type: "string", List: true, Max: d},
				{Name: "http-port", Type: "int", Default: "80", HasDefault: true, Max: d},
				{Name: "ratio", Type: "float", Default: "0.5", HasDefault: true, Max: d},
				{Name: "wait", Type: "duration", Default: "5s", HasDefault: true, Max: d},
				{Name: "buffer", Type: "size", Default: "1M", HasDefault: true, Max: d},
				{Name: "level", Type: "enum", Values: []string{"fast", "best"}, Default: "fast", HasDefault: true, Max: d},
			},
			Probation: got[0].Probation, RevertBudget: got[0].RevertBudget,
		}
		if diff := cmp.Diff(want, got[0], cmpopts.IgnoreTypes(policy.Pos{}), cmpopts.IgnoreFields(registry.Manifest{}, "Policy")); diff != "" {
			t.Errorf("manifest (-want +got):\n%s", diff)
		}
		if got[0].Policy.Limits.Timeout == nil && cmp.Equal(got[0].Policy, got[1].Policy, cmpopts.IgnoreTypes(policy.Pos{})) {
			t.Error("the policy was left out")
		}
		if got[1].Name != "hello" || got[1].Version != "0.0.0" || got[1].Exec.Path != "/bin/echo" {
			t.Errorf("%+v", got[1])
		}
	}
}

// TestTags: text that is no list of key:"value" is refused; vet would find it
// in this file.
func TestTags(t *testing.T) {
	for _, tag := range []string{"required", "required:", `required:true`, `help:"x" required`, `help:"x`} {
		if known(reflect.StructTag(tag), "x", "required", "help") == nil {
			t.Errorf("%s: accepted", tag)
		}
	}
}

// TestDiscoverRefuses: each mistake is told with the field that has it.
func TestDiscoverRefuses(t *testing.T) {
	type loop struct{ Next *loop }
	tests := []struct {
		name string
		v    any
		want string
	}{
		{"nil", nil, "not a struct"},
		{"no struct", 1, "not a struct"},
		{"a command itself", hello{}, "it is a command itself"},
		{"no command", struct{ X int }{}, "X is a int: neither a command nor a group"},
		{"no path", struct {
			C struct {
				Program `version:"1.0.0"`
			}
		}{}, "C.Program has no tag path"},
		{"unknown tag", struct {
			C struct {
				Program `path:"/x" argvs:"x"`
			}
		}{}, `C.Program: unknown tag "argvs"`},
		{"unknown tag of a field", struct {
			C struct {
				Program `path:"/x"`
				F       string `requird:"true"`
			}
		}{}, `C.F: unknown tag "requird"`},
		{"no parameter", struct {
			C struct {
				Program `path:"/x"`
				F       map[string]string
			}
		}{}, "C.F: no parameter is a map[string]string"},
		{"a bad number", struct {
			C struct {
				Program `path:"/x"`
				F       string `max:"many"`
			}
		}{}, "C.F: tag max"},
		{"a bad bool", struct {
			C struct {
				Program `path:"/x"`
				F       string `required:"perhaps"`
			}
		}{}, "C.F: tag required"},
		{"a policy that is more", struct {
			C struct {
				Program `path:"/x" policy:"{}\nname: other"`
			}
		}{}, "tag policy is not"},
		{"without end", loop{}, "nested deeper than 8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Discover(tt.v)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%d manifests, err %v; want %q", len(got), err, tt.want)
			}
		})
	}
}
