package registry

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/yamlnode"
)

// TestMemory: what a program registers is a source like another.
func TestMemory(t *testing.T) {
	var m Memory
	text := []byte(manifest("db.backup"))
	for _, old := range []string{"", manifest("db.backup")} {
		name, was, err := m.Set(text)
		if err != nil || name != "db.backup" || string(was) != old {
			t.Fatalf("%q, %q, %v", name, was, err)
		}
	}
	text[0] = '!' // the source has its own copy
	if _, _, err := m.Set([]byte(manifest("db"))); !errors.Is(err, ErrTree) {
		t.Errorf("a command above a command: %v", err)
	}
	if _, _, err := m.Set([]byte(manifest("db.backup.more"))); !errors.Is(err, ErrTree) {
		t.Errorf("a command below a command: %v", err)
	}
	var located *yamlnode.Error
	if _, _, err := m.Set([]byte("name: x\nfoo: y\n")); !errors.As(err, &located) {
		t.Errorf("no manifest: %v", err)
	}
	b, err := m.Load("db.backup")
	if err != nil || string(b.Source) != manifest("db.backup") || b.Dir != "" || len(b.Stamps) != 0 {
		t.Errorf("%+v, %v", b, err)
	}
	// The digest is that of the same manifest on disk.
	onDisk, err := openDir(t, tree(t, map[string]string{"db/backup.yaml": manifest("db.backup")})).Load("db.backup")
	if err != nil || onDisk.Digest != b.Digest {
		t.Errorf("digest %s on disk, %s in memory: %v", onDisk.Digest, b.Digest, err)
	}
	for name, want := range map[string]NodeKind{"db": Group, "db.backup": Command, "d": Missing, "db.backup.x": Missing} {
		if kind, err := m.Node(name); kind != want || err != nil {
			t.Errorf("%s is %v, %v; want %v", name, kind, err, want)
		}
	}
	if _, err := m.Load("db"); !errors.Is(err, ErrGroup) {
		t.Errorf("a group: %v", err)
	}
	entries, err := m.Names()
	if diff := cmp.Diff([]Entry{{Name: "db", Group: true}, {Name: "db.backup"}}, entries); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if old := m.Delete("db.backup"); string(old) != manifest("db.backup") {
		t.Errorf("deleted %q", old)
	}
	if old := m.Delete("db.backup"); old != nil {
		t.Errorf("deleted twice: %q", old)
	}
	if _, err := m.Load("db.backup"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}
