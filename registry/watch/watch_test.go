package watch

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// patience is how long a hint may take on a busy machine before a test fails.
const patience = 20 * time.Second

// never is a timer's period that a test does not live to see: what comes, came
// by an event.
const never = time.Hour

// watched is a Watcher under test and what it has said.
type watched struct {
	*Watcher
	t    *testing.T
	root string
	got  []Hint
}

func begin(t *testing.T, root string, o Options) *watched {
	t.Helper()
	if o.Check == 0 {
		o.Check = never
	}
	if o.Poll == 0 {
		o.Poll = never
	}
	w, err := New(root, 20*time.Millisecond, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return &watched{Watcher: w, t: t, root: root}
}

// until receives hints until one is as wanted, and returns that one.
func (w *watched) until(what string, ok func(Hint) bool) Hint {
	w.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case h := <-w.Changes():
			w.got = append(w.got, h)
			if !h.All && len(h.Paths) == 0 {
				w.t.Error("a hint of nothing")
			}
			if ok(h) {
				return h
			}
		case <-deadline:
			w.t.Fatalf("no hint of %s; err %v, %d hints, the last %+v", what, w.Err(), len(w.got), w.got[max(0, len(w.got)-10):])
		}
	}
}

// named waits for a hint that names path, which is below the root, or a
// directory that holds it.
func (w *watched) named(path string) Hint {
	w.t.Helper()
	full := filepath.Join(w.root, path)
	return w.until(path, func(h Hint) bool { return covers(h, full) })
}

func covers(h Hint, full string) bool {
	return h.All || slices.ContainsFunc(h.Paths, func(p string) bool { return p == full || strings.HasPrefix(full, p+"/") })
}

