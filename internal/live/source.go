package live

import (
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/sign"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/watch"
)

// source is one registry of a Set.
type source struct {
	set    *Set
	before []loader.Place
	at     atomic.Pointer[opened]
	// lost: the directory could not be opened when it was last tried.
	lost bool
}

// opened is a registry's directory and the loader that holds its state. Both
// change when the directory is another one.
type opened struct {
	place  loader.Place
	loader *loader.Loader
}

func (s *source) place() loader.Place    { return s.at.Load().place }
func (s *source) loader() *loader.Loader { return s.at.Load().loader }

// open takes the lock of a place's state.
func (s *source) open(place loader.Place) error {
	o := s.set.options.Loader
	o.Earlier = s.before
	l, err := loader.OpenFor(place, o)
	if err == nil {
		s.at.Store(&opened{place, l})
	}
	return err
}

func (s *source) close() error {
	if at := s.at.Load(); at != nil {
		return at.loader.Close()
	}
	return nil
}

func (s *source) dir() string {
	if d := s.set.options.Loader.StateDir; d != "" {
		return d
	}
	return state.Dir()
}

// loadAll loads what differs from what is in force, and publishes the rest as
// it was.
func (s *source) loadAll() error {
	names, err := s.changed()
	if err != nil {
		return err
	}
	results, err := s.loader().Load(names...)
	if err != nil {
		return err
	}
	s.publish(results)
	return nil
}

