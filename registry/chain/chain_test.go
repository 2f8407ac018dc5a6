package chain

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

func TestMain(m *testing.M) {
	if work := os.Getenv(childEnv); work != "" {
		child(work)
	}
	os.Exit(testenv.Main(m))
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bundle makes a bundle with one shipped executable and one in a directory
// below; its content depends on the version. open reads its files.
func bundle(name, version string) (*registry.Bundle, func(string) (io.ReadCloser, error)) {
	contents := map[string]string{
		"bin/" + name: "#!/bin/sh\necho " + version + "\n",
		"data":        strings.Repeat(version+"\n", 2000),
	}
	source := "apiVersion: sbx/v1\nname: " + name + "\nversion: " + version + "\nexec: {path: bin/" + name + ", args: passthrough}\n"
	b := &registry.Bundle{Source: []byte(source), File: name + ".yaml"}
	for _, file := range sortedKeys(contents) {
		b.Files = append(b.Files, registry.ShippedFile{
			Name: file, Executable: file != "data", Size: int64(len(contents[file])), SHA256: sum([]byte(contents[file])),
		})
	}
	m, err := registry.ParseManifest(b.File, b.Source)
	if err != nil {
		panic(err)
	}
	b.Manifest = m
	b.Digest = registry.ContentDigest(b.Source, b.Files)
	return b, func(file string) (io.ReadCloser, error) {
		text, ok := contents[file]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(strings.NewReader(text)), nil
	}
}

// versionOf is the version that every command has in a generation.
func versionOf(generation uint64) string { return "1.0." + strconv.FormatUint(generation, 10) }

// names of commands that lie in different shards.
var names = []string{"alpha", "beta.one", "gamma"}

// advance makes the next generation: all commands of names take the version of
// that generation, so that a mixture of two is seen. The bundle of the first
// is stored.
func advance(c *Chain, s *Snapshot) (*Snapshot, error) {
	generation, err := c.Next()
	if err != nil {
		return nil, err
	}
	next := &Snapshot{Generation: generation, Time: epoch, By: "test", Why: "generation " + strconv.FormatUint(generation, 10),
		Changed: names, Commands: map[string]life.Command{}}
	if s != nil {
		for name, command := range s.Commands {
			next.Commands[name] = command
		}
	}
	for i, name := range names {
		b, open := bundle("x", versionOf(generation))
		digest := fmt.Sprintf("sha256:%056x%08x", i+1, generation)
		if i == 0 {
			if err := c.Put(b, open, nil); err != nil {
				return nil, err
			}
			digest = b.Digest
		}
		command, ok := next.Commands[name]
		if !ok {
			command.Name = name
		}
		next.Commands[name] = command.Activate(life.Revision{
			Digest: digest, Version: versionOf(generation), Proved: true, ProbationRuns: 5,
		}, generation, epoch)
	}
	return next, c.Commit(next)
}

// wantGeneration checks that s is a whole generation that advance made, and that its
// bundle is there.
func wantGeneration(t testing.TB, c *Chain, s *Snapshot, generation uint64) {
	t.Helper()
	if s.Generation != generation {
		t.Errorf("generation %d, want %d", s.Generation, generation)
	}
	for _, name := range names {
		r, ok := s.Commands[name].Current()
		if !ok || r.Version != versionOf(s.Generation) {
			t.Errorf("%s has version %q in generation %d: a mixture", name, r.Version, s.Generation)
		}
		if name != names[0] {
			continue
		}
		b, err := c.Load("x", r.Digest)
		if err != nil {
			t.Errorf("the bundle in force in generation %d: %v", s.Generation, err)
		} else if b.Manifest.Version != r.Version {
			t.Errorf("the bundle of generation %d has version %s", s.Generation, b.Manifest.Version)
		}
	}
}

func openChain(t testing.TB, dir string, mode Mode) *Chain {
	t.Helper()
	c, err := Open(dir, mode)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// make3 commits three generations and returns the directory.
func make3(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state", "registry-1")
	c, err := Open(dir, Exclusive)
	must(t, err)
	defer c.Close()
	var s *Snapshot
	for range 3 {
		s, err = advance(c, s)
		must(t, err)
	}
	return dir
}

func TestWhatWasCommittedIsThereAgain(t *testing.T) {
	testenv.NoLeaks(t)
	dir := filepath.Join(t.TempDir(), "a", "b")
	c, err := Open(dir, Exclusive)
	must(t, err)
	if _, _, err := c.Newest(); !errors.Is(err, ErrEmpty) {
		t.Errorf("a new chain: %v", err)
	}
	want, err := advance(c, nil)
	must(t, err)
	want, err = advance(c, want)
	must(t, err)
	must(t, c.Close())

	for _, mode := range []Mode{ReadOnly, Exclusive} {
		c, err := Open(dir, mode)
		must(t, err)
		got, damaged, err := c.Newest()
		if err != nil || damaged != nil {
			t.Fatalf("newest: %v, %v", damaged, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		wantGeneration(t, c, got, 2)
		must(t, c.Close())
	}
	root, err := os.ReadFile(dir + "/generations/2")
	if err != nil || hint(t, dir) != "2 "+sum(root)+"\n" {
		t.Errorf("current is %q, %v", hint(t, dir), err)
	}
}

func hint(t testing.TB, dir string) string {
	t.Helper()
	text, err := os.ReadFile(dir + "/current")
	must(t, err)
	return string(text)
}

// TestAReaderBesideALoader: generations go while they are read.
func TestAReaderBesideALoader(t *testing.T) {
	testenv.NoLeaks(t)
	dir := make3(t)
	c, err := Open(dir, Exclusive)
	must(t, err)
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		s, _, err := c.Newest()
		for err == nil {
			select {
			case <-stop:
				done <- c.Close()
				return
			default:
			}
			if s, err = advance(c, s); err == nil {
				err = c.Collect(nil)
			}
		}
		done <- err
	}()
	r, err := Open(dir, ReadOnly)
	must(t, err)
	last := uint64(0)
	for i, end := 0, time.Now().Add(time.Minute); i < 200 || last < 30; i++ {
		if time.Now().After(end) {
			t.Errorf("only %d generations in a minute", last)
			break
		}
		s, damaged, err := r.Newest()
		if err != nil || damaged != nil || s.Generation < last {
			t.Errorf("read %d: %+v after %d, %v, %v", i, s, last, damaged, err)
			break
		}
		last = s.Generation
		wantGeneration(t, r, s, last)
		if _, err := r.List(); err != nil {
			t.Errorf("list: %v", err)
		}
	}
	close(stop)
	must(t, <-done)
	must(t, r.Close())
}

func TestSixteenGenerationsAreKept(t *testing.T) {
	dir := make3(t)
	c := openChain(t, dir, Exclusive)
	s, _, err := c.Newest()
	must(t, err)
	for range 20 {
		s, err = advance(c, s)
		must(t, err)
	}
	list, err := c.List()
	must(t, err)
	if len(list) != Keep || list[0].Generation != 23 || list[Keep-1].Generation != 8 {
		t.Errorf("%d generations from %d to %d", len(list), list[0].Generation, list[len(list)-1].Generation)
	}
	if i := list[0]; i.By != "test" || i.Why != "generation 23" || !i.Time.Equal(epoch) || !slices.Equal(i.Changed, names) || i.Err != nil {
		t.Errorf("info %+v", i)
	}
	old, err := c.At(8)
	must(t, err)
	if r, _ := old.Commands["gamma"].Current(); r.Version != versionOf(8) {
		t.Errorf("generation 8 has version %s", r.Version)
	}
	if _, err := c.At(7); !errors.Is(err, ErrEmpty) {
		t.Errorf("generation 7: %v", err)
	}
}

func TestOnlyOneLoader(t *testing.T) {
	testenv.NoLeaks(t)
	dir := make3(t)
	c, err := Open(dir, Exclusive)
	must(t, err)
	if other, err := Open(dir, Exclusive); !errors.Is(err, ErrHeld) {
		other.Close()
		t.Errorf("a second loader: %v", err)
	}
	r := openChain(t, dir, ReadOnly)
	s, _, err := r.Newest()
	must(t, err)
	for _, err := range []error{r.Commit(s), r.Put(&registry.Bundle{Digest: "sha256:" + strings.Repeat("0", 64)}, nil, nil), r.Collect(nil)} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("a reader wrote: %v", err)
		}
	}
	must(t, c.Close())
	must(t, r.Close())
	c, err = Open(dir, Exclusive)
	must(t, err)
	must(t, c.Close())
	if _, err := Open(dir+"x", ReadOnly); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}

func TestAnotherProcessHoldsTheLock(t *testing.T) {
	dir := make3(t)
	cmd, _ := start(t, "hold", dir, 0)
	if _, err := Open(dir, Exclusive); !errors.Is(err, ErrHeld) {
		t.Errorf("while another process holds it: %v", err)
	}
	must(t, cmd.Process.Kill())
	cmd.Wait()
	openChain(t, dir, Exclusive) // the lock died with it
}

func TestStateThatOthersMayWriteIsRefused(t *testing.T) {
	dir := make3(t)
	must(t, os.Chmod(dir, 0o777))
	for _, mode := range []Mode{ReadOnly, Exclusive} {
		if _, err := Open(dir, mode); err == nil || !strings.Contains(err.Error(), "writable by others") {
			t.Errorf("mode %d: %v", mode, err)
		}
	}
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Chmod(dir+"/generations/3", 0o666))
	c := openChain(t, dir, ReadOnly)
	if s, _, err := c.Newest(); err == nil || errors.Is(err, ErrEmpty) {
		t.Errorf("a generation that others may write: %+v, %v", s, err)
	}
}

