package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/internal/yamlnode"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func manifest(name string) string {
	return "apiVersion: sbx/v1\nname: " + name + "\nversion: 1.0.0\nexec: {path: /usr/bin/true, args: passthrough}\n"
}

// tree writes files below a fresh directory; a name that ends in / is a
// directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "registry")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func openDir(t *testing.T, root string) *Dir {
	t.Helper()
	d, err := OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestLoadFile(t *testing.T) {
	root := tree(t, map[string]string{"jq.yaml": manifest("jq"), "db/list.yaml": manifest("db.list"), "db/list.yaml.sig": "x"})
	d := openDir(t, root)

	b, err := d.Load("jq")
	if err != nil {
		t.Fatal(err)
	}
	if b.Manifest.Name != "jq" || b.File != root+"/jq.yaml" || b.Dir != "" || b.Owner != uint32(os.Geteuid()) {
		t.Errorf("bundle = %+v", b)
	}
	if want := digest([]byte(manifest("jq")), nil); b.Digest != want {
		t.Errorf("digest = %s, want %s", b.Digest, want)
	}
	checkStamps(t, b.Stamps, ">"+root, root+"/jq.yaml", "-"+root+"/jq.yaml.sig")

	b, err = d.Load("db.list")
	if err != nil {
		t.Fatal(err)
	}
	checkStamps(t, b.Stamps, ">"+root, ">"+root+"/db", root+"/db/list.yaml", root+"/db/list.yaml.sig")
}