// changed lists the names whose bundle on disk is not the one in force, or
// that are gone from the disk.
func (s *source) changed() ([]string, error) {
	entries, err := s.place().Names()
	if err != nil {
		return nil, err
	}
	commands := s.loader().Snapshot().Commands
	var mu sync.Mutex
	var names []string
	add := func(name string) {
		mu.Lock()
		names = append(names, name)
		mu.Unlock()
	}
	work := make(chan string)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for name := range work {
				raw, err := s.place().Read(name)
				if c := commands[name]; err != nil || c.InForce != raw.Digest || c.Refusal != "" {
					add(name)
				}
			}
		})
	}
	there := map[string]bool{}
	for _, e := range entries {
		if !e.Group {
			there[e.Name] = true
			work <- e.Name
		}
	}
	close(work)
	workers.Wait()
	for name, c := range commands {
		if !there[name] && (c.InForce != "" || c.Refusal != "") {
			add(name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// load takes one command through the pipeline.
func (s *source) load(name string) (*plan.Plan, error) {
	results, err := s.loader().Load(name)
	if err != nil {
		return nil, err
	}
	s.publish(results)
	r := results[name]
	if r.Plan == nil {
		return nil, r.Err
	}
	return r.Plan, nil
}

// plan is the kept plan of a command, or a new one where that is stale.
func (s *source) plan(name string) (*plan.Plan, error) {
	p, err := state.Read(state.PlanPath(s.dir(), s.place().Key, name))
	if err == nil && p.Command == name && p.Key == s.place().Key && slices.Equal(p.Registries, s.set.options.Loader.Registries) {
		if _, fresh := state.Fresh(p, buildinfo.Build); fresh {
			return p, nil
		}
	}
	return s.load(name)
}

// settle takes the journal into account.
func (s *source) settle() error {
	results, err := s.loader().Settle()
	if err != nil {
		return err
	}
	s.publish(results)
	return nil
}

// reload loads every name that is there or was.
func (s *source) reload() (map[string]*loader.Result, error) {
	entries, err := s.place().Names()
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, e := range entries {
		if !e.Group {
			names[e.Name] = true
		}
	}
	for name := range s.loader().Snapshot().Commands {
		names[name] = true
	}
	return s.loadNames(slices.Sorted(maps.Keys(names)))
}

func (s *source) loadNames(names []string) (map[string]*loader.Result, error) {
	if len(names) == 0 {
		return nil, nil
	}
	results, err := s.loader().Load(names...)
	if err != nil {
		return nil, err
	}
	s.publish(results)
	return results, nil
}

// publish swaps in a view with what the loader has now.
func (s *source) publish(results map[string]*loader.Result) {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	view := s.set.table.View()
	changes := map[string]*Entry{}
	for name, c := range s.loader().Snapshot().Commands {
		old, ok := view.Get(name)
		r := results[name]
		if ok && r == nil && old.source == s && old.Command.Generation == c.Generation && old.Command.InForce == c.InForce && old.Command.Refusal == c.Refusal && len(old.Command.Revisions) == len(c.Revisions) {
			continue
		}
		if ok && old.source != s && s.after(old.source) {
			continue // an earlier registry has it
		}
		if c.InForce == "" && c.Refusal == "" && (r == nil || errors.Is(r.Err, registry.ErrNotFound)) {
			if ok && old.source == s {
				changes[name] = s.next(name)
			}
			continue
		}
		e := &Entry{Name: name, Command: c, Registry: s.place().Path, source: s}
		if r != nil && r.Plan != nil {
			e.plan.Store(r.Plan)
		} else if r != nil {
			e.err = r.Err
		}
		changes[name] = e
	}
	if len(changes) > 0 {
		s.set.table.Swap(view.With(changes))
	}
}

// after tells whether s comes later than other.
func (s *source) after(other *source) bool {
	return slices.Index(s.set.registries, s) > slices.Index(s.set.registries, other)
}

// next is the entry of a name in the registries after s; nil for none.
func (s *source) next(name string) *Entry {
	later := false
	for _, other := range s.set.registries {
		if other == s {
			later = true
			continue
		}
		if c, ok := other.loader().Snapshot().Commands[name]; later && ok && (c.InForce != "" || c.Refusal != "") {
			return &Entry{Name: name, Command: c, Registry: other.place().Path, source: other}
		}
	}
	return nil
}

// watch loads what changes until the Set is closed.
func (s *source) watch() {
	journal := time.NewTicker(s.set.options.Journal)
	defer journal.Stop()
	var hints <-chan watch.Hint
	if s.place().Path != "" {
		w, err := watch.New(s.place().Path, s.set.options.Settle, watch.Options{Poll: s.set.options.Poll})
		if err != nil {
			s.report(loader.Event{Kind: loader.Damaged, Reason: err.Error(), Err: err})
		} else {
			defer w.Close()
			hints = w.Changes()
			// What changed between the load and the watch.
			s.look(watch.Hint{All: true})
		}
	}
	for {
		select {
		case <-s.set.stop:
			return
		case <-journal.C:
			if state.Unfinished(s.dir(), s.place().Key) {
				if err := s.settle(); err != nil {
					s.report(loader.Event{Kind: loader.Damaged, Reason: err.Error(), Err: err})
				}
			}
		case h, ok := <-hints:
			if !ok {
				hints = nil
				continue
			}
			s.look(h)
		}
	}
}

// look loads what a hint names.
func (s *source) look(h watch.Hint) {
	err := s.refresh(h)
	var names []string
	if err == nil {
		if h.All {
			names, err = s.changed()
		} else {
			names, err = s.named(h.Paths)
		}
	}
	if err == nil {
		_, err = s.loadNames(names)
	}
	if err != nil {
		// What is in force stays; the timer of the watch looks again.
		s.report(loader.Event{Kind: loader.Damaged, Reason: "load " + s.place().Path + ": " + err.Error(), Err: err})
	}
}

func (s *source) report(e loader.Event) {
	if n := s.set.options.Loader.Notify; n != nil {
		n(e)
	}
}

// refresh opens a registry anew, whose directory may be another one than
// before, even one with the same inode. Another directory has another state.
func (s *source) refresh(h watch.Hint) error {
	if !h.All && !s.lost {
		return nil
	}
	place, err := loader.OpenPlace(s.place().Path)
	s.lost = err != nil
	if errors.Is(err, fs.ErrNotExist) {
		return err // everything stays in force until it is there again
	}
	if err != nil {
		return err
	}
	old := s.at.Load()
	if place.Key == old.place.Key {
		// The same directory, or a new one with the inode of the old.
		old.loader.Reopen(place)
		s.at.Store(&opened{place, old.loader})
		return nil
	}
	if err := s.open(place); err != nil {
		return err
	}
	return old.loader.Close()
}

// named are the commands that the paths of a hint may be about: a file below a
// bundle is about the bundle, a directory about everything in it.
func (s *source) named(paths []string) ([]string, error) {
	names := map[string]bool{}
	commands := s.loader().Snapshot().Commands
	for _, path := range paths {
		rel, err := filepath.Rel(s.place().Path, path)
		if err != nil || strings.HasPrefix(rel, "..") || strings.HasSuffix(rel, "~") {
			continue
		}
		if rel == "." || rel == sign.RegistryFile {
			return s.changed() // whatever it is, it is about all
		}
		rel = strings.TrimSuffix(strings.TrimSuffix(rel, registry.SignatureSuffix), ".yaml")
		name := strings.ReplaceAll(rel, "/", ".")
		for known := range commands {
			if strings.HasPrefix(known, name+".") {
				names[known] = true
			}
		}
		for n, ok := name, true; ok; n, ok = parent(n) {
			kind, err := s.place().Node(n)
			if _, known := commands[n]; known || err != nil || kind == registry.Command {
				names[n] = registry.CheckName(n) == nil
			}
			if kind == registry.Group && n == name {
				return s.changed() // it may be new, with everything in it
			}
		}
	}
	maps.DeleteFunc(names, func(_ string, valid bool) bool { return !valid })
	return slices.Sorted(maps.Keys(names)), nil
}

// parent is the group that a name is in.
func parent(name string) (group string, ok bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", false
	}
	return name[:i], true
}