// quiet makes sure that nothing is under way: a change of a file of the
// test's own is the next thing to be said.
func (w *watched) quiet() {
	w.t.Helper()
	write(w.t, filepath.Join(w.root, "zz-probe.yaml"), "x")
	w.named("zz-probe.yaml")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestChange: each way in which people and tools change a registry leads to a
// hint that names what changed.
func TestChange(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, root, outside string)
		change  func(t *testing.T, root, outside string)
		want    string
	}{
		{"write in place", func(t *testing.T, root, _ string) { write(t, root+"/a.yaml", "1") },
			func(t *testing.T, root, _ string) { write(t, root+"/a.yaml", "2") }, "a.yaml"},
		{"rename over", func(t *testing.T, root, _ string) { write(t, root+"/a.yaml", "1") },
			func(t *testing.T, root, _ string) {
				write(t, root+"/.a.yaml.tmp", "2")
				must(t, os.Rename(root+"/.a.yaml.tmp", root+"/a.yaml"))
			}, "a.yaml"},
		{"mv in", nil,
			func(t *testing.T, root, outside string) {
				write(t, outside+"/a.yaml", "2")
				must(t, os.Rename(outside+"/a.yaml", root+"/a.yaml"))
			}, "a.yaml"},
		{"mv out", func(t *testing.T, root, _ string) { write(t, root+"/a.yaml", "1") },
			func(t *testing.T, root, outside string) { must(t, os.Rename(root+"/a.yaml", outside+"/a.yaml")) }, "a.yaml"},
		{"removal", func(t *testing.T, root, _ string) { write(t, root+"/a.yaml", "1") },
			func(t *testing.T, root, _ string) { must(t, os.Remove(root+"/a.yaml")) }, "a.yaml"},
		{"truncation", func(t *testing.T, root, _ string) { write(t, root+"/a.yaml", "1234") },
			func(t *testing.T, root, _ string) { must(t, os.Truncate(root+"/a.yaml", 2)) }, "a.yaml"},
		{"mode", func(t *testing.T, root, _ string) { write(t, root+"/a.yaml", "1") },
			func(t *testing.T, root, _ string) { must(t, os.Chmod(root+"/a.yaml", 0o600)) }, "a.yaml"},
		{"mode of a group", func(t *testing.T, root, _ string) { must(t, os.Mkdir(root+"/g", 0o755)) },
			func(t *testing.T, root, _ string) { must(t, os.Chmod(root+"/g", 0o777)) }, "g"},
		{"symlink swap inside", func(t *testing.T, root, _ string) { must(t, os.Symlink("x", root+"/a.yaml")) },
			func(t *testing.T, root, _ string) {
				must(t, os.Symlink("y", root+"/.new"))
				must(t, os.Rename(root+"/.new", root+"/a.yaml"))
			}, "a.yaml"},
		{"vim's save dance", func(t *testing.T, root, _ string) { write(t, root+"/a.yaml", "1") },
			func(t *testing.T, root, _ string) {
				write(t, root+"/.a.yaml.swp", "b0VIM")
				write(t, root+"/4913", "")
				must(t, os.Remove(root+"/4913"))
				must(t, os.Rename(root+"/a.yaml", root+"/a.yaml~"))
				write(t, root+"/a.yaml", "2")
				must(t, os.Chmod(root+"/a.yaml", 0o644))
				must(t, os.Remove(root+"/a.yaml~"))
				must(t, os.Remove(root+"/.a.yaml.swp"))
			}, "a.yaml"},
		{"directory bundle replaced by rename", func(t *testing.T, root, outside string) {
			must(t, os.MkdirAll(root+"/db/backup/bin", 0o755))
			write(t, root+"/db/backup/bin/dump", "1")
			must(t, os.MkdirAll(outside+"/new/bin", 0o755))
			write(t, outside+"/new/bin/dump", "2")
		}, func(t *testing.T, root, outside string) {
			must(t, os.Rename(root+"/db/backup", outside+"/old"))
			must(t, os.Rename(outside+"/new", root+"/db/backup"))
		}, "db/backup/bin/dump"},
		{"directory bundles exchanged", func(t *testing.T, root, outside string) {
			must(t, os.MkdirAll(root+"/db/bin", 0o755))
			must(t, os.MkdirAll(outside+"/new/bin", 0o755))
		}, func(t *testing.T, root, outside string) {
			must(t, unix.Renameat2(unix.AT_FDCWD, root+"/db", unix.AT_FDCWD, outside+"/new", unix.RENAME_EXCHANGE))
		}, "db"},
		{"a tree moved in", func(t *testing.T, root, outside string) {
			must(t, os.MkdirAll(outside+"/new/deep/er", 0o755))
			write(t, outside+"/new/deep/er/f", "1")
		}, func(t *testing.T, root, outside string) { must(t, os.Rename(outside+"/new", root+"/new")) }, "new/deep/er/f"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			root, outside := t.TempDir(), t.TempDir()
			if tt.prepare != nil {
				tt.prepare(t, root, outside)
			}
			w := begin(t, root, Options{})
			tt.change(t, root, outside)
			if h := w.named(tt.want); h.All {
				t.Errorf("everything is hinted at, not %s alone", tt.want)
			}
			w.quiet()
			for _, h := range w.got {
				for _, p := range h.Paths {
					if base := filepath.Base(p); strings.HasPrefix(base, ".") || strings.HasSuffix(base, "~") {
						t.Errorf("hint of %s, which is no part of a registry", p)
					}
				}
			}
		})
	}
}

// TestMovedDirectoryIsWatchedUnderItsNewName: a directory that was moved, what
// is inside it, and what took its old name are told apart afterwards.
func TestMovedDirectoryIsWatchedUnderItsNewName(t *testing.T) {
	root := t.TempDir()
	must(t, os.MkdirAll(root+"/a/sub", 0o755))
	w := begin(t, root, Options{})
	must(t, os.Rename(root+"/a", root+"/b"))
	must(t, os.MkdirAll(root+"/a/sub", 0o755))
	w.named("b")
	w.quiet()
	for _, dir := range []string{"a/sub", "b/sub", "a", "b"} {
		before := len(w.got)
		write(t, filepath.Join(root, dir, "f"), "1")
		w.named(dir + "/f")
		for _, h := range w.got[before:] {
			for _, p := range h.Paths {
				if p != filepath.Join(root, dir, "f") {
					t.Errorf("a change in %s is told as one of %s", dir, p)
				}
			}
		}
	}
}

