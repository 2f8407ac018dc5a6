package chain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// failing makes the step of a number fail, counted from 1, and remembers what
// it was.
type failing struct {
	at, seen int
	err      error
	hit      *step
}

func (f *failing) before(s step) error {
	f.seen++
	if f.seen == f.at {
		f.hit = &s
		return f.err
	}
	return nil
}

// TestEveryStepMayFail: whatever step of a commit fails, and for whatever
// reason, the generation before stays, nothing is left behind, and the next
// commit works.
func TestEveryStepMayFail(t *testing.T) {
	for _, fault := range []error{unix.ENOSPC, unix.EIO} {
		reached := false
		for at := 1; !reached; at++ {
			dir := make3(t)
			c := openChain(t, dir, Exclusive)
			s, _, err := c.Newest()
			must(t, err)
			f := &failing{at: at, err: fault}
			c.disk.before = f.before
			_, err = advance(c, s)
			c.disk.before = nil
			what := fmt.Sprintf("step %d (%+v) with %v", at, f.hit, fault)
			newest := uint64(3)
			if reached = f.hit == nil; reached {
				t.Logf("a commit has %d steps", at-1)
			}
			if err == nil {
				// Removing what is beyond the chain may fail: it is tried again.
				newest = 4
			} else if f.hit == nil || !errors.Is(err, fault) {
				t.Fatalf("%s: %v", what, err)
			}
			if left := leftovers(t, dir); len(left) > 0 {
				t.Errorf("%s: left behind: %v", what, left)
			}
			for _, one := range []*Chain{c, openChain(t, dir, ReadOnly)} {
				got, damaged, err := one.Newest()
				if err != nil || damaged != nil {
					t.Fatalf("%s: newest: %v, %v", what, damaged, err)
				}
				wantGeneration(t, one, got, newest)
			}
			s, err = advance(c, s)
			if err != nil {
				t.Fatalf("%s: the next commit: %v", what, err)
			}
			got, damaged, err := c.Newest()
			if err != nil || damaged != nil {
				t.Fatalf("%s: newest: %v, %v", what, damaged, err)
			}
			wantGeneration(t, c, got, s.Generation)
			must(t, c.Close())
		}
	}
}

// leftovers are temporary files.
func leftovers(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if isTemporary(d.Name()) {
			out = append(out, path)
		}
		return err
	}))
	return out
}

// TestABundleThatWasNotMadeDurableIsWrittenAgain: after a failed fsync(2) what
// is read says nothing about what is on the disk.
func TestABundleThatWasNotMadeDurableIsWrittenAgain(t *testing.T) {
	c := openChain(t, t.TempDir()+"/s", Exclusive)
	b, open := bundle("x", versionOf(1))
	must(t, c.Put(b, open, nil))
	var before, after unix.Stat_t
	must(t, unix.Stat(c.BundleDir(b.Digest)+"/data", &before))
	c.disk.before = func(s step) error {
		if s.op == opSync && strings.HasSuffix(s.name, "/data") {
			return unix.EIO
		}
		return nil
	}
	if _, err := advance(c, nil); !errors.Is(err, unix.EIO) {
		t.Fatalf("commit: %v", err)
	}
	c.disk.before = nil
	must(t, c.Put(b, open, nil))
	must(t, unix.Stat(c.BundleDir(b.Digest)+"/data", &after))
	if before.Ino == after.Ino {
		t.Error("the file is still the one whose pages may be gone")
	}
}

// TestAFullDisk: a tmpfs of every size in steps of a page, from one that holds
// nothing to one that holds two generations.
func TestAFullDisk(t *testing.T) {
	testenv.Root(t)
	cmd, lines := start(t, "full", t.TempDir(), unix.CLONE_NEWNS)
	text, err := lines.ReadString(0)
	if waitErr := cmd.Wait(); waitErr != nil {
		t.Fatalf("%v (%v): %s", waitErr, err, text)
	}
	t.Log(strings.TrimSpace(text))
}

// tmpfs mounts one that no other mount namespace sees.
func tmpfs(dir string, options string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,"+options)
}

