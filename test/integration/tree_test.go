package integration

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// give makes a file or tree belong to the ordinary user.
func give(t testing.TB, tree string, uid int) {
	t.Helper()
	err := filepath.WalkDir(tree, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// tree describes everything below dir but the owners: type, mode, content.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		line := st.Mode().String()
		switch {
		case st.Mode().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %x", len(text), sha256.Sum256(text))
		case st.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " " + target
		}
		rel, err := filepath.Rel(dir, path)
		out[rel] = line
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// owners lists the uids below a directory.
func owners(t testing.TB, dir string) map[uint32]int {
	t.Helper()
	out := map[uint32]int{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err == nil {
			out[st.Sys().(*syscall.Stat_t).Uid]++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// writable makes the work directory one that the caller's runs may write in:
// root's must belong to an ordinary user.
func (h *host) writable(t testing.TB) {
	t.Helper()
	give(t, h.work(), ordinary)
	if h.uid != 0 && h.uid != ordinary {
		give(t, h.work(), h.uid)
	}
}

func (h *host) wantOwners(t testing.TB) {
	t.Helper()
	want := uint32(ordinary)
	if h.uid != 0 {
		want = uint32(h.uid)
	}
	if got := owners(t, h.work()); len(got) != 1 || got[want] == 0 {
		t.Errorf("files in %s by uid: %v, want all of %d", h.work(), got, want)
	}
}
