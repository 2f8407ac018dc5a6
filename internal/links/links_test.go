package links

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFollow(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"/a/b", "/c"} {
		if err := os.MkdirAll(dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/a/f", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		"/rel": "a", "/abs": dir + "/a", "/a/up": "../c", "/c/f": "../rel/f", "/gone": "a/none/deeper", "/self": "self", "/dots": "a/./b/..",
	} {
		if err := os.Symlink(target, dir+link); err != nil {
			t.Fatal(err)
		}
	}
	in := func(names ...string) (out []string) {
		for _, n := range names {
			out = append(out, dir+n)
		}
		return out
	}
	for _, tt := range []struct {
		path string
		want Way
		err  error
	}{
		{"", Way{Real: dir, Exists: true}, nil},
		{"/a/b", Way{Real: dir + "/a/b", Exists: true}, nil},
		{"/a/b/../f", Way{Real: dir + "/a/f", Exists: true}, nil},
		{"/rel/f", Way{dir + "/a/f", true, in("/rel")}, nil},
		{"/abs/up/f", Way{dir + "/a/f", true, in("/abs", "/a/up", "/c/f", "/rel")}, nil},
		{"/dots/f", Way{dir + "/a/f", true, in("/dots")}, nil},
		{"/none", Way{Real: dir + "/none"}, nil},
		{"/none/x/y", Way{Real: dir + "/none/x/y"}, nil},
		{"/a/f/x", Way{Real: dir + "/a/f/x"}, nil},
		{"/gone/x", Way{Real: dir + "/a/none/deeper/x", Links: in("/gone")}, nil},
		{"/self", Way{}, syscall.ELOOP},
	} {
		got, err := Follow(dir + tt.path)
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.path, err, tt.err)
		}
		if d := cmp.Diff(tt.want, got); tt.err == nil && d != "" {
			t.Errorf("%s: %s", tt.path, d)
		}
	}
	// As many as the kernel follows, and one more.
	last := "/a"
	for i := range maxLinks + 1 {
		name := "/chain" + strconv.Itoa(i)
		if err := os.Symlink(dir+last, dir+name); err != nil {
			t.Fatal(err)
		}
		_, err := Follow(dir + name)
		if _, kernel := os.Stat(dir + name); (err == nil) != (kernel == nil) {
			t.Errorf("%d links: %v, the kernel says %v", i+1, err, kernel)
		}
		last = name
	}
}