// TestMovedDirectoryAlone: the same without anything in the old place.
func TestMovedDirectoryAlone(t *testing.T) {
	root := t.TempDir()
	must(t, os.MkdirAll(root+"/a/sub", 0o755))
	w := begin(t, root, Options{})
	must(t, os.Rename(root+"/a", root+"/b"))
	w.named("b")
	w.quiet()
	write(t, root+"/b/sub/f", "1")
	if h := w.named("b/sub/f"); !slices.Equal(h.Paths, []string{root + "/b/sub/f"}) {
		t.Errorf("told as %q", h.Paths)
	}
}

// TestFilesTogether: files that arrive 50 ms apart end in one hint or in
// several, but the last comes after the last file.
func TestFilesTogether(t *testing.T) {
	root := t.TempDir()
	w, err := New(root, DefaultSettle, Options{Check: never, Poll: never})
	must(t, err)
	t.Cleanup(w.Close)
	wd := &watched{Watcher: w, t: t, root: root}
	written := make(chan time.Time, 1)
	go func() {
		for i := range 4 {
			_ = os.WriteFile(root+"/f"+strconv.Itoa(i)+".yaml", []byte("x"), 0o644)
			if i < 3 {
				time.Sleep(50 * time.Millisecond)
			}
		}
		written <- time.Now()
	}()
	wd.named("f3.yaml")
	if last := time.Since(<-written); last < DefaultSettle/2 {
		t.Errorf("the last hint came %v after the last file, before it settled", last)
	}
	for i := range 4 {
		full := root + "/f" + strconv.Itoa(i) + ".yaml"
		if !slices.ContainsFunc(wd.got, func(h Hint) bool { return covers(h, full) }) {
			t.Errorf("no hint of %s in %+v", full, wd.got)
		}
	}
}

// TestSettle: changes that follow each other closely are one hint.
func TestSettle(t *testing.T) {
	root := t.TempDir()
	w, err := New(root, time.Second, Options{Check: never, Poll: never})
	must(t, err)
	t.Cleanup(w.Close)
	for i := range 100 {
		write(t, root+"/f"+strconv.Itoa(i)+".yaml", "x")
	}
	h := <-w.Changes()
	if len(h.Paths) != 100 {
		t.Errorf("%d paths in the first hint, want all 100", len(h.Paths))
	}
}

// TestSteadyStreamDoesNotStarve: changes without an end are hinted at while
// they go on.
func TestSteadyStreamDoesNotStarve(t *testing.T) {
	root := t.TempDir()
	const settle = 200 * time.Millisecond
	w, err := New(root, settle, Options{Max: 2 * settle, Check: never, Poll: never})
	must(t, err)
	t.Cleanup(w.Close)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_ = os.WriteFile(root+"/a.yaml", []byte(strconv.Itoa(i)), 0o644)
				time.Sleep(settle / 20)
			}
		}
	}()
	for range 3 {
		select {
		case <-w.Changes():
		case <-time.After(patience):
			t.Fatal("no hint while changes go on")
		}
	}
	close(stop)
	<-stopped
}

// TestNestedFasterThanWatches: files in directories that were made faster than
// they could be watched are hinted at.
func TestNestedFasterThanWatches(t *testing.T) {
	root := t.TempDir()
	w := begin(t, root, Options{})
	want := map[string]bool{}
	for i := range 200 {
		dir := filepath.Join(root, "g"+strconv.Itoa(i), "h", "i")
		must(t, os.MkdirAll(dir, 0o755))
		write(t, dir+"/bundle.yaml", "x")
		want[dir+"/bundle.yaml"] = true
	}
	w.until("all files", func(h Hint) bool {
		for path := range want {
			if covers(h, path) {
				delete(want, path)
			}
		}
		return len(want) == 0
	})
	// And all of them are watched now.
	w.quiet()
	for i := range 200 {
		write(t, filepath.Join(root, "g"+strconv.Itoa(i), "h", "i", "late"), "x")
	}
	left := 200
	seen := map[string]bool{}
	w.until("late files", func(h Hint) bool {
		for _, p := range h.Paths {
			if filepath.Base(p) == "late" && !seen[p] {
				seen[p] = true
				left--
			}
		}
		return left == 0
	})
}

