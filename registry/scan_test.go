package registry

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// settled waits until what was just written is old enough for its stamps to be
// believed, so that a test of what is not read means something.
func settled() {
	for end := time.Now().Add(2 * youngFor); time.Now().Before(end); {
		time.Sleep(youngFor / 4)
	}
}

func scanned(t *testing.T, d *Dir, prev *Listing, o ScanOptions) (*Listing, Changes) {
	t.Helper()
	l, c, err := Scan(d, prev, o)
	if err != nil {
		t.Fatal(err)
	}
	return l, c
}

// say is a short form of what changed.
func say(c Changes) string {
	var out []string
	for _, list := range []struct {
		sign  string
		names []string
	}{{"+", c.Appeared}, {"*", c.Changed}, {"-", c.Vanished}} {
		for _, name := range list.names {
			out = append(out, list.sign+name)
		}
	}
	for _, p := range c.Problems {
		out = append(out, "!"+p.Name)
	}
	return strings.Join(out, " ")
}

func TestScan(t *testing.T) {
	start := map[string]string{
		"a.yaml": manifest("a"), "b.yaml": manifest("b"),
		"db/list.yaml": manifest("db.list"), "db/backup/bundle.yaml": manifest("db.backup"), "db/backup/bin/dump": "#!",
		"other/x.yaml": manifest("other.x"),
	}
	put := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			// By rename, as people who know do it.
			if err := os.WriteFile(filepath.Dir(path)+"/.tmp", []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Dir(path)+"/.tmp", path); err != nil {
				t.Fatal(err)
			}
		}
	}
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(_ *testing.T, root string) { must(os.RemoveAll(root + "/" + name)) }
	}
	move := func(from, to string) func(*testing.T, string) {
		return func(_ *testing.T, root string) { must(os.Rename(root+"/"+from, root+"/"+to)) }
	}
	tests := []struct {
		name   string
		change func(*testing.T, string)
		hints  []string
		want   string
		read   int
	}{
		{"nothing", func(*testing.T, string) {}, []string{"a.yaml", "db", "other/x.yaml", "none"}, "", 0},
		{"changed", put("a.yaml", manifest("a")+"summary: x\n"), []string{"a.yaml"}, "*a", 1},
		{"same content anew", put("a.yaml", manifest("a")), []string{"a.yaml"}, "", 1},
		{"new", put("c.yaml", manifest("c")), []string{"c.yaml"}, "+c", 1},
		{"gone", remove("b.yaml"), []string{"b.yaml"}, "-b", 0},
		{"renamed", move("b.yaml", "c.yaml"), []string{"b.yaml", "c.yaml"}, "+c -b", 1},
		{"a shipped file", put("db/backup/bin/dump", "#!2"), []string{"db/backup/bin/dump"}, "*db.backup", 1},
		{"a shipped file more", put("db/backup/more", ""), []string{"db/backup/more"}, "*db.backup", 1},
		{"a shipped file deep inside", put("db/backup/e/f/g", ""), []string{"db/backup/e"}, "*db.backup", 1},
		{"an executable bit", func(_ *testing.T, root string) { must(os.Chmod(root+"/db/backup/bin/dump", 0o755)) }, []string{"db/backup/bin/dump"}, "*db.backup", 1},
		{"an editor's file", put("db/backup/bin/dump~", "x"), []string{"db/backup/bin"}, "", 1},
		{"signature", put("a.yaml.sig", "sig"), []string{"a.yaml.sig"}, "*a", 1},
		{"signature of a directory", put("db/backup/bundle.sig", "sig"), []string{"db/backup/bundle.sig"}, "*db.backup", 1},
		{"a group goes", remove("db"), []string{"db"}, "-db.backup -db.list", 0},
		{"a group comes", put("x/y/z.yaml", manifest("x.y.z")), []string{"x"}, "+x.y.z", 1},
		{"a group comes, told by its file", put("x/y/z.yaml", manifest("x.y.z")), []string{"x/y/z.yaml"}, "+x.y.z", 1},
		{"a group is moved", move("db", "data"), []string{"db", "data"}, "+data.backup +data.list -db.backup -db.list", 2},
		{"a group becomes a command", put("db/bundle.yaml", manifest("db")), []string{"db/bundle.yaml"}, "+db -db.backup -db.list", 1},
		{"a command becomes a group", func(t *testing.T, root string) {
			remove("db/backup/bundle.yaml")(t, root)
			put("db/backup/now.yaml", manifest("db.backup.now"))(t, root)
		}, []string{"db/backup/bundle.yaml", "db/backup/now.yaml"}, "+db.backup.now -db.backup", 1},
		{"one file becomes a directory", func(t *testing.T, root string) {
			remove("a.yaml")(t, root)
			put("a/bundle.yaml", manifest("a"))(t, root)
		}, []string{"a.yaml", "a"}, "", 1},
		{"command and group", put("db.yaml", manifest("db")), []string{"db.yaml"}, "+db -db.backup -db.list", 0},
		{"not readable", func(_ *testing.T, root string) { must(os.Chmod(root+"/a.yaml", 0o666)) }, []string{"a.yaml"}, "*a", 1},
		{"a symbolic link", func(_ *testing.T, root string) {
			must(os.Symlink("a.yaml", root+"/.l"))
			must(os.Rename(root+"/.l", root+"/b.yaml"))
		}, []string{"b.yaml"}, "*b", 1},
		{"a group open to others keeps its commands", func(_ *testing.T, root string) { must(os.Chmod(root+"/db", 0o777)) }, []string{"db"}, "!db", 0},
		{"wrong suffix", put("n.yml", manifest("n")), []string{"n.yml"}, "!n.yml", 0},
		{"not a name", put("db/Bad.yaml", manifest("bad")), []string{"db/Bad.yaml"}, "!db/Bad.yaml", 0},
		{"a dot in a name", put("x.y.yaml", manifest("x.y")), []string{"x.y.yaml"}, "!x.y.yaml", 0},
		{"of no meaning", put("README", "x"), []string{"README"}, "", 0},
	}
	for _, tt := range tests {
		for _, mode := range []string{"whole", "hinted"} {
			t.Run(tt.name+"/"+mode, func(t *testing.T) {
				root := tree(t, start)
				d := openDir(t, root)
				settled()
				first, c := scanned(t, d, nil, ScanOptions{})
				if got := say(c); got != "+a +b +db.backup +db.list +other.x" || c.Read != 5 || len(c.Raw) != 5 {
					t.Fatalf("first scan: %s, %d read", got, c.Read)
				}
				tt.change(t, root)
				var o ScanOptions
				if mode == "hinted" {
					for _, h := range tt.hints {
						o.Paths = append(o.Paths, root+"/"+h)
					}
				}
				second, c := scanned(t, d, first, o)
				if got := say(c); got != tt.want || c.Read != tt.read {
					t.Errorf("got %q, %d read; want %q, %d read", got, c.Read, tt.want, tt.read)
				}
				// Another look finds nothing more, and a look at everything
				// with everything read agrees with what is known.
				third, c := scanned(t, d, second, ScanOptions{})
				if !c.Empty() {
					t.Errorf("once more: %s", say(c))
				}
				_, c = scanned(t, d, third, ScanOptions{Read: true})
				if !c.Empty() || c.Read == 0 {
					t.Errorf("all read: %s, %d read", say(c), c.Read)
				}
				fresh, _ := scanned(t, d, nil, ScanOptions{})
				if tt.want != "!db" { // there the listing remembers
					if diff := cmp.Diff(known(fresh), known(third)); diff != "" {
						t.Errorf("a listing made anew differs (-anew +kept):\n%s", diff)
					}
				}
			})
		}
	}
}

