// Package watch tells when something may have changed below a directory, so
// that who loads it looks again. Use [New] and receive from
// [Watcher.Changes].
//
// What it says is a hint and nothing more: a path that is named may be as it
// was, and whoever receives one reads the registry by descriptor, with its
// owners checked, and lets the content decide. The promise is the other
// direction: after a change there is a hint, and the last one comes after the
// last change. Events of the kernel bring it within the settle time; what they
// cannot tell (a queue that overflowed, a limit of watches that was reached, a
// directory above the root that moved, a file system that has no events) is
// brought by a timer.
//
// Directories are watched, never single files: a watch of a file dies when
// the file is replaced (inotify(7)).
package watch

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"
)

// Defaults of Options, and the settle time that suits a registry.
const (
	// DefaultSettle is how long nothing may happen before a hint goes out: a
	// copy of a few files is one hint. Half of it cuts slower copies in two,
	// twice of it is felt by whoever waits for the change.
	DefaultSettle = 50 * time.Millisecond
	// DefaultCheck is how often the root's identity is compared, and how
	// often everything is hinted at while not everything is watched. It is
	// one stat(2).
	DefaultCheck = 2 * time.Second
	// DefaultPoll is how often everything is hinted at even when all is
	// watched. A rescan of 10,000 bundles costs some ten milliseconds.
	DefaultPoll = 30 * time.Second
	// maxFactor bounds the settling of a stream of changes that does not end,
	// in settle times.
	maxFactor = 10
	// maxPaths bounds the paths of one hint. More of them than this are
	// All: looking at everything is then as quick.
	maxPaths = 4096
)

// Options of New. The zero value is what a daemon wants.
type Options struct {
	// Max bounds how long a hint is held back by further changes; 0: ten
	// times the settle time.
	Max time.Duration
	// Check is DefaultCheck when 0.
	Check time.Duration
	// Poll is DefaultPoll when 0.
	Poll time.Duration
}

// Hint says where something may have changed.
type Hint struct {
	// Paths begin with the root as it was given to New, in no order. Each
	// stands for itself and, of a directory, for everything below it. Nil
	// with All.
	Paths []string
	// All: anything below the root may have changed.
	All bool
	// Root: the root is another directory than before, or there is none (any
	// more): whoever holds it open opens it again. Only with All.
	Root bool
}

// Watcher watches one directory. It is safe for concurrent use.
type Watcher struct {
	root    string
	settle  time.Duration
	options Options
	changes chan Hint
	stop    chan struct{}
	stopped chan struct{}
	close   sync.Once
	// hold, when not nil, is called before each event is taken: a test keeps
	// the kernel's queue from being emptied.
	hold func()

	mu       sync.Mutex
	degraded error // why not everything is watched
}

// New watches root and everything below it. When it returns, what is there
// is watched: a change after that is hinted at. root need not exist; its
// appearance is a change like another. settle is DefaultSettle when 0. The
// caller calls Close.
//
// That not everything can be watched (fs.inotify.max_user_watches,
// max_user_instances) is no error: see [Watcher.Err].
func New(root string, settle time.Duration, o Options) (*Watcher, error) {
	return start(root, settle, o, nil)
}

func start(root string, settle time.Duration, o Options, hold func()) (*Watcher, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("watch %q: %w", root, err)
	}
	if settle == 0 {
		settle = DefaultSettle
	}
	if o.Max == 0 {
		o.Max = maxFactor * settle
	}
	if o.Check == 0 {
		o.Check = DefaultCheck
	}
	if o.Poll == 0 {
		o.Poll = DefaultPoll
	}
	if settle < 0 || o.Max < 0 || o.Check < 0 || o.Poll < 0 {
		return nil, errors.New("watch: a negative time")
	}
	w := &Watcher{
		root: abs, settle: settle, options: o, hold: hold,
		changes: make(chan Hint), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	t := &tree{root: abs}
	w.setErr(t.build())
	go w.run(t)
	return w, nil
}

// Changes is the channel of hints; it is closed by Close. While nobody
// receives, what happens is collected in the next hint.
func (w *Watcher) Changes() <-chan Hint { return w.changes }

// Err is nil while every directory is watched. Else it says why not (it
// matches unix.ENOSPC or unix.EMFILE when a limit of inotify was reached), and
// everything is hinted at once in Options.Check.
func (w *Watcher) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.degraded
}

func (w *Watcher) setErr(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.degraded = err
}

// Close ends the watching and returns when nothing of it is left. It may be
// called more than once.
func (w *Watcher) Close() {
	w.close.Do(func() { close(w.stop) })
	<-w.stopped
}

// run is the one goroutine that owns the tree and what is pending.
func (w *Watcher) run(t *tree) {
	defer close(w.stopped)
	defer close(w.changes)
	defer t.close()

	check := time.NewTicker(w.options.Check)
	defer check.Stop()
	due := time.NewTimer(time.Hour)
	due.Stop()
	defer due.Stop()
	polled := time.Now()
	var p pending
	for {
		if w.hold != nil {
			w.hold()
		}
		var out chan<- Hint
		var h Hint
		if p.ready {
			out, h = w.changes, p.hint()
		}
		select {
		case <-w.stop:
			return
		case ev, ok := <-t.events():
			if ok && !t.event(ev, &p) {
				continue
			}
			if !ok {
				t.stale = true
			}
		case <-t.lost:
			t.stale = true
		case <-due.C:
			if t.stale {
				p.all, p.root = true, p.root || t.rootChanged
				w.setErr(t.build())
			}
			// Nothing is pending when the hint was taken that settled anew.
			p.ready = p.all || len(p.paths) > 0
			continue
		case now := <-check.C:
			poll := now.Sub(polled) >= w.options.Poll
			degraded := w.Err() != nil
			t.stale = t.stale || t.moved() || poll && degraded
			if !t.stale && !poll && !degraded {
				continue
			}
			if poll {
				polled = now
			}
			p.all = true
		case out <- h:
			p = pending{}
			continue
		}
		if t.stale {
			p.all = true
		}
		due.Reset(p.wait(time.Now(), w.settle, w.options.Max))
	}
}

// pending is what the next hint will say.
type pending struct {
	paths map[string]struct{}
	all   bool
	root  bool
	ready bool
	first time.Time
}

func (p *pending) add(path string) {
	if p.paths == nil {
		p.paths = map[string]struct{}{}
	}
	if len(p.paths) < maxPaths {
		p.paths[path] = struct{}{}
	} else {
		p.all = true
	}
}

// wait notes a change and returns how long the hint settles from now on:
// settle after each change, but not beyond limit after the first.
func (p *pending) wait(now time.Time, settle, limit time.Duration) time.Duration {
	if p.first.IsZero() {
		p.first = now
	}
	left := limit - now.Sub(p.first)
	if left < 0 {
		left = 0
	}
	// One that is offered already and not taken may settle as well.
	p.ready = p.ready && left == 0
	return min(settle, left)
}

func (p *pending) hint() Hint {
	h := Hint{All: p.all, Root: p.root}
	if p.all {
		return h
	}
	for path := range p.paths {
		h.Paths = append(h.Paths, path)
	}
	return h
}