// TestOverflow: when the kernel's queue overflows, everything is hinted at,
// and what comes later is heard again, directories that were made meanwhile
// included.
func TestOverflow(t *testing.T) {
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	must(t, err)
	queued, err := strconv.Atoi(strings.TrimSpace(string(limit)))
	must(t, err)
	if queued > 1<<18 {
		t.Skipf("fs.inotify.max_queued_events is %d: filling it takes too long", queued)
	}
	root := t.TempDir()
	gate := make(chan struct{})
	held := make(chan struct{}, 1)
	inner, err := start(root, time.Millisecond, Options{Check: never, Poll: never}, func() {
		select {
		case held <- struct{}{}:
		default:
		}
		<-gate
	})
	must(t, err)
	t.Cleanup(inner.Close)
	opened := false
	defer func() {
		if !opened {
			close(gate)
		}
	}()
	<-held
	a, b := root+"/a.yaml", root+"/b.yaml"
	write(t, a, "")
	write(t, b, "")
	// Equal events that follow each other are one (inotify(7)): two files in
	// turn. fsnotify has a buffer of 64 KiB besides the queue.
	for range (queued + 8192) / 2 {
		must(t, os.Chmod(a, 0o600))
		must(t, os.Chmod(b, 0o600))
	}
	must(t, os.MkdirAll(root+"/lost/deep", 0o755))
	opened = true
	close(gate)
	w := &watched{Watcher: inner, t: t, root: root}
	w.until("everything", func(h Hint) bool { return h.All })
	write(t, root+"/lost/deep/f", "x")
	w.until("lost/deep/f by name", func(h Hint) bool { return slices.Contains(h.Paths, root+"/lost/deep/f") })
}

// TestPoll: without any change everything is hinted at when it is time.
func TestPoll(t *testing.T) {
	w := begin(t, t.TempDir(), Options{Check: 5 * time.Millisecond, Poll: 20 * time.Millisecond})
	for range 3 {
		w.until("everything", func(h Hint) bool { return h.All && !h.Root })
	}
	must(t, w.Err())
}

// TestClose: nothing is left, whatever was under way, and a receiver is told.
func TestClose(t *testing.T) {
	testenv.NoLeaks(t)
	before := runtime.NumGoroutine()
	for range 20 {
		root := t.TempDir()
		w, err := New(root, time.Millisecond, Options{Check: time.Millisecond, Poll: time.Millisecond})
		must(t, err)
		must(t, os.MkdirAll(root+"/a/b/c", 0o755))
		done := make(chan struct{})
		go func() { w.Close(); close(done) }()
		w.Close()
		<-done
		for range w.Changes() {
			t.Error("a hint after Close")
		}
	}
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
		time.Sleep(time.Millisecond)
	}
}

// TestNotReceived: while nobody receives, changes are collected; beyond the
// bound they become everything.
func TestNotReceived(t *testing.T) {
	var p pending
	for i := range maxPaths {
		p.add(strconv.Itoa(i))
	}
	if h := p.hint(); h.All || len(h.Paths) != maxPaths {
		t.Errorf("%d paths, all %v", len(h.Paths), h.All)
	}
	p.add("one more")
	if h := p.hint(); !h.All || h.Paths != nil {
		t.Errorf("%d paths, all %v, want everything", len(h.Paths), h.All)
	}
}

func TestNegative(t *testing.T) {
	if _, err := New(t.TempDir(), -1, Options{}); err == nil {
		t.Error("a negative settle time is accepted")
	}
}
