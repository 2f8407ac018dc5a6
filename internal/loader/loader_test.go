package loader

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
)

// TestRunBindsThePlan: the plan that is kept says where it belongs and which
// registries it was made for.
func TestRunBindsThePlan(t *testing.T) {
	base := t.TempDir()
	t.Setenv("SBX_STATE", base+"/state")
	t.Setenv("HOME", base)
	if err := os.Mkdir(base+"/registry", 0o755); err != nil {
		t.Fatal(err)
	}
	text := "apiVersion: sbx/v1\nname: tool\nversion: 1.0.0\nexec: {path: /bin/sh, args: passthrough}\n"
	if err := os.WriteFile(base+"/registry/tool.yaml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(base)
	for _, flag := range []string{base + "/registry", "registry"} {
		places, err := Open(flag)
		if err != nil {
			t.Fatal(err)
		}
		_, encoded, _, err := Run(flag, []string{"tool"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := plan.Decode(encoded)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := state.Read(state.PlanPath(base+"/state", places[0].Key, "tool"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []*plan.Plan{answer, kept} {
			if p.Key != places[0].Key {
				t.Errorf("%s: key %q, want %q", flag, p.Key, places[0].Key)
			}
			if d := cmp.Diff([]string{base + "/registry"}, p.Registries); d != "" {
				t.Errorf("%s: registries: %s", flag, d)
			}
		}
	}
}
