package live

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/plan"
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

	// changing is held from a change of the loader's to its publication, so
	// that results are not published after those of a later change.
	changing sync.Mutex

	scanning sync.Mutex
	// listing is what was there at the last scan; nil before the first.
	listing *registry.Listing
	read    time.Time // when every byte was last read
	illegal bool      // the last scan found a tree that is not legal
	// refused are the names of the last load that was refused whole, and those of
	// which nothing was decided: what was being replaced while it was read, what
	// there was no room for. Each later one has them, until all are legal together,
	// and decided. The value is whether it was told that nothing is decided.
	refused map[string]bool

	// trust are the stamps of the publishers files when everything was last
	// judged by them, nil when that failed. It belongs to Start, then to the
	// goroutine of watch.
	trust []plan.Stamp
	// left is the loader since which everything of others is withdrawn; of the
	// goroutine of watch.
	left *loader.Loader

	// published is the loader whose snapshot was published as a whole; under
	// Set.mu. What it changes from there on is published by name.
	published *loader.Loader
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
	l, err := loader.OpenWaiting(place, o)
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

// readEvery is how often a look at everything reads every bundle whatever its
// stamps say: the net below the net. 10,000 bundles are a second's work.
const readEvery = 10 * time.Minute

// loadAll loads what differs from what is in force, and publishes the rest as
// it was.
func (s *source) loadAll() error {
	s.trust = loader.TrustStamps(s.place())
	names, err := s.scan(nil)
	if errors.Is(err, registry.ErrTree) {
		// What was in force before the start goes on.
		s.report(loader.Event{Kind: loader.Damaged, Reason: err.Error(), Err: err})
	} else if err != nil {
		return err
	}
	// What was taken back meanwhile may lie there as it was.
	distrusted, err := s.loader().Distrusted()
	if err != nil {
		return err
	}
	names = append(names, distrusted...)
	_, err = s.load(names)
	return err
}

// changed makes a change and publishes what it came to.
func (s *source) changed(f func(*loader.Loader) (map[string]*loader.Result, error)) (map[string]*loader.Result, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	results, err := f(s.loader())
	// Also after an error: what is durable is in force, whatever came then.
	s.publish(results)
	s.loader().Tidy()
	return results, err
}

// scan lists the commands that are to be loaded: below paths (nil: anywhere)
// what has appeared, changed or vanished since the last scan and is not in
// force as it is; and what was rejected for the host's sake. An illegal tree is
// refused whole, and looked at again when anything changes.
func (s *source) scan(paths []string) ([]string, error) {
	s.scanning.Lock()
	defer s.scanning.Unlock()
	dir, ok := s.place().Source.(*registry.Dir)
	if !ok {
		return s.builtin()
	}
	if s.illegal || s.listing == nil {
		paths = nil // what made it so, or what was not seen, lies anywhere
	}
	o := registry.ScanOptions{Paths: paths, Read: paths == nil && time.Since(s.read) > readEvery}
	listing, changes, err := registry.Scan(dir, s.listing, o)
	if err != nil {
		return nil, err
	}
	if o.Read {
		s.read = time.Now()
	}
	s.illegal = false
	names := map[string]bool{}
	commands := s.loader().Snapshot().Commands
	// What was illegal before is changed for a scan that follows one that found
	// it so: that one's listing was not kept.
	for _, name := range slices.Concat(changes.Appeared, changes.Changed) {
		item, _ := listing.Get(name)
		if errors.Is(item.Err, registry.ErrTree) {
			s.illegal = true
			return nil, fmt.Errorf("nothing of %q is loaded: %w", s.place().Path, item.Err)
		}
		c := commands[name]
		if s.listing != nil || item.Err != nil || c.InForce != item.Digest || c.Refusal != "" {
			names[name] = true
		}
	}
	for _, name := range changes.Vanished {
		names[name] = true
	}
	if paths == nil {
		for name, c := range commands {
			item, there := listing.Get(name)
			switch {
			case !there && (c.InForce != "" || c.Refusal != ""):
				names[name] = true
			case there && c.InForce != item.Digest:
				if r, ok := c.Revision(item.Digest); ok && r.HostCause {
					names[name] = true
				}
			}
		}
	}
	for name := range s.refused {
		names[name] = true
	}
	for _, p := range changes.Problems {
		s.report(loader.Event{Kind: loader.Damaged, Name: p.Name, Code: loader.Code(p.Err), Reason: p.Err.Error(), Err: p.Err})
	}
	s.listing = listing
	return slices.Sorted(maps.Keys(names)), nil
}

// builtin lists the built-in commands that are not in force as they are.
func (s *source) builtin() ([]string, error) {
	entries, err := s.place().Names()
	if err != nil {
		return nil, err
	}
	var names []string
	commands := s.loader().Snapshot().Commands
	for _, e := range entries {
		raw, err := s.place().Read(e.Name)
		if c := commands[e.Name]; err != nil || c.InForce != raw.Digest {
			names = append(names, e.Name)
		}
	}
	return names, nil
}