// known is a listing as name, kind, digest and error.
func known(l *Listing) []string {
	var out []string
	for item := range l.All() {
		out = append(out, fmt.Sprint(item.Name, item.Kind, item.Digest, item.Err))
	}
	slices.Sort(out)
	return out
}

// TestScanYoung: two changes within one tick of the kernel's clock leave the
// same stamps; what was read so soon is read again.
func TestScanYoung(t *testing.T) {
	root := tree(t, map[string]string{"a.yaml": manifest("a")})
	d := openDir(t, root)
	first, _ := scanned(t, d, nil, ScanOptions{})
	if _, c := scanned(t, d, first, ScanOptions{}); c.Read != 1 || !c.Empty() {
		t.Errorf("%d read, %s; want one read and nothing changed", c.Read, say(c))
	}
}

// TestScanRootGone: the registry cannot be read, and what was known stands.
func TestScanRootGone(t *testing.T) {
	root := tree(t, map[string]string{"a.yaml": manifest("a")})
	d := openDir(t, root)
	first, _ := scanned(t, d, nil, ScanOptions{})
	if err := os.Chmod(root, 0o777); err != nil {
		t.Fatal(err)
	}
	second, c, err := Scan(d, first, ScanOptions{})
	if err == nil || second != first || !c.Empty() {
		t.Errorf("err %v, changes %s", err, say(c))
	}
}