// checkStamps compares stamps with what stat says of paths: "-" in front of one
// is for absent, ">" for a directory that only leads to the bundle.
func checkStamps(t *testing.T, got []plan.Stamp, paths ...string) {
	t.Helper()
	var want []plan.Stamp
	for _, path := range paths {
		if p, absent := strings.CutPrefix(path, "-"); absent {
			want = append(want, plan.Stamp{Path: p, Absent: true})
			continue
		}
		var st unix.Stat_t
		way, passage := strings.CutPrefix(path, ">")
		if err := unix.Lstat(way, &st); err != nil {
			t.Fatal(err)
		}
		if passage {
			want = append(want, plan.Stamp{Path: way, Dev: st.Dev, Ino: st.Ino, Passage: true, Mode: st.Mode, UID: st.Uid})
			continue
		}
		want = append(want, plan.Stamp{
			Path: path, Dev: st.Dev, Ino: st.Ino, Size: st.Size,
			MtimeNs: st.Mtim.Nano(), CtimeNs: st.Ctim.Nano(),
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stamps (-want +got):\n%s", diff)
	}
}

func TestLoadDir(t *testing.T) {
	root := tree(t, map[string]string{
		"db/backup/bundle.yaml": manifest("db.backup"),
		"db/backup/bin/dump":    "#!/bin/sh\n",
		"db/backup/share/a":     "a",
		"db/backup/.hidden":     "h",
		"db/backup/old~":        "o",
	})
	if err := os.Chmod(root+"/db/backup/bin/dump", 0o755); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, root)
	b, err := d.Load("db.backup")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, f := range b.Files {
		files = append(files, fmt.Sprint(f.Name, " ", f.Executable, " ", f.Size))
	}
	if diff := cmp.Diff([]string{"bin/dump true 10", "share/a false 1"}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if b.Dir != root+"/db/backup" {
		t.Errorf("dir = %s", b.Dir)
	}
	checkStamps(t, b.Stamps, ">"+root, ">"+root+"/db", root+"/db/backup", root+"/db/backup/bundle.yaml",
		"-"+root+"/db/backup/bundle.sig", root+"/db/backup/bin", root+"/db/backup/share")

	// The digest depends on names, bytes and the executable bit, on nothing else.
	changes := []struct {
		name string
		do   func() error
		same bool
	}{
		{"mode without execute", func() error { return os.Chmod(root+"/db/backup/share/a", 0o600) }, true},
		{"ignored file", func() error { return os.WriteFile(root+"/db/backup/.x", nil, 0o644) }, true},
		{"execute bit", func() error { return os.Chmod(root+"/db/backup/share/a", 0o755) }, false},
		{"bytes", func() error { return os.WriteFile(root+"/db/backup/share/a", []byte("b"), 0o755) }, false},
		{"name", func() error { return os.Rename(root+"/db/backup/share/a", root+"/db/backup/share/b") }, false},
		{"empty file", func() error { return os.WriteFile(root+"/db/backup/share/c", nil, 0o644) }, false},
		{"manifest", func() error {
			return os.WriteFile(root+"/db/backup/bundle.yaml", []byte(manifest("db.backup")+"# x\n"), 0o644)
		}, false},
	}
	last := b.Digest
	for _, c := range changes {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		b, err := d.Load("db.backup")
		if err != nil {
			t.Fatal(err)
		}
		if (b.Digest == last) != c.same {
			t.Errorf("%s: digest equal is %v, want %v", c.name, b.Digest == last, c.same)
		}
		last = b.Digest
	}
}

func TestLoadRefuses(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside.yaml")
	if err := os.WriteFile(outside, []byte(manifest("jq")), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		files   map[string]string
		prepare func(root string) error
		load    string
		want    string // within the message
		is      error
	}{
		{name: "missing", load: "jq", is: ErrNotFound},
		{name: "bad name", load: "../jq", is: ErrNotFound},
		{name: "name with slash", load: "db/backup", is: ErrNotFound},
		{name: "group", files: map[string]string{"db/x.yaml": manifest("db.x")}, load: "db", is: ErrGroup},
		{name: "below a command", files: map[string]string{"db/bundle.yaml": manifest("db"), "db/x.yaml": manifest("db.x")}, load: "db.x", is: ErrNotFound},
		{name: "command and group", files: map[string]string{"db.yaml": manifest("db"), "db/x.yaml": manifest("db.x")}, load: "db.x", is: ErrTree},
		{name: "command and group, command", files: map[string]string{"db.yaml": manifest("db"), "db/x.yaml": manifest("db.x")}, load: "db", is: ErrTree},
		{name: "other name inside", files: map[string]string{"jq.yaml": manifest("yq")}, load: "jq", want: `says that its name is "yq"`},
		{name: "bad manifest", files: map[string]string{"jq.yaml": "name: jq\n"}, load: "jq", want: "jq.yaml:1:1: manifest: apiVersion is missing"},
		{name: "symbolic link", prepare: func(root string) error { return os.Symlink(outside, root+"/jq.yaml") }, load: "jq", want: "symbolic link not accepted"},
		{name: "dangling link", prepare: func(root string) error { return os.Symlink("nothing", root+"/jq.yaml") }, load: "jq", want: "symbolic link not accepted"},
		{name: "linked group", files: map[string]string{"real/x.yaml": manifest("real.x")},
			prepare: func(root string) error { return os.Symlink("real", root+"/db") }, load: "db.x", want: "symbolic link not accepted"},
		{name: "hard link", prepare: func(root string) error { return os.Link(outside, root+"/jq.yaml") }, load: "jq", want: "hard link not accepted"},
		{name: "named pipe", prepare: func(root string) error { return unix.Mkfifo(root+"/jq.yaml", 0o644) }, load: "jq", want: "named pipe not accepted"},
		{name: "directory as manifest", prepare: func(root string) error { return os.Mkdir(root+"/jq.yaml", 0o755) }, load: "jq", want: "directory not accepted"},
		{name: "writable manifest", files: map[string]string{"jq.yaml": manifest("jq")},
			prepare: func(root string) error { return os.Chmod(root+"/jq.yaml", 0o666) }, load: "jq", want: "jq.yaml\": writable by others"},
		{name: "writable group", files: map[string]string{"db/x.yaml": manifest("db.x")},
			prepare: func(root string) error { return os.Chmod(root+"/db", 0o775) }, load: "db.x", want: "db\": writable by others"},
		{name: "writable signature", files: map[string]string{"jq.yaml": manifest("jq"), "jq.yaml.sig": ""},
			prepare: func(root string) error { return os.Chmod(root+"/jq.yaml.sig", 0o646) }, load: "jq", want: "jq.yaml.sig\": writable by others"},
		{name: "too large", prepare: func(root string) error {
			return os.WriteFile(root+"/jq.yaml", []byte(strings.Repeat("#", yamlnode.MaxSize+1)), 0o644)
		}, load: "jq", want: "more than the bound of 1048576"},
		{name: "link in bundle", files: map[string]string{"d/bundle.yaml": manifest("d")},
			prepare: func(root string) error { return os.Symlink("/etc/shadow", root+"/d/data") }, load: "d", want: "symbolic link not accepted"},
		{name: "hard link in bundle", files: map[string]string{"d/bundle.yaml": manifest("d")},
			prepare: func(root string) error { return os.Link(outside, root+"/d/data") }, load: "d", want: "hard link not accepted"},
		{name: "pipe in bundle", files: map[string]string{"d/bundle.yaml": manifest("d")},
			prepare: func(root string) error { return unix.Mkfifo(root+"/d/data", 0o644) }, load: "d", want: "named pipe not accepted"},
		{name: "deep bundle", files: map[string]string{"d/bundle.yaml": manifest("d"), "d/1/2/3/4/5/6/7/8/x": ""}, load: "d", want: "nested deeper than 8"},
		{name: "control character in a shipped name", files: map[string]string{"d/bundle.yaml": manifest("d"), "d/a\nb": ""}, load: "d", want: "not a name for a shipped file"},
		{name: "socket in bundle", files: map[string]string{"d/bundle.yaml": manifest("d")},
			prepare: func(root string) error { return socket(root + "/d/data") }, load: "d", want: "socket not accepted"},
		{name: "100 MB manifest", files: map[string]string{"jq.yaml": manifest("jq")},
			prepare: func(root string) error { return os.Truncate(root+"/jq.yaml", 100<<20) }, load: "jq", want: "more than the bound of 1048576"},
		{name: "100 MB signature", files: map[string]string{"jq.yaml": manifest("jq"), "jq.yaml.sig": ""},
			prepare: func(root string) error { return os.Truncate(root+"/jq.yaml.sig", 100<<20) }, load: "jq", want: "more than the bound of 16384"},
		{name: "alias bomb", files: map[string]string{"jq.yaml": manifest("jq") + bomb()}, load: "jq", want: "jq.yaml:5:4: anchors are not supported"},
		{name: "deeply nested manifest", files: map[string]string{"jq.yaml": manifest("jq") + "policy: " + strings.Repeat("[", 10_000)}, load: "jq", want: "jq.yaml:5:40: nested deeper than 32 levels"},
		{name: "control character in a manifest", files: map[string]string{"jq.yaml": manifest("jq") + "summary: a\x1b[31mb\n"}, load: "jq", want: "jq.yaml:5:11: control character U+001B"},
		{name: "escaped control character", files: map[string]string{"jq.yaml": manifest("jq") + "summary: \"a\\e[31mb\"\n"}, load: "jq", want: "summary: want one line"},
		{name: "10,001 files", files: map[string]string{"d/bundle.yaml": manifest("d")}, prepare: func(root string) error { return fill(root+"/d", MaxFiles+1) }, load: "d", want: "more than 10000 "},
		{name: "10,001 files in directories", files: map[string]string{"d/bundle.yaml": manifest("d"), "d/one/x": ""},
			prepare: func(root string) error { return fill(root+"/d/two", MaxFiles) }, load: "d", want: "more than 10000 files"},
		{name: "large sparse file", files: map[string]string{"d/bundle.yaml": manifest("d"), "d/x": ""},
			prepare: func(root string) error { return os.Truncate(root+"/d/x", MaxBytes+1) }, load: "d", want: "more than the bound of 1073741824"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := tree(t, tt.files)
			if tt.prepare != nil {
				if err := tt.prepare(root); err != nil {
					t.Fatal(err)
				}
			}
			_, err := openDir(t, root).Load(tt.load)
			if err == nil {
				t.Fatal("loaded")
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %q is not %q", err, tt.is)
			}
			if tt.is == nil && errors.Is(err, ErrNotFound) {
				t.Errorf("error %q says that there is none", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not contain %q", err, tt.want)
			}
		})
	}
}

// bomb is "a billion laughs" (CVE-2003-1564): nine lists of nine aliases each.
func bomb() string {
	var b strings.Builder
	b.WriteString("a: &a [x, x, x, x, x, x, x, x, x]\n")
	for c := 'b'; c < 'k'; c++ {
		fmt.Fprintf(&b, "%c: &%[1]c [%s]\n", c, strings.TrimSuffix(strings.Repeat("*"+string(c-1)+", ", 9), ", "))
	}
	return b.String()
}

func socket(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
}

// fill makes n empty files in a directory.
func fill(dir string, n int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range n {
		if err := os.WriteFile(fmt.Sprint(dir, "/f", i), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// TestMostFiles: a bundle may ship as many files as the bound says, wherever
// they are, besides its manifest and its signature.
func TestMostFiles(t *testing.T) {
	root := tree(t, map[string]string{"d/bundle.yaml": manifest("d"), "d/bundle.sig": "x"})
	if err := fill(root+"/d", MaxFiles); err != nil {
		t.Fatal(err)
	}
	b, err := openDir(t, root).Load("d")
	if err != nil || len(b.Files) != MaxFiles {
		t.Errorf("%d files, %v", len(b.Files), err)
	}
}

func TestDeviceNode(t *testing.T) {
	testenv.Root(t)
	for _, kind := range []uint32{unix.S_IFCHR, unix.S_IFBLK} {
		root := tree(t, map[string]string{"d/bundle.yaml": manifest("d")})
		for _, path := range []string{"/d/data", "/jq.yaml"} {
			if err := unix.Mknod(root+path, kind|0o644, int(unix.Mkdev(1, 3))); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"d", "jq"} {
			var bad *safefs.KindError
			if _, err := openDir(t, root).Load(name); !errors.As(err, &bad) || bad.Kind != "device" {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestLoadOwner(t *testing.T) {
	testenv.Root(t)
	root := tree(t, map[string]string{"jq.yaml": manifest("jq"), "db/x.yaml": manifest("db.x")})
	for _, path := range []string{"/jq.yaml", "/db"} {
		if err := os.Chown(root+path, 1234, 0); err != nil {
			t.Fatal(err)
		}
	}
	d := openDir(t, root)
	for name, want := range map[string]string{"jq": root + "/jq.yaml", "db.x": root + "/db"} {
		_, err := d.Load(name)
		var owner *safefs.OwnerError
		if !errors.As(err, &owner) || owner.Path != want || owner.UID != 1234 {
			t.Errorf("%s: error %v, want an owner error about %s", name, err, want)
		}
	}
}

func TestOpenDir(t *testing.T) {
	if _, err := OpenDir(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	root := tree(t, map[string]string{"file": ""})
	if _, err := OpenDir(root + "/file"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("file: %v", err)
	}
	if err := os.Chmod(root, 0o777); err != nil {
		t.Fatal(err)
	}
	var owner *safefs.OwnerError
	if _, err := OpenDir(root); !errors.As(err, &owner) || owner.Path != root {
		t.Errorf("writable: %v", err)
	}
}

func TestNames(t *testing.T) {
	root := tree(t, map[string]string{
		"jq.yaml": manifest("jq"), "jq.yaml.sig": "", "README": "", ".git/x.yaml": "", "old.yaml~": "",
		"db/list.yaml": "not looked at", "db/backup/bundle.yaml": "x", "db/backup/sub/deep.yaml": "",
		"both.yaml": "", "both/x.yaml": "", "Upper.yaml": "", "short.yml": "", "empty/": "",
	})
	if err := os.Symlink("jq.yaml", root+"/link.yaml"); err != nil {
		t.Fatal(err)
	}
	entries, err := openDir(t, root).Names()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprint(e.Name, " ", e.Group, " ", e.Err != nil))
	}
	want := []string{
		"Upper false true", "both false true", "db true false", "db.backup false false", "db.list false false",
		"empty true false", "jq false false", "link false true", "short false true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestFind(t *testing.T) {
	src := openDir(t, tree(t, map[string]string{
		"jq.yaml": "", "db/list.yaml": "", "db/backup/bundle.yaml": "", "db/deep/er/x.yaml": "",
	}))
	for _, tt := range []struct {
		words    string
		name     string
		rest     string
		err      string
		children string
		is       error
	}{
		{words: "jq . x", name: "jq", rest: ". x"},
		{words: "db list", name: "db.list"},
		{words: "db.list a", name: "db.list", rest: "a"},
		{words: "db backup db list", name: "db.backup", rest: "db list"},
		{words: "db.deep er.x y", name: "db.deep.er.x", rest: "y"},
		{words: "db", err: `"db" is a group, not a command`, children: "backup deep list", is: ErrGroup},
		{words: "db lst", err: `no such command: "lst" in group "db"`, children: "backup deep list", is: ErrNotFound},
		{words: "zz", err: `no such command: "zz"`, children: "db jq", is: ErrNotFound},
		{words: "jq.x", err: `no such command: "jq.x"`, children: "db jq", is: ErrNotFound},
		{words: "", err: "a command's name is missing", children: "db jq", is: ErrNotFound},
		{words: "../jq", err: `no such command: "../jq"`, children: "db jq", is: ErrNotFound},
		{words: "db --help", err: `no such command: "--help" in group "db"`, children: "backup deep list", is: ErrNotFound},
	} {
		t.Run(tt.words, func(t *testing.T) {
			name, rest, err := Find(src, strings.Fields(tt.words))
			if name != tt.name || strings.Join(rest, " ") != tt.rest {
				t.Errorf("found %q %q, want %q %q", name, rest, tt.name, tt.rest)
			}
			if tt.err == "" {
				if err != nil {
					t.Errorf("error %v", err)
				}
				return
			}
			var unknown *UnknownError
			if !errors.As(err, &unknown) || err.Error() != tt.err || !errors.Is(err, tt.is) {
				t.Fatalf("error %v, want %s", err, tt.err)
			}
			if got := strings.Join(unknown.Children, " "); got != tt.children {
				t.Errorf("children %q, want %q", got, tt.children)
			}
		})
	}
}

func TestSources(t *testing.T) {
	first := openDir(t, tree(t, map[string]string{"jq.yaml": strings.Replace(manifest("jq"), "1.0.0", "9.0.0", 1), "db/a.yaml": manifest("db.a")}))
	second := openDir(t, tree(t, map[string]string{"db/b.yaml": manifest("db.b")}))
	all := Sources{first, second, Builtin()}
	b, err := all.Load("jq")
	if err != nil || b.Manifest.Version != "9.0.0" {
		t.Errorf("jq = %s, %v; want the first source's", b.Manifest.Version, err)
	}
	for _, name := range []string{"db.b", "git"} {
		if _, err := all.Load(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := all.Load("none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("none: %v", err)
	}
	entries, err := all.Names()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprint(e.Name, " ", e.Group, " ", e.Shadowed))
	}
	want := []string{
		"db true false", "db.a false false", "db.b false false", "git false false", "grep false false",
		"jq false false", "jq false true", "python3 false false", "tar false false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// TestDigest pins the definition: a change of it would make every signature
// and every remembered revision wrong.
func TestDigest(t *testing.T) {
	files := []ShippedFile{{Name: "bin/x", Executable: true, SHA256: strings.Repeat("ab", 32)}}
	for _, tt := range []struct {
		name, got, want string
	}{
		{"manifest alone", digest([]byte("a"), nil), "sha256:0f47baba0dee387ab1aea630927ee76cdac3c4ee8c4d6ed64fbbcd7b6d36228e"},
		{"with a file", digest([]byte("a"), files), "sha256:3e0bfa48173aa54925e7427ffd1d36fa50603c24ae13a65ed7d8c512d4bcb416"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, tt.got, tt.want)
		}
	}
}