// loadOne takes one command through the pipeline.
func (s *source) loadOne(name string) (*plan.Plan, error) {
	results, err := s.loadNames([]string{name})
	if err != nil {
		r, err := s.loader().Kept(name, err)
		if err != nil {
			return nil, err
		}
		return r.Plan, nil
	}
	r := results[name]
	if r.Plan == nil {
		return nil, r.Err
	}
	return r.Plan, nil
}

// plan is the kept plan of a command, or a new one where that is stale.
func (s *source) plan(name string) (*plan.Plan, error) {
	p, err := state.Read(state.PlanPath(s.dir(), s.place().Key, name))
	if err == nil && p.Command == name && p.Key == s.place().Key && slices.Equal(p.Registries, s.set.options.Loader.Registries) &&
		means(p, s.loader().Snapshot().Commands[name]) {
		if _, fresh := state.Fresh(p, buildinfo.Build); fresh {
			return p, nil
		}
	}
	return s.loadOne(name)
}

// settle takes the journal into account.
func (s *source) settle() error {
	_, err := s.changed((*loader.Loader).Settle)
	return err
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
	return s.load(names)
}

// load takes commands through the pipeline, of which there may be none, and
// remembers those that are to be looked at again.
func (s *source) load(names []string) (map[string]*loader.Result, error) {
	results, err := s.changed(func(l *loader.Loader) (map[string]*loader.Result, error) { return l.Load(names...) })
	if err != nil {
		return results, err
	}
	s.scanning.Lock()
	defer s.scanning.Unlock()
	again := map[string]bool{}
	for _, name := range loader.Illegal(results) {
		again[name] = false
	}
	for name, r := range results {
		if !loader.Undecided(r.Err) {
			continue
		}
		again[name] = s.refused[name]
		if !registry.Torn(r.Err) && !again[name] { // that one rests soon
			again[name] = true
			s.report(loader.Event{Kind: loader.Damaged, Name: name, Reason: r.Err.Error(), Err: r.Err})
		}
	}
	for name := range results {
		delete(s.refused, name)
	}
	if s.refused == nil {
		s.refused = again
	} else {
		maps.Copy(s.refused, again)
	}
	return results, nil
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
			if state.Due(s.dir(), s.place().Key) {
				if err := s.settle(); err != nil {
					s.report(loader.Event{Kind: loader.Damaged, Reason: err.Error(), Err: err})
				}
			}
			if s.trust != nil && s.trustChanged() {
				s.look(watch.Hint{All: true})
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
	if err == nil {
		err = s.follow(h)
	}
	if err == nil {
		s.leave()
	}
	if err != nil {
		// What is in force stays; the timer of the watch looks again.
		s.report(loader.Event{Kind: loader.Damaged, Code: loader.Code(err), Reason: "load " + s.place().Path + ": " + err.Error(), Err: err})
	}
}

// leave withdraws what a directory had that the registry's path no longer
// leads to, as soon as what the new one has is loaded.
func (s *source) leave() {
	if s.left == s.loader() {
		return
	}
	s.publish(nil)
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	view := s.set.table.View()
	changes := map[string]*Entry{}
	for name, e := range view.All() {
		if e.source == s && e.loader != s.loader() {
			changes[name] = s.next(name)
		}
	}
	if len(changes) > 0 {
		s.set.table.Swap(view.With(changes))
	}
	s.left = s.loader()
}

// follow loads what changed where a hint says.
func (s *source) follow(h watch.Hint) error {
	paths := h.Paths
	if h.All {
		paths = nil
	}
	if s.trustChanged() {
		// Who may publish what: everything is judged anew. The stamps come
		// first, so that what changes meanwhile is seen.
		s.trust = loader.TrustStamps(s.place())
		_, err := s.reload()
		if err != nil {
			s.trust = nil // at the next look at everything again
		}
		return err
	}
	names, err := s.scan(paths)
	if err != nil {
		return err
	}
	if _, err = s.loadNames(names); err != nil {
		// What was seen is not in force: the next look compares everything.
		s.forget()
	}
	return err
}

// trustChanged tells whether the publishers files are others than those by
// which everything was judged. No event tells of them: one lies outside of the
// registry, the other has a name that editors use.
func (s *source) trustChanged() bool {
	return !slices.Equal(s.trust, loader.TrustStamps(s.place()))
}

// forget has the next scan look at everything, by content.
func (s *source) forget() {
	s.scanning.Lock()
	s.listing = nil
	s.scanning.Unlock()
}

func (s *source) report(e loader.Event) {
	if n := s.set.options.Loader.Notify; n != nil {
		n([]loader.Event{e})
	}
}