func childFull(dir string) error {
	fmt.Println("ready")
	failed, done := 0, 0
	for pages := 1; done < 2; pages++ {
		if err := tmpfs(dir, fmt.Sprintf("size=%dk,nr_inodes=1000", pages*4)); err != nil {
			return err
		}
		committed, err := fillUp(dir)
		if err != nil {
			return fmt.Errorf("%d pages: %w", pages, err)
		}
		if committed < 2 {
			failed++
		} else {
			done++
		}
		if err := unix.Unmount(dir, 0); err != nil {
			return err
		}
		if pages > 500 {
			return errors.New("it never fits")
		}
	}
	fmt.Printf("%d sizes were too small\n", failed)
	if failed < 10 {
		return errors.New("hardly any size was too small")
	}
	return nil
}

// fillUp commits two generations in a full directory, and checks that what
// failed left the ones before; then it makes room and commits once more.
func fillUp(dir string) (committed uint64, err error) {
	c, err := Open(dir+"/state", Exclusive)
	if err == nil {
		var s *Snapshot
		for committed < 2 {
			next, err := advance(c, s)
			if err != nil {
				if !errors.Is(err, unix.ENOSPC) {
					return committed, err
				}
				break
			}
			s, committed = next, committed+1
		}
		if err := verify(c, committed); err != nil {
			return committed, err
		}
		c.Close()
	} else if !errors.Is(err, unix.ENOSPC) {
		return 0, err
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=8m"); err != nil {
		return committed, err
	}
	c, err = Open(dir+"/state", Exclusive)
	if err != nil {
		return committed, err
	}
	defer c.Close()
	if err := verify(c, committed); err != nil {
		return committed, fmt.Errorf("opened again: %w", err)
	}
	s, _, err := c.Newest()
	if err != nil && !errors.Is(err, ErrEmpty) {
		return committed, err
	}
	if s, err = advance(c, s); err != nil {
		return committed, fmt.Errorf("with room: %w", err)
	}
	return committed, verify(c, s.Generation)
}

// verify is wantGeneration for a process without a testing.T; 0 is an empty
// chain.
func verify(c *Chain, generation uint64) error {
	s, damaged, err := c.Newest()
	if generation == 0 && errors.Is(err, ErrEmpty) && damaged == nil {
		return nil
	}
	if err != nil || damaged != nil || s.Generation != generation {
		return fmt.Errorf("newest is %+v (damaged %v, %v), want %d", s, damaged, err, generation)
	}
	for _, name := range names {
		if r, _ := s.Commands[name].Current(); r.Version != versionOf(generation) {
			return fmt.Errorf("%s has version %q in generation %d", name, r.Version, generation)
		}
	}
	r, _ := s.Commands[names[0]].Current()
	_, err = c.Load("x", r.Digest)
	return err
}

// TestAReadOnlyDirectory: what cannot be written can be read.
func TestAReadOnlyDirectory(t *testing.T) {
	dir := make3(t)
	if os.Geteuid() != 0 {
		for _, part := range []string{"", generationsDir, objectsDir, bundlesDir} {
			must(t, os.Chmod(filepath.Join(dir, part), 0o500))
			t.Cleanup(func() { os.Chmod(filepath.Join(dir, part), 0o700) })
		}
		must(t, readOnly(dir))
		return
	}
	testenv.Root(t)
	cmd, lines := start(t, "readonly", dir, unix.CLONE_NEWNS)
	text, _ := lines.ReadString(0)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

func childReadOnly(dir string) error {
	fmt.Println("ready")
	for _, step := range []struct {
		source string
		flags  uintptr
		at     string
	}{{"", unix.MS_REC | unix.MS_PRIVATE, "/"}, {dir, unix.MS_BIND, dir}, {"", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY, dir}} {
		if err := unix.Mount(step.source, step.at, "", step.flags, ""); err != nil {
			return err
		}
	}
	return readOnly(dir)
}

func readOnly(dir string) error {
	// The lock file may be opened where permissions alone are missing.
	c, err := Open(dir, Exclusive)
	if err == nil {
		_, err = advance(c, nil)
		c.Close()
	}
	if !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("written: %w", err)
	}
	if c, err = Open(dir, ReadOnly); err != nil {
		return err
	}
	defer c.Close()
	return verify(c, 3)
}