func TestExhaustionIsNotDamage(t *testing.T) {
	dir := make3(t)
	c := openChain(t, dir, ReadOnly)
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	fd, err := unix.Dup(0)
	must(t, err)
	must(t, unix.Close(fd))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(fd), Max: old.Max}))
	s, damaged, err := c.Newest()
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
	if !errors.Is(err, unix.EMFILE) || s != nil {
		t.Errorf("newest without descriptors: %+v, %v, %v", s, damaged, err)
	}
}

func TestCommitRefuses(t *testing.T) {
	dir := make3(t)
	c := openChain(t, dir, Exclusive)
	good, _, err := c.Newest()
	must(t, err)
	for name, spoil := range map[string]func(*Snapshot){
		"the number of now":         func(s *Snapshot) { s.Generation = 3 },
		"a number ahead":            func(s *Snapshot) { s.Generation = 5 },
		"a long reason":             func(s *Snapshot) { s.Why = strings.Repeat("x", maxText+1) },
		"a reason that is not text": func(s *Snapshot) { s.By = "\xff" },
		"a changed name that is no name": func(s *Snapshot) {
			s.Changed = []string{"../x"}
		},
		"a command by another name": func(s *Snapshot) {
			command := s.Commands["gamma"]
			command.Name = "alpha"
			s.Commands["gamma"] = command
		},
		"a command that could not be": func(s *Snapshot) {
			command := s.Commands["gamma"]
			command.InForce = ""
			s.Commands["gamma"] = command
		},
		"a command that Changed does not name": func(s *Snapshot) { s.Commands["delta"] = life.Command{Name: "delta"} },
	} {
		s := *good
		s.Generation, s.Commands = 4, map[string]life.Command{}
		for name, command := range good.Commands {
			s.Commands[name] = command
		}
		spoil(&s)
		if err := c.Commit(&s); err == nil {
			t.Errorf("%s: committed", name)
		}
	}
	if got, damaged, err := c.Newest(); err != nil || damaged != nil || got.Generation != 3 {
		t.Errorf("after refusals: %+v, %v, %v", got, damaged, err)
	}
}
