package ctl

import (
	"os"
	"strings"
	"testing"
)

func TestWorkingDir(t *testing.T) {
	short := t.TempDir()
	long := short + strings.Repeat("/"+strings.Repeat("d", 200), 4)
	if err := os.MkdirAll(long, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{short, long} {
		t.Chdir(dir)
		if got := workingDir(); got != dir {
			t.Errorf("%d bytes: %q", len(dir), got)
		}
	}
	gone := short + "/gone"
	if err := os.Mkdir(gone, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(gone)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if got := workingDir(); got != "" {
		t.Errorf("removed: %q", got)
	}
}
