package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/sign"
	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/registry"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func manifest(name, version string) string {
	return "apiVersion: sbx/v1\nname: " + name + "\nversion: " + version + "\nexec: {path: /usr/bin/true, args: passthrough}\n"
}

// write makes files below base; one whose name ends in "*" is executable.
func write(t testing.TB, base string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(name, "*") {
			name, mode = strings.TrimSuffix(name, "*"), 0o755
		}
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
}

// bench is a place with an author's directory and a registry.
type bench struct {
	t         testing.TB
	src, dir  string
	key       sign.SecretKey
	publisher string // the host's publishers file, which need not exist
}

func newBench(t testing.TB) *bench {
	t.Helper()
	base := t.TempDir()
	k, err := sign.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, src: base + "/src", dir: base + "/registry", key: k, publisher: base + "/publishers.yaml"}
	for _, dir := range []string{b.src, b.dir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b *bench) trust(more string) {
	b.t.Helper()
	text := fmt.Sprintf("publishers: [{name: ops, keys: [%s], commands: [\"*\"]}]\n%s", b.key.Public(), more)
	if err := os.WriteFile(b.publisher, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) sign(path string) {
	b.t.Helper()
	if _, err := Sign(path, b.key, time.Unix(1_700_000_000, 0)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) install(path string, check func(*registry.Bundle) error) (Installed, error) {
	return Install(path, b.dir, Options{Publishers: b.publisher, Check: check, Now: time.Unix(1_700_000_000, 0)})
}

func (b *bench) must(path string) Installed {
	b.t.Helper()
	r, err := b.install(path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.clean()
	return r
}

// clean fails when a change left something in the registry besides bundles.
func (b *bench) clean() {
	b.t.Helper()
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) && e.Name() != lockFile {
			b.t.Errorf("left behind: %s", e.Name())
		}
	}
}

// load reads a bundle from the registry as a loader does.
func (b *bench) load(name string) registry.Bundle {
	b.t.Helper()
	d, err := registry.OpenDir(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	defer d.Close()
	bundle, err := d.Load(name)
	if err != nil {
		b.t.Fatal(err)
	}
	return bundle
}

func TestInstall(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	b := newBench(t)
	write(t, b.src, map[string]string{
		"one.yaml":        manifest("one", "1.0.0"),
		"two/bundle.yaml": manifest("db.two", "1.0.0"), "two/bin/x*": "#!/bin/sh\n", "two/share/a/b": "b", "two/.hidden": "h",
	})
	// the author's files are as the umask of others would have them
	for _, p := range []string{"two", "two/bin", "two/share", "two/share/a"} {
		if err := os.Chmod(filepath.Join(b.src, p), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if r := b.must(b.src + "/one.yaml"); r.Path != b.dir+"/one.yaml" || r.Name != "one" || r.Replaced != "" || r.Unchanged || r.Key != "" || r.Unverified {
		t.Errorf("%+v", r)
	}
	r := b.must(b.src + "/two")
	if r.Path != b.dir+"/db/two" || r.Digest != b.load("db.two").Digest {
		t.Errorf("%+v", r)
	}
	var modes []string
	err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		modes = append(modes, fmt.Sprintf("%s %o", strings.TrimPrefix(path, b.dir), st.Mode().Perm()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := " 700, /.sbx-lock 600, /db 755, /db/two 755, /db/two/bin 755, /db/two/bin/x 755, /db/two/bundle.yaml 644, /db/two/share 755, /db/two/share/a 755, /db/two/share/a/b 644, /one.yaml 644"
	if got := strings.Join(modes, ", "); got != want {
		t.Errorf("modes\n got %s\nwant %s", got, want)
	}
	if r := b.must(b.src + "/two/bundle.yaml"); !r.Unchanged || r.Path != b.dir+"/db/two" {
		t.Errorf("again: %+v", r)
	}
}

// TestInstallOver: which version and which kind replaces which.
func TestInstallOver(t *testing.T) {
	const vector = "revision: {counter: {a: %d, b: %d}}\n"
	for _, tt := range []struct {
		name         string
		before       map[string]string // in the author's directory, as "x.yaml" or "x/..."
		after        map[string]string
		sign, signed bool // before, after
		conflict     string
		replaced     string
	}{
		{name: "newer", before: map[string]string{"x.yaml": manifest("x", "1.0.0")}, after: map[string]string{"x.yaml": manifest("x", "1.0.1")}, replaced: "1.0.0"},
		{name: "older", before: map[string]string{"x.yaml": manifest("x", "1.10.0")}, after: map[string]string{"x.yaml": manifest("x", "1.9.0")}, conflict: "version 1.9.0 is older than 1.10.0"},
		{name: "replay of an older signed one", sign: true, signed: true, before: map[string]string{"x.yaml": manifest("x", "2.0.0")}, after: map[string]string{"x.yaml": manifest("x", "1.0.0")}, conflict: "older"},
		{name: "same version, other content", before: map[string]string{"x.yaml": manifest("x", "1.0.0")}, after: map[string]string{"x.yaml": manifest("x", "1.0.0") + "summary: s\n"}, replaced: "1.0.0"},
		{name: "same version, signed", sign: true, signed: true, before: map[string]string{"x.yaml": manifest("x", "1.0.0")}, after: map[string]string{"x.yaml": manifest("x", "1.0.0") + "summary: s\n"}, conflict: "had other content"},
		{name: "signed, then unsigned and newer", sign: true, before: map[string]string{"x.yaml": manifest("x", "1.0.0")}, after: map[string]string{"x.yaml": manifest("x", "1.0.1")}, replaced: "1.0.0"},
		{name: "below the floor", before: map[string]string{"x.yaml": manifest("x", "1.5.0") + "floor: 1.5.0\n" + fmt.Sprintf(vector, 1, 1)}, after: map[string]string{"x.yaml": manifest("x", "1.4.0") + fmt.Sprintf(vector, 2, 2)}, conflict: "floor"},
		{name: "dominated vector", before: map[string]string{"x.yaml": manifest("x", "1.0.0") + fmt.Sprintf(vector, 2, 1)}, after: map[string]string{"x.yaml": manifest("x", "1.1.0") + fmt.Sprintf(vector, 1, 1)}, conflict: "dominated"},
		{name: "concurrent vector", before: map[string]string{"x.yaml": manifest("x", "1.0.0") + fmt.Sprintf(vector, 2, 1)}, after: map[string]string{"x.yaml": manifest("x", "1.1.0") + fmt.Sprintf(vector, 1, 2)}, conflict: "concurrent"},
		{name: "directory over directory", before: map[string]string{"x/bundle.yaml": manifest("x", "1.0.0"), "x/old": ""}, after: map[string]string{"x/bundle.yaml": manifest("x", "1.1.0"), "x/new": ""}, replaced: "1.0.0"},
		{name: "file over directory", before: map[string]string{"x/bundle.yaml": manifest("x", "1.0.0"), "x/old": ""}, after: map[string]string{"x.yaml": manifest("x", "1.1.0")}, replaced: "1.0.0"},
		{name: "directory over file", before: map[string]string{"x.yaml": manifest("x", "1.0.0")}, after: map[string]string{"x/bundle.yaml": manifest("x", "1.1.0")}, conflict: "one file here"},
		{name: "command over group", before: map[string]string{"x.yaml": manifest("x.a", "1.0.0")}, after: map[string]string{"x.yaml": manifest("x", "1.1.0")}, conflict: "a group here"},
		{name: "below a command", before: map[string]string{"x.yaml": manifest("x", "1.0.0")}, after: map[string]string{"x.yaml": manifest("x.a.b", "1.1.0")}, conflict: `"x" is a command here`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.trust("")
			path := func(files map[string]string) string {
				for name := range files {
					if strings.HasPrefix(name, "x/") {
						return "/x"
					}
				}
				return "/x.yaml"
			}
			write(t, b.src+"/before", tt.before)
			write(t, b.src+"/after", tt.after)
			if tt.sign {
				b.sign(b.src + "/before" + path(tt.before))
			}
			if tt.signed {
				b.sign(b.src + "/after" + path(tt.after))
			}
			first := b.must(b.src + "/before" + path(tt.before))
			r, err := b.install(b.src+"/after"+path(tt.after), nil)
			b.clean()
			if tt.conflict != "" {
				var c *ConflictError
				if !errors.As(err, &c) || !strings.Contains(err.Error(), tt.conflict) {
					t.Errorf("error %v is no conflict with %q", err, tt.conflict)
				}
				if now := b.load(first.Name); now.Digest != first.Digest {
					t.Errorf("%s is in its place", now.Digest)
				}
				return
			}
			if err != nil || r.Replaced != tt.replaced {
				t.Fatalf("%+v, %v", r, err)
			}
			now := b.load("x")
			if now.Digest != r.Digest || (now.Signature != nil) != tt.signed {
				t.Errorf("in place: %s, signature %q", now.Digest, now.Signature)
			}
		})
	}
}

// TestInstallMendsABadOne: what cannot be loaded or believed says nothing about
// versions.
func TestInstallMendsABadOne(t *testing.T) {
	for name, bad := range map[string]string{"not a manifest": "x", "another name": manifest("y", "9.0.0"), "not believed": manifest("x", "9.0.0")} {
		b := newBench(t)
		b.trust("require_signature: true\n")
		write(t, b.dir, map[string]string{"x.yaml": bad})
		write(t, b.src, map[string]string{"x.yaml": manifest("x", "1.0.0")})
		b.sign(b.src + "/x.yaml")
		if r := b.must(b.src + "/x.yaml"); r.Key != b.key.Public().ID() || b.load("x").Digest != r.Digest {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestInstallTrust: nothing is parsed that is not believed.
func TestInstallTrust(t *testing.T) {
	other, err := sign.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	const garbage = "apiVersion: sbx/v1\n\tname: [\n"
	for _, tt := range []struct {
		name    string
		more    string // of the publishers file; "-" for none
		text    string
		prepare func(b *bench, path string)
		reason  sign.Reason // 0: installed, or want
		want    string
	}{
		{name: "unsigned", text: garbage, more: "require_signature: true\n", reason: sign.Unsigned},
		{name: "another key", text: manifest("x", "1.0.0"), prepare: func(b *bench, path string) {
			if _, err := Sign(path, other, time.Now()); err != nil {
				t.Fatal(err)
			}
		}, reason: sign.UnknownKey},
		{name: "changed after it was signed", text: manifest("x", "1.0.0"), prepare: func(b *bench, path string) {
			b.sign(path)
			write(t, b.src, map[string]string{"x.yaml": garbage})
		}, reason: sign.BadSignature},
		{name: "signature of another name", text: manifest("x", "1.0.0"), prepare: func(b *bench, path string) {
			write(t, b.src, map[string]string{"y.yaml": manifest("y", "1.0.0")})
			b.sign(b.src + "/y.yaml")
			if err := os.Rename(b.src+"/y.yaml.sig", path+".sig"); err != nil {
				t.Fatal(err)
			}
		}, reason: sign.BadSignature},
		{name: "signed as another name", text: manifest("x", "1.0.0"), prepare: func(b *bench, path string) {
			raw, err := registry.ReadPath(path)
			if err != nil {
				t.Fatal(err)
			}
			sig, err := b.key.Sign("y", raw.Digest, "name:y", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			write(t, b.src, map[string]string{"x.yaml.sig": string(sig)})
		}, want: `says that its name is "x", and is signed as "y"`},
		{name: "good", text: manifest("x", "1.0.0"), more: "require_signature: true\n", prepare: func(b *bench, path string) { b.sign(path) }},
		{name: "signature without a name", text: manifest("x", "1.0.0"), prepare: func(b *bench, path string) {
			raw, err := registry.ReadPath(path)
			if err != nil {
				t.Fatal(err)
			}
			sig, err := b.key.Sign("x", raw.Digest, "", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			write(t, b.src, map[string]string{"x.yaml.sig": string(sig)})
		}},
		{name: "no publishers file", more: "-", text: manifest("x", "1.0.0"), prepare: func(b *bench, path string) { b.sign(path) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			if tt.more != "-" {
				b.trust(tt.more)
			}
			path := b.src + "/x.yaml"
			write(t, b.src, map[string]string{"x.yaml": tt.text})
			if tt.prepare != nil {
				tt.prepare(b, path)
			}
			r, err := b.install(path, nil)
			b.clean()
			var bad *sign.UntrustedError
			var parsed *yamlnode.Error
			switch {
			case errors.As(err, &parsed):
				t.Errorf("it was parsed: %v", err)
			case tt.reason != 0:
				if !errors.As(err, &bad) || bad.Reason != tt.reason {
					t.Errorf("error %v, want reason %s", err, tt.reason)
				}
			case tt.want != "":
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v does not contain %q", err, tt.want)
				}
			case err != nil:
				t.Error(err)
			default:
				if r.Unverified != (tt.more == "-") || (r.Key == "") != r.Unverified {
					t.Errorf("%+v", r)
				}
				return
			}
			if _, err := os.Lstat(b.dir + "/x.yaml"); err == nil {
				t.Error("it is in the registry")
			}
		})
	}
}

func TestLock(t *testing.T) {
	b := newBench(t)
	write(t, b.src, map[string]string{"x.yaml": manifest("x", "1.0.0")})
	w, err := openWriter(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.install(b.src+"/x.yaml", nil); !errors.Is(err, ErrBusy) {
		t.Errorf("install: %v", err)
	}
	if _, err := Remove("x", b.dir); !errors.Is(err, ErrBusy) {
		t.Errorf("remove: %v", err)
	}
	// What a change that was killed left is cleared by the next.
	left, err := w.temp()
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	b.must(b.src + "/x.yaml")
	if _, err := os.Lstat(filepath.Join(b.dir, left)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", left, err)
	}
}

func TestRemove(t *testing.T) {
	b := newBench(t)
	write(t, b.src, map[string]string{
		"one.yaml": manifest("g.h.one", "1.0.0"), "two/bundle.yaml": manifest("g.two", "2.0.0"), "two/x": "",
	})
	b.sign(b.src + "/one.yaml")
	b.must(b.src + "/one.yaml")
	b.must(b.src + "/two")
	var none *registry.UnknownError
	for _, name := range []string{"g", "g.h", "none", "g.none", "../registry", "", "g/two"} {
		if _, err := Remove(name, b.dir); !errors.As(err, &none) {
			t.Errorf("%q: %v", name, err)
		}
	}
	r, err := Remove("g.h.one", b.dir)
	if err != nil || r != (Removed{Name: "g.h.one", Version: "1.0.0", Path: b.dir + "/g/h/one.yaml"}) {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := os.Lstat(b.dir + "/g/h"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty group is left: %v", err)
	}
	// One that cannot be loaded can be removed.
	write(t, b.dir, map[string]string{"g/two/bundle.yaml": "x"})
	if r, err := Remove("g.two", b.dir); err != nil || r.Version != "" {
		t.Errorf("%+v, %v", r, err)
	}
	b.clean()
	if _, err := os.Lstat(b.dir + "/g"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty group is left: %v", err)
	}
}

// TestInstallWhileRead: who reads while a directory is exchanged gets the old
// one, the new one or an error, never a mixture and never a part of one.
func TestInstallWhileRead(t *testing.T) {
	b := newBench(t)
	digests := map[string]bool{}
	for _, v := range []string{"1", "2"} {
		files := map[string]string{v + "/bundle.yaml": manifest("x", "1.0.0")}
		for i := range 40 {
			files[fmt.Sprintf("%s/f%d", v, i)] = v
		}
		write(t, b.src, files)
		raw, err := registry.ReadPath(b.src + "/" + v)
		if err != nil {
			t.Fatal(err)
		}
		digests[raw.Digest] = true
	}
	b.must(b.src + "/1")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 60 {
			if _, err := b.install(fmt.Sprintf("%s/%d", b.src, i%2+1), nil); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	d, err := registry.OpenDir(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	read := 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		raw, err := d.Read("x")
		if err != nil {
			continue
		}
		read++
		if !digests[raw.Digest] {
			t.Fatalf("after %d reads: a bundle of %d files that nobody made", read, len(raw.Files))
		}
	}
	if read == 0 {
		t.Error("nothing could be read")
	}
}
