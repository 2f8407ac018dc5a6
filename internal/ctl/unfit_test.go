package ctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// TestUnfitCwd: neither inside nor above what sbx keeps, by whatever name.
func TestUnfitCwd(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{
		"home/.local/state/sbx/registry-builtin/plans", "home/.local/lib", "home/.config/sbx/registry/db", "home/work", "home/.local/statement",
		"s/state/exec", "xs/sbx/exec", "xc/sbx", "run/sbx", "given/reg/db", "given/late", "other",
	} {
		if err := os.MkdirAll(base+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(base+"/home", base+"/link"); err != nil {
		t.Fatal(err)
	}
	// Through a link: the names differ, the directories do not.
	t.Setenv("HOME", base+"/link")
	t.Setenv("SBX_STATE", base+"/s/state")
	t.Setenv("XDG_STATE_HOME", base+"/xs")
	t.Setenv("XDG_CONFIG_HOME", base+"/xc")
	t.Setenv("XDG_RUNTIME_DIR", base+"/run")
	t.Setenv("SBX_RUNTIME", base+"/given/late/run") // not there yet
	for _, tt := range []struct {
		dir         string
		read, write string // what is wrong, "" for nothing
	}{
		{"home", "home directory", "home directory"},
		{"home/.local", "contains the state", "contains the state"},
		{"home/.local/state", "contains the state", "contains the state"},
		{"home/.local/state/sbx", "contains the state", "contains the state"},
		{"home/.local/state/sbx/registry-builtin", "lies in the state", "lies in the state"},
		{"home/.local/state/sbx/registry-builtin/plans", "lies in the state", "lies in the state"},
		{"home/.config", "contains the configuration", "contains the configuration"},
		{"home/.config/sbx/registry/db", "", "lies in the configuration"},
		{"home/.local/statement", "", ""},
		{"home/.local/lib", "", ""},
		{"home/work", "", ""},
		{"s", "contains the state", "contains the state"},
		{"s/state/exec", "lies in the state", "lies in the state"},
		{"xs/sbx/exec", "lies in the state", "lies in the state"},
		{"xc", "contains the configuration", "contains the configuration"},
		{"run", "contains the runtime", "contains the runtime"},
		{"run/sbx", "contains the runtime", "contains the runtime"},
		{"given/late", "contains the runtime", "contains the runtime"},
		{"given/reg", "contains the registry", "contains the registry"},
		{"given/reg/db", "", "lies in the registry"},
		{"other", "", ""},
	} {
		t.Run(tt.dir, func(t *testing.T) {
			cwd := base + "/" + tt.dir
			t.Chdir(cwd)
			v := &Invocation{Registry: base + "/given/reg"}
			for flags, want := range map[plan.Flags]string{plan.SourceCwd: tt.read, plan.SourceCwd | plan.Writable: tt.write} {
				got := v.unfitCwd(&plan.Plan{View: []plan.Step{{Kind: plan.Tree, Flags: flags}}}, cwd)
				if !strings.Contains(got, want) || (got == "") != (want == "") {
					t.Errorf("flags %b: got %q, want %q", flags, got, want)
				}
			}
			if got := v.unfitCwd(&plan.Plan{View: []plan.Step{{Kind: plan.Tree, Path: "/usr"}}}, cwd); got != "" {
				t.Errorf("not shown: %q", got)
			}
		})
	}
	t.Run("identity alone", func(t *testing.T) {
		// What a bind mount does: no name of the forbidden directory fits.
		f := newForbidden(base+"/s/state", "the state directory", false)
		f.real = "/elsewhere/state"
		for dir, want := range map[string]string{"s": "contains", "s/state": "contains", "s/state/exec": "lies in", "other": ""} {
			t.Chdir(base + "/" + dir)
			if got := judge(t, base+"/"+dir, f); !strings.Contains(got, want) || (got == "") != (want == "") {
				t.Errorf("%s: got %q, want %q", dir, got, want)
			}
		}
	})
	for _, dir := range []string{"/proc/self", "/sys/kernel"} {
		t.Run(dir, func(t *testing.T) {
			t.Chdir(dir)
			cwd, err := filepath.EvalSymlinks(dir)
			if err != nil {
				t.Fatal(err)
			}
			got := (&Invocation{}).unfitCwd(&plan.Plan{View: []plan.Step{{Kind: plan.Tree, Flags: plan.SourceCwd}}}, cwd)
			if !strings.Contains(got, "kernel") {
				t.Errorf("got %q", got)
			}
		})
	}
}

// judge asks about the directory that the test is in.
func judge(t *testing.T, real string, f forbiddenDir) string {
	t.Helper()
	var st unix.Stat_t
	fd, err := openPath(unix.AT_FDCWD, ".", unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return Protected{dirs: []forbiddenDir{f}}.unfit(fd, real, &st, plan.AccessRead)
}
