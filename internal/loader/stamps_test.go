package loader

import (
	"os"
	"testing"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/state"
)

// TestFresh: a plan is used while nothing has changed of what decides what its
// command is, and who may decide that.
func TestFresh(t *testing.T) {
	const dir = "/above/registry/tool"
	for _, tt := range []struct {
		name   string
		change func(base string) error
		fresh  bool
	}{
		{"as it was", func(string) error { return nil }, true},
		{"another bundle", func(base string) error { return os.Mkdir(base+"/above/registry/other", 0o755) }, true},
		{"something beside the registry", func(base string) error { return os.WriteFile(base+"/above/other", nil, 0o644) }, true},
		{"a shipped file that was replaced", func(base string) error { return os.Rename(base+"/new", base+dir+"/data") }, false},
		{"one below", func(base string) error { return os.Rename(base+"/new", base+dir+"/sub/data") }, false},
		{"one that came", func(base string) error { return os.Rename(base+"/new", base+dir+"/new") }, false},
		{"the bundle is open to others", func(base string) error { return os.Chmod(base+dir, 0o777) }, false},
		{"the registry is", func(base string) error { return os.Chmod(base+"/above/registry", 0o777) }, false},
		{"what is above it is", func(base string) error { return os.Chmod(base+"/above", 0o777) }, false},
		{"what is above is open, and sticky", func(base string) error { return os.Chmod(base+"/above", 0o777|os.ModeSticky) }, false},
		{"what is above where a link leads", func(base string) error { return os.Chmod(base+"/real", 0o777) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShop(t)
			s.must(os.Mkdir(s.base+"/real", 0o755))
			s.must(os.Mkdir(s.base+"/above", 0o755))
			s.must(os.MkdirAll(s.base+"/real/registry/tool/sub", 0o755))
			s.must(os.Symlink(s.base+"/real/registry", s.base+"/above/registry"))
			for _, file := range []string{dir + "/data", dir + "/sub/data", "/new"} {
				s.must(os.WriteFile(s.base+file, []byte(file), 0o644))
			}
			text := "apiVersion: sbx/v1\nname: tool\nversion: 1.0.0\nexec: {path: /bin/sh, args: passthrough}\n"
			s.must(os.WriteFile(s.base+dir+"/bundle.yaml", []byte(text), 0o644))
			var err error
			s.place, err = OpenPlace(s.base + "/above/registry")
			s.must(err)
			p := s.load("tool")
			if why, fresh := state.Fresh(p, buildinfo.Build); !fresh {
				t.Fatal(why)
			}
			s.must(tt.change(s.base))
			if why, fresh := state.Fresh(p, buildinfo.Build); fresh != tt.fresh {
				t.Errorf("fresh: %v (%s), want %v", fresh, why, tt.fresh)
			}
		})
	}
}

// TestFreshPolicy: a plan under a policy file is used while nobody else could put
// another file there.
func TestFreshPolicy(t *testing.T) {
	for name, open := range map[string]bool{"as it was": false, "open to others": true} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.must(os.Mkdir(s.base+"/above", 0o755))
			s.must(os.WriteFile(s.base+"/above/p.yaml", []byte("{}\n"), 0o644))
			p, _, err := Exec(s.base+"/above/p.yaml", []string{"/bin/sh"})
			s.must(err)
			if open {
				s.must(os.Chmod(s.base+"/above", 0o777))
			}
			if why, fresh := state.Fresh(p, buildinfo.Build); fresh == open {
				t.Errorf("fresh: %v (%s), want %v", fresh, why, !open)
			}
		})
	}
}