// TestScanOtherReason: a bundle that cannot be read is told once for each
// reason.
func TestScanOtherReason(t *testing.T) {
	root := tree(t, map[string]string{"a.yaml": manifest("a")})
	d := openDir(t, root)
	l, _ := scanned(t, d, nil, ScanOptions{})
	for _, step := range []struct {
		change func() error
		want   string
	}{
		{func() error { return os.Chmod(root+"/a.yaml", 0o666) }, "*a"},
		{func() error { return nil }, ""},
		{func() error { return os.Link(root+"/a.yaml", root+"/.other") }, ""}, // the owner is looked at first
		{func() error { return os.Chmod(root+"/a.yaml", 0o644) }, "*a"},
		{func() error { return os.Remove(root + "/.other") }, "*a"},
	} {
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		var c Changes
		if l, c = scanned(t, d, l, ScanOptions{}); say(c) != step.want {
			t.Errorf("got %q, want %q", say(c), step.want)
		}
	}
}

// TestScanRaw: what was read is handed over, and is what Read reads.
func TestScanRaw(t *testing.T) {
	root := tree(t, map[string]string{"a.yaml": manifest("a"), "a.yaml.sig": "sig"})
	d := openDir(t, root)
	l, c := scanned(t, d, nil, ScanOptions{})
	want, err := d.Read("a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, c.Raw["a"]); diff != "" {
		t.Errorf("raw (-read +scanned):\n%s", diff)
	}
	if item, ok := l.Get("a"); !ok || item.Digest != want.Digest || item.Kind != Command {
		t.Errorf("item %+v", item)
	}
	if _, ok := l.Get("b"); ok {
		t.Error("a name that is not there is in the listing")
	}
}

func many(b *testing.B, n int) (*Dir, *Listing, string) {
	root := b.TempDir()
	for i := range n {
		name := fmt.Sprintf("c%d", i)
		if err := os.WriteFile(root+"/"+name+".yaml", []byte(manifest(name)), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	d, err := OpenDir(root)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { d.Close() })
	settled()
	l, c, err := Scan(d, nil, ScanOptions{})
	if err != nil || len(c.Appeared) != n {
		b.Fatalf("%d appeared: %v", len(c.Appeared), err)
	}
	return d, l, root
}

// BenchmarkScan looks at 10,000 bundles, of which nothing or one changed.
func BenchmarkScan(b *testing.B) {
	d, l, root := many(b, 10_000)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			if _, c, err := Scan(d, nil, ScanOptions{}); err != nil || c.Read != 10_000 {
				b.Fatal(c.Read, err)
			}
		}
	})
	b.Run("whole-unchanged", func(b *testing.B) {
		for b.Loop() {
			if _, c, err := Scan(d, l, ScanOptions{}); err != nil || c.Read != 0 {
				b.Fatal(c.Read, err)
			}
		}
	})
	b.Run("hinted-one-changed", func(b *testing.B) {
		path := root + "/c5000.yaml"
		for i := 0; b.Loop(); i++ {
			if err := os.WriteFile(path, []byte(manifest("c5000")+fmt.Sprintf("summary: %d\n", i)), 0o644); err != nil {
				b.Fatal(err)
			}
			next, c, err := Scan(d, l, ScanOptions{Paths: []string{path}})
			if err != nil || len(c.Changed) != 1 {
				b.Fatal(say(c), err)
			}
			l = next
		}
	})
}
