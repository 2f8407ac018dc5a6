package nsexec

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// TestSourceIdentity: a source that is not the file any more that the caller
// named is not shown; one that only grew is.
func TestSourceIdentity(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func() error
		want   unix.Errno
	}{
		{"the same", func() error { return nil }, 0},
		{"written to", func() error { return os.WriteFile(file, []byte("longer"), 0o600) }, 0},
		{"replaced", func() error {
			if err := os.WriteFile(file+"2", nil, 0o600); err != nil {
				return err
			}
			return os.Rename(file+"2", file)
		}, unix.ESTALE},
		{"a link instead", func() error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return os.Symlink("/etc/hostname", file)
		}, unix.ESTALE},
	} {
		if err := tt.change(); err != nil {
			t.Fatal(err)
		}
		p := testPlan(t)
		last := len(p.View) - 1
		step := plan.Step{Kind: plan.Tree, Flags: plan.OverFile, Path: "/f", Source: file, Dev: st.Dev, Ino: st.Ino}
		p.View = append(append(p.View[:last:last], step), p.View[last])
		got, _, _, _ := run(t, p, "exit", "0")
		if tt.want == 0 && got.Kind == Failed || tt.want != 0 && (got.Kind != Failed || unix.Errno(got.Errno) != tt.want) {
			t.Errorf("%s: record %+v, want errno %d", tt.name, got, tt.want)
		}
	}
}
