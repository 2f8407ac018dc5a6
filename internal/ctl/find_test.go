package ctl

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
)

// TestFindRun: a kept plan counts only for the registries that it was made
// for, in their order, and at its own place.
func TestFindRun(t *testing.T) {
	base := t.TempDir()
	t.Setenv("SBX_STATE", base+"/state")
	t.Setenv("SBX_REGISTRY", "")
	first, second := base+"/first", base+"/second"
	for _, d := range []string{first, second} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	key := func(dir string) string {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			t.Fatal(err)
		}
		return state.RegistryKey(&st)
	}
	const build = "b"
	for _, tt := range []struct {
		name string
		at   string // key of the place
		as   string // name of the place
		p    plan.Plan
		flag string
		cwd  string
		want bool
	}{
		{"its own", key(first), "tool", plan.Plan{Command: "tool", Key: key(first), Registries: []string{first}}, first, "/", true},
		{"relative", key(first), "tool", plan.Plan{Command: "tool", Key: key(first), Registries: []string{base + "/first"}}, "first", base, true},
		{"built in, this registry before", state.BuiltinKey, "tool", plan.Plan{Command: "tool", Key: state.BuiltinKey, Registries: []string{first}}, first, "/", true},
		{"built in, made without the registry", state.BuiltinKey, "tool", plan.Plan{Command: "tool", Key: state.BuiltinKey, Registries: []string{"/etc/sbx/registry"}}, first, "/", false},
		{"built in, made with another registry", state.BuiltinKey, "tool", plan.Plan{Command: "tool", Key: state.BuiltinKey, Registries: []string{second}}, first, "/", false},
		{"another order", key(first), "tool", plan.Plan{Command: "tool", Key: key(first), Registries: []string{second, first}}, first, "/", false},
		{"another name's", key(first), "tool", plan.Plan{Command: "other", Key: key(first), Registries: []string{first}}, first, "/", false},
		{"another registry's", key(first), "tool", plan.Plan{Command: "tool", Key: key(second), Registries: []string{first}}, first, "/", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(tt.cwd)
			if err := os.RemoveAll(base + "/state"); err != nil {
				t.Fatal(err)
			}
			tt.p.Build, tt.p.BootID = build, state.BootID()
			b, err := tt.p.Encode()
			if err != nil {
				t.Fatal(err)
			}
			path := state.PlanPath(base+"/state", tt.at, tt.as)
			if err := state.Write(path, b); err != nil {
				t.Fatal(err)
			}
			if _, err := state.Read(path); err != nil {
				t.Fatal(err) // else the test would pass for another reason
			}
			v := &Invocation{Registry: tt.flag, Words: []string{tt.as, "arg"}}
			p, used := v.findRun(tt.cwd, build)
			if (p != nil) != tt.want || tt.want && used != 1 {
				t.Errorf("got %v with %d words, want found %v", p, used, tt.want)
			}
		})
	}
}
