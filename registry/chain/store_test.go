package chain

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/registry"
)

func TestAStoredBundleIsReadAgain(t *testing.T) {
	testenv.NoLeaks(t)
	dir := t.TempDir() + "/s"
	c, err := Open(dir, Exclusive)
	must(t, err)
	defer c.Close()
	b, open := bundle("x", "1.2.3")
	if _, err := c.Load("x", b.Digest); !errors.Is(err, ErrNotStored) {
		t.Errorf("before: %v", err)
	}
	must(t, c.Put(b, open, []byte("signature")))
	must(t, c.Put(b, open, nil)) // once more

	got, err := c.Load("x", b.Digest)
	must(t, err)
	if got.Digest != b.Digest || got.Dir != c.BundleDir(b.Digest) || string(got.Signature) != "signature" || got.File != got.Dir+"/bundle.yaml" {
		t.Errorf("bundle %+v", got)
	}
	if diff := cmp.Diff(b.Manifest, got.Manifest); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	err = filepath.WalkDir(got.Dir, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		info, err := d.Info()
		must(t, err)
		want := fs.FileMode(0o444)
		if strings.HasSuffix(path, "/bin/x") {
			want = 0o555
		}
		if d.IsDir() {
			want = map[bool]fs.FileMode{true: 0o555, false: 0o700}[os.Geteuid() == 0]
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	must(t, err)
	if _, err := c.Load("y", b.Digest); err == nil {
		t.Error("loaded as another command")
	}
	for _, digest := range []string{"", "x", "sha256:../../etc", "sha256:" + strings.Repeat("A", 64)} {
		if c.BundleDir(digest) != "" {
			t.Errorf("%q has a directory", digest)
		}
		if _, err := c.Load("x", digest); err == nil {
			t.Errorf("%q was loaded", digest)
		}
	}
}

func TestPutRefusesOtherBytes(t *testing.T) {
	dir := t.TempDir() + "/s"
	c := openChain(t, dir, Exclusive)
	text := func(s string) func(string) (io.ReadCloser, error) {
		return func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
	}
	for name, spoil := range map[string]func(*registry.Bundle) func(string) (io.ReadCloser, error){
		"other bytes of the same length": func(b *registry.Bundle) func(string) (io.ReadCloser, error) {
			return text(strings.Repeat("?", int(b.Files[0].Size)))
		},
		"a file that grew":       func(b *registry.Bundle) func(string) (io.ReadCloser, error) { return text(strings.Repeat("?", 1<<20)) },
		"a file that is shorter": func(*registry.Bundle) func(string) (io.ReadCloser, error) { return text("") },
		"a file that is gone":    func(*registry.Bundle) func(string) (io.ReadCloser, error) { return nope },
		"another manifest":       func(b *registry.Bundle) func(string) (io.ReadCloser, error) { b.Source = []byte("x"); return nil },
		"another executable bit": func(b *registry.Bundle) func(string) (io.ReadCloser, error) {
			b.Files[0].Executable = false
			return nil
		},
		"a name that leaves":       func(b *registry.Bundle) func(string) (io.ReadCloser, error) { b.Files[0].Name = "../x"; return nil },
		"an absolute name":         func(b *registry.Bundle) func(string) (io.ReadCloser, error) { b.Files[0].Name = "/x"; return nil },
		"a name that is not clean": func(b *registry.Bundle) func(string) (io.ReadCloser, error) { b.Files[0].Name = "a//x"; return nil },
		"the manifest's name": func(b *registry.Bundle) func(string) (io.ReadCloser, error) {
			b.Files[0].Name = "bundle.yaml"
			return nil
		},
		"the signature's name": func(b *registry.Bundle) func(string) (io.ReadCloser, error) {
			b.Files[0].Name = "bundle.sig"
			return nil
		},
		"a digest that is none": func(b *registry.Bundle) func(string) (io.ReadCloser, error) { b.Digest = "sha256:x"; return nil },
	} {
		b, open := bundle("x", "1.0.0")
		if other := spoil(b); other != nil {
			open = other
		}
		if err := c.Put(b, open, nil); err == nil {
			t.Errorf("%s: stored", name)
		}
	}
	if left := list(t, dir+"/bundles"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func nope(string) (io.ReadCloser, error) { return nil, fs.ErrNotExist }

// empty makes a stored file empty.
func empty(t *testing.T, file string) {
	t.Helper()
	must(t, os.Chmod(file, 0o644))
	must(t, os.Truncate(file, 0))
}

func list(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestADamagedBundleIsFoundAndWrittenAgain(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"a byte": func(t *testing.T, dir string) {
			must(t, os.Chmod(dir+"/data", 0o644))
			flip(t, dir+"/data", 100)
		},
		"a file is empty": func(t *testing.T, dir string) { empty(t, dir+"/bundle.yaml") },
		"a file is gone": func(t *testing.T, dir string) {
			must(t, os.Chmod(dir, 0o755))
			must(t, os.Remove(dir+"/bundle.yaml"))
		},
		"a file too many": func(t *testing.T, dir string) {
			must(t, os.Chmod(dir, 0o755))
			must(t, os.WriteFile(dir+"/more", nil, 0o444))
		},
		"not executable": func(t *testing.T, dir string) { must(t, os.Chmod(dir+"/bin/x", 0o444)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/s"
			c := openChain(t, dir, Exclusive)
			b, open := bundle("x", "1.0.0")
			must(t, c.Put(b, open, []byte("sig")))
			spoil(t, c.BundleDir(b.Digest))
			if _, err := c.Load("x", b.Digest); !errors.Is(err, ErrDamaged) {
				t.Errorf("damaged: %v", err)
			}
			must(t, c.Put(b, open, nil))
			_, err := c.Load("x", b.Digest)
			must(t, err)
			if left := list(t, dir+"/bundles"); len(left) != 1 {
				t.Errorf("in the store: %v", left)
			}
		})
	}
}

// TestWithoutExchange: a file system that cannot swap two names.
func TestWithoutExchange(t *testing.T) {
	dir := t.TempDir() + "/s"
	c := openChain(t, dir, Exclusive)
	b, open := bundle("x", "1.0.0")
	must(t, c.Put(b, open, nil))
	empty(t, c.BundleDir(b.Digest)+"/data")
	met := false
	c.disk.before = func(s step) error {
		if s.op != opExchange {
			return nil
		}
		met = true
		return unix.EINVAL
	}
	must(t, c.Put(b, open, nil))
	_, err := c.Load("x", b.Digest)
	must(t, err)
	if left := list(t, dir+"/bundles"); len(left) != 1 || !met {
		t.Errorf("in the store: %v (exchange tried: %v)", left, met)
	}
}

func TestALinkInTheStoreIsRefused(t *testing.T) {
	c := openChain(t, t.TempDir()+"/s", Exclusive)
	b, open := bundle("x", "1.0.0")
	must(t, c.Put(b, open, nil))
	dir := c.BundleDir(b.Digest)
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Rename(dir+"/data", dir+"/../data"))
	must(t, os.Symlink("../data", dir+"/data"))
	if _, err := c.Load("x", b.Digest); err == nil {
		t.Error("a symbolic link was followed")
	}
}

func TestASignatureIsAddedAndReplaced(t *testing.T) {
	c := openChain(t, t.TempDir()+"/s", Exclusive)
	b, open := bundle("x", "1.0.0")
	var inode uint64
	for _, tt := range []struct{ put, want string }{{"", ""}, {"one", "one"}, {"", "one"}, {"two", "two"}} {
		var signature []byte
		if tt.put != "" {
			signature = []byte(tt.put)
		}
		must(t, c.Put(b, open, signature))
		got, err := c.Load("x", b.Digest)
		must(t, err)
		if string(got.Signature) != tt.want {
			t.Errorf("after %q: %q, want %q", tt.put, got.Signature, tt.want)
		}
		var st unix.Stat_t
		must(t, unix.Stat(c.BundleDir(b.Digest), &st))
		if inode == 0 {
			inode = st.Ino
		}
		// A run shows the directory: it must stay the one that it has.
		if st.Ino != inode || st.Mode&0o777 != c.disk.storedDir() {
			t.Errorf("after %q: inode %d (first %d), mode %o", tt.put, st.Ino, inode, st.Mode)
		}
	}
}

// TestVerity: stored files are under fs-verity exactly where the file system
// puts any file under it: in a guest of test/vm that is /scratch.
func TestVerity(t *testing.T) {
	tops := []string{t.TempDir()}
	if top, err := os.MkdirTemp("/scratch", "chain-*"); err == nil {
		t.Cleanup(func() { os.RemoveAll(top) })
		tops = append(tops, top)
	}
	for _, top := range tops {
		testVerity(t, top+"/s")
	}
}

func testVerity(t *testing.T, dir string) {
	t.Helper()
	c := openChain(t, dir, Exclusive)
	b, open := bundle("x", versionOf(1))
	must(t, c.Put(b, open, []byte("signature")))
	got, err := c.Verity(b.Digest)
	must(t, err)

	must(t, os.WriteFile(dir+"/probe", []byte("x"), 0o600))
	must(t, c.disk.enableVerity("probe"))
	var st unix.Statx_t
	must(t, unix.Statx(unix.AT_FDCWD, dir+"/probe", 0, unix.STATX_TYPE, &st))
	want := st.Attributes&unix.STATX_ATTR_VERITY != 0
	t.Logf("fs-verity in %s: %v", dir, want)
	if got != want {
		t.Errorf("stored bundle: %v, a file beside it: %v", got, want)
	}
	if want {
		path := c.BundleDir(b.Digest) + "/data"
		must(t, os.Chmod(path, 0o644))
		if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			f.Close()
			t.Error("a protected file was opened for writing")
		}
		must(t, os.Chmod(path, storedFile))
	}
	s, err := advance(c, nil) // it is made durable, read and removed as any other
	must(t, err)
	wantGeneration(t, c, s, 1)
	stray, openStray := bundle("x", "9.9.9")
	must(t, c.Put(stray, openStray, nil))
	_, err = advance(c, s)
	must(t, err)
	must(t, c.Collect(nil))
	for digest, want := range map[string]error{stray.Digest: ErrNotStored, b.Digest: nil} {
		if _, err := c.Load("x", digest); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", digest, err, want)
		}
	}
	if _, err := c.Verity("sha256:" + strings.Repeat("0", 64)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not stored: %v", err)
	}
}

func TestCollect(t *testing.T) {
	dir := make3(t)
	c := openChain(t, dir, Exclusive)
	s, _, err := c.Newest()
	must(t, err)
	stray, open := bundle("x", "0.0.1")
	flight, openFlight := bundle("x", "0.0.2")
	must(t, c.Put(stray, open, nil))
	must(t, c.Put(flight, openFlight, nil))
	must(t, c.Collect(nil))
	if n := len(list(t, dir+"/bundles")); n != 5 {
		t.Errorf("%d bundles before the commit: what was Put is gone", n)
	}
	s, err = advance(c, s)
	must(t, err)
	must(t, os.WriteFile(dir+"/objects/"+strings.Repeat("0", 64), nil, 0o644))
	must(t, os.MkdirAll(dir+"/bundles/.half.1~/bin", 0o755))
	must(t, os.Chmod(dir+"/bundles/.half.1~", 0o555))
	asked := map[string]bool{}
	must(t, c.Collect(func(digest string) bool { asked[digest] = true; return digest == flight.Digest }))
	if _, err := c.Load("x", flight.Digest); err != nil {
		t.Errorf("what is in flight was removed: %v", err)
	}
	if _, err := c.Load("x", stray.Digest); !errors.Is(err, ErrNotStored) || !asked[stray.Digest] {
		t.Errorf("what nothing uses: %v (asked: %v)", err, asked[stray.Digest])
	}
	if names := list(t, dir+"/bundles"); len(names) != 5 { // four generations, one in flight
		t.Errorf("bundles: %v", names)
	}
	for range Keep {
		s, err = advance(c, s)
		must(t, err)
	}
	must(t, c.Collect(nil))
	// Each generation has its own three shards, and what is retired may
	// return: eight of them, besides the one in force, as long as a kept
	// generation remembers.
	if n := len(list(t, dir+"/objects")); n != Keep*3 {
		t.Errorf("%d objects", n)
	}
	for n := s.Generation; n > s.Generation-Keep; n-- {
		old, err := c.At(n)
		must(t, err)
		wantGeneration(t, c, old, n)
	}
	if _, err := c.Load("x", flight.Digest); !errors.Is(err, ErrNotStored) {
		t.Errorf("no longer in flight: %v", err)
	}
}

// TestCollectKeepsWhatItKnows: a shard that this process has written or read
// keeps its bundles, whatever has become of it on the disk.
func TestCollectKeepsWhatItKnows(t *testing.T) {
	for name, open := range map[string]func(c *Chain, dir string) (*Chain, *Snapshot, error){
		"written": func(c *Chain, _ string) (*Chain, *Snapshot, error) {
			s, _, err := c.Newest()
			if err == nil {
				s, err = advance(c, s)
			}
			return c, s, err
		},
		"read": func(c *Chain, dir string) (*Chain, *Snapshot, error) {
			err := c.Close()
			if err == nil {
				c, err = Open(dir, Exclusive)
			}
			if err != nil {
				return nil, nil, err
			}
			s, _, err := c.Newest()
			return c, s, err
		},
	} {
		dir := make3(t)
		c, s, err := open(openChain(t, dir, Exclusive), dir)
		must(t, err)
		must(t, os.Truncate(dir+"/objects/"+c.parent.root.Shards[shardKey(shardOf(names[0]))].SHA256, 10))
		for range 2 {
			must(t, c.Collect(nil))
			r, _ := s.Commands[names[0]].Current()
			if _, err := c.Load("x", r.Digest); err != nil {
				t.Errorf("%s: what the newest generation has in force: %v", name, err)
			}
		}
		must(t, c.Close())
	}
}

func TestCollectRemovesNothingWhenItCannotKnow(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"no generation verifies": func(t *testing.T, dir string) {
			for n := range 3 {
				must(t, os.Truncate(fmt.Sprint(dir, "/generations/", n+1), 10))
			}
		},
		"a generation cannot be believed": func(t *testing.T, dir string) { must(t, os.Chmod(dir+"/generations/1", 0o666)) },
		"a shard cannot be believed":      func(t *testing.T, dir string) { must(t, os.Chmod(newShard(t, dir), 0o666)) },
	} {
		dir := make3(t)
		spoil(t, dir)
		c := openChain(t, dir, Exclusive)
		if err := c.Collect(nil); err == nil {
			t.Errorf("%s: collected", name)
		}
		if n := len(list(t, dir+"/bundles")); n != 3 {
			t.Errorf("%s: %d bundles are left", name, n)
		}
	}
}
