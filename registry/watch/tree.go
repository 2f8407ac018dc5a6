package watch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// maxDepth bounds the directories below the root that are watched: eight
// segments of a name and eight levels inside a bundle, the bounds of package
// registry. What lies deeper is refused there.
const maxDepth = 16

// tree is what is watched: the root, everything below it, and the entries
// above it that lead to it. It belongs to one goroutine.
type tree struct {
	root string // as given, absolute
	real string // with symbolic links followed; empty: there is none

	fs   *fsnotify.Watcher // nil: no instance could be had
	lost chan struct{}     // one element: events were lost, or may have been
	done chan struct{}     // closed when nothing reads fs.Errors any more

	// stale: it must be built anew before the next hint, since what is
	// watched may not be what is there. rootChanged: because the root may be
	// another directory.
	stale, rootChanged bool

	open    *os.File                       // the root; keeps its inode's number from being used again
	anchors map[string]bool                // entries that lead to the root, by path
	dirs    map[string]map[string]struct{} // watched directories, with the names of those below
	err     error                          // the first reason why something is not watched
}

// build begins anew: another inotify instance, every watch made again. What
// was lost before does not matter then. It returns why not everything is
// watched, nil when all is.
func (t *tree) build() error {
	t.close()
	t.stale, t.rootChanged = false, false
	t.err, t.real = nil, ""
	t.dirs, t.anchors = map[string]map[string]struct{}{}, map[string]bool{}
	var err error
	if t.fs, err = fsnotify.NewWatcher(); err != nil {
		t.fs, t.err = nil, fmt.Errorf("watch %q: %w", t.root, err)
	} else {
		t.lost, t.done = make(chan struct{}, 1), make(chan struct{})
		go drain(t.fs.Errors, t.lost, t.done)
	}
	for _, entry := range anchors(t.root) {
		t.anchors[entry] = true
		t.watch(filepath.Dir(entry))
	}
	// After the anchors: a root that is swapped from here on is noticed.
	real, err := filepath.EvalSymlinks(t.root)
	if err != nil {
		return t.err
	}
	fd, err := unix.Open(real, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return t.err
	}
	t.open, t.real = os.NewFile(uintptr(fd), real), real
	t.grow(real, 0)
	return t.err
}

// close gives everything back.
func (t *tree) close() {
	if t.fs != nil {
		t.fs.Close()
		<-t.done
		t.fs = nil
	}
	if t.open != nil {
		t.open.Close()
		t.open = nil
	}
}

// drain takes every error and keeps that there was one. It is a goroutine of
// its own because fsnotify sends some while it holds the lock that Add and
// Remove need (backend_inotify.go, handleEvent, v1.10.1).
func drain(errs <-chan error, lost chan<- struct{}, done chan<- struct{}) {
	defer close(done)
	for range errs {
		select {
		case lost <- struct{}{}:
		default:
		}
	}
}

// events is fsnotify's channel; nil, which never gives anything, without an
// instance.
func (t *tree) events() <-chan fsnotify.Event {
	if t.fs == nil {
		return nil
	}
	return t.fs.Events
}

// watch watches one directory, if it is still there.
func (t *tree) watch(dir string) {
	if t.fs == nil {
		return
	}
	err := t.fs.Add(dir)
	gone := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
	if err != nil && !gone && t.err == nil {
		t.err = fmt.Errorf("watch %q: %w", dir, err)
	}
}

// grow watches dir and all directories below it. Each is watched before it is
// listed: what appears after the listing is an event.
func (t *tree) grow(dir string, depth int) {
	if depth > maxDepth {
		return
	}
	t.watch(dir)
	children := map[string]struct{}{}
	t.dirs[dir] = children
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, unix.ENOENT) && t.err == nil {
		t.err = fmt.Errorf("watch %q: %w", dir, err)
	}
	for _, e := range entries {
		if e.IsDir() && !ignored(e.Name()) {
			children[e.Name()] = struct{}{}
			t.grow(filepath.Join(dir, e.Name()), depth+1)
		}
	}
}

// drop ends the watching of dir and of what was below it. A directory that is
// moved keeps its watches under the old name, and so do those inside it, of
// which no event tells.
func (t *tree) drop(dir string) {
	children, ok := t.dirs[dir]
	if !ok {
		return
	}
	for name := range children {
		t.drop(filepath.Join(dir, name))
	}
	delete(t.dirs, dir)
	delete(t.dirs[filepath.Dir(dir)], filepath.Base(dir))
	if t.fs != nil {
		_ = t.fs.Remove(dir) // the kernel may have removed it with the directory
	}
}

// event takes one event in and tells whether it matters.
func (t *tree) event(ev fsnotify.Event, p *pending) bool {
	const entries = fsnotify.Create | fsnotify.Remove | fsnotify.Rename
	if t.anchors[ev.Name] && ev.Op&entries != 0 {
		t.stale, t.rootChanged = true, true
		return true
	}
	if t.real == "" {
		return false
	}
	if ev.Name == t.real {
		// Its own attributes, or it is gone.
		if ev.Op&entries != 0 {
			t.stale, t.rootChanged = true, true
		}
		p.all = true
		return true
	}
	rel, ok := strings.CutPrefix(ev.Name, strings.TrimSuffix(t.real, "/")+"/")
	if !ok {
		return false
	}
	depth := 0
	for segment := range strings.SplitSeq(rel, "/") {
		if ignored(segment) {
			return false
		}
		depth++
	}
	p.add(filepath.Join(t.root, rel))
	if ev.Op&entries == 0 {
		return true
	}
	t.drop(ev.Name)
	if st, err := os.Lstat(ev.Name); err == nil && st.IsDir() {
		if parent, ok := t.dirs[filepath.Dir(ev.Name)]; ok {
			parent[filepath.Base(ev.Name)] = struct{}{}
			before := t.err
			t.grow(ev.Name, depth)
			t.stale = t.stale || before == nil && t.err != nil
		}
	}
	return true
}

// moved tells whether the root's path leads to another directory than the one
// that is watched, and notes it.
func (t *tree) moved() bool {
	now, err := os.Stat(t.root)
	switch {
	case t.open == nil:
		t.rootChanged = err == nil && now.IsDir()
	case err != nil:
		t.rootChanged = true
	default:
		was, err := t.open.Stat()
		t.rootChanged = err != nil || !os.SameFile(was, now)
	}
	return t.rootChanged
}

// ignored names belong to editors and are no part of a registry.
func ignored(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~")
}

// maxLinks bounds symbolic links of one path, as the kernel does
// (path_resolution(7)).
const maxLinks = 40

// anchors are the entries whose replacement makes root lead elsewhere: every
// symbolic link on its way and its last component; where the way ends early,
// the first component that is missing. Plain directories in between are left
// out: in them others may be busy, and that one of them is moved is noticed by
// the timer.
func anchors(root string) []string {
	var out []string
	at := "/"
	rest := strings.Split(root, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		path := filepath.Join(at, name)
		target, err := os.Readlink(path)
		if err == nil {
			out = append(out, path)
			if links++; links > maxLinks {
				return out
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		}
		if _, err := os.Lstat(path); err != nil || strings.Join(rest, "") == "" {
			return append(out, path)
		}
		at = path
	}
	return out
}
