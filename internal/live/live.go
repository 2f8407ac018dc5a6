// Package live keeps registries in force while everything runs: what changes
// on disk goes through the loader's pipeline and is swapped in by one pointer.
// Use [Start]; then [Set.Find] and [Set.Plan] for what a caller asks for, and
// [Set.Ended] for how a run of it ended.
//
// Readers take no lock and see each change whole. A plan that somebody holds
// stays as it is: a run keeps the revision that it began with. It runs nothing
// but the checks of bundles, through loader.Prover.
package live

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
	"github.com/sbx-project/sbx/registry/snapshot"
)

// Options say how a Set works. The zero value is what a daemon wants.
type Options struct {
	// Loader is passed on; Notify is called by one at a time.
	Loader loader.Options
	// Settle is how long a file must be left alone before it is looked at;
	// 0: watch.DefaultSettle.
	Settle time.Duration
	// Poll is how often everything is looked at whatever the kernel says; 0:
	// watch.DefaultPoll.
	Poll time.Duration
	// Journal is how often runs of other processes are taken into account; 0:
	// two seconds.
	Journal time.Duration
}

// Set is the registries of one list in their order of precedence, each with
// its own state. It is safe for concurrent use until Close.
type Set struct {
	options    Options
	registries []*source
	table      snapshot.Table[Entry]
	stop       chan struct{}
	stopped    sync.WaitGroup

	mu sync.Mutex // one publication at a time
}

// Entry is one command as it stands: in force, refused, or only known. It is
// immutable but for its plan, which is read when it is first needed.
type Entry struct {
	Name string
	// Command is what is known of it.
	Command life.Command
	// Registry is the directory that has it, "" for the built-in one.
	Registry string
	// Shadowed lists the registries that have the name as well, and lose.
	Shadowed []string

	source *source
	// loader has the state that Command is of.
	loader *loader.Loader
	plan   atomic.Pointer[plan.Plan]
	// err says why nothing is in force.
	err error
	// ended counts the runs of this entry that were put into the journal.
	ended atomic.Uint64
	// doubted: a run of it has violated its policy in probation, and what
	// follows from that is not decided yet.
	doubted atomic.Bool
	made    time.Time
	tried   atomic.Bool // one look at a time for err
}

// Counted is the command with the runs that only the journal has yet.
func (e *Entry) Counted() life.Command { return e.source.loader().Counted(e.Command) }

// Revoked tells whether a revision of the command is taken back.
func (e *Entry) Revoked(r life.Revision) bool { return e.source.loader().Revoked(r) }

// tryAgain is how long a command of which no plan could be made stays so
// without another look: a program that was missing may be there again, and
// each look is work that a caller causes.
const tryAgain = time.Second

// Start takes the locks of all registries, loads what has changed since they
// were last loaded, and watches them. With an error nothing is kept open; it is
// loader.ErrHeld where another loader keeps a lock for longer than a one-shot
// run's would.
func Start(places []loader.Place, o Options) (*Set, error) {
	if o.Journal == 0 {
		o.Journal = 2 * time.Second
	}
	s := &Set{options: o, stop: make(chan struct{})}
	for i, p := range places {
		src := &source{set: s, before: places[:i]}
		s.registries = append(s.registries, src)
		if err := src.open(p); err != nil {
			s.Close()
			return nil, err
		}
	}
	for _, src := range s.registries {
		if err := src.loadAll(); err != nil {
			s.Close()
			return nil, err
		}
	}
	for _, src := range s.registries {
		s.stopped.Go(src.watch)
	}
	return s, nil
}

// Close ends the watching and gives the locks back. Plans that were taken stay
// usable.
func (s *Set) Close() error {
	select {
	case <-s.stop:
		return nil
	default:
	}
	close(s.stop)
	s.stopped.Wait()
	var errs []error
	for _, src := range s.registries {
		errs = append(errs, src.close())
	}
	return errors.Join(errs...)
}

// View is every command as it stands now.
func (s *Set) View() *snapshot.View[Entry] { return s.table.View() }

// Get returns one command. It takes no lock and allocates nothing.
func (s *Set) Get(name string) (*Entry, bool) { return s.table.Get(name) }

// Find turns words into a command; used is how many of them name it. The
// error is a *registry.UnknownError.
func (s *Set) Find(words []string) (e *Entry, used int, err error) {
	view := s.table.View()
	name := ""
	for i, w := range words {
		if i > 0 {
			name += "."
		}
		name += w
		if registry.CheckName(name) != nil {
			break
		}
		if e, ok := view.Get(name); ok {
			return e, i + 1, nil
		}
	}
	return nil, 0, unknown(view, words)
}

// unknown says how far the words led, and what is there.
func unknown(view *snapshot.View[Entry], words []string) error {
	e := &registry.UnknownError{}
	children := map[string]map[string]bool{}
	for name := range view.All() {
		group := ""
		for segment := range strings.SplitSeq(name, ".") {
			if children[group] == nil {
				children[group] = map[string]bool{}
			}
			children[group][segment] = true
			if group != "" {
				group += "."
			}
			group += segment
		}
	}
	segments := strings.Split(strings.Join(words, "."), ".")
	for _, segment := range segments {
		next := segment
		if e.Group != "" {
			next = e.Group + "." + segment
		}
		if !children[e.Group][segment] || segment == "" {
			e.Word = segment
			break
		}
		e.Group = next
	}
	for child := range children[e.Group] {
		e.Children = append(e.Children, child)
	}
	return e
}

// Plan returns the plan in force of a command. It is shared: whoever changes
// one copies it first. The error says why there is none.
func (s *Set) Plan(e *Entry) (*plan.Plan, error) {
	if e.doubted.Load() {
		// No run of a revision begins between its violation and the verdict.
		if err := e.source.settle(); err != nil {
			return nil, err
		}
		e.doubted.Store(false)
		if now, ok := s.table.Get(e.Name); ok && now != e {
			return s.Plan(now)
		}
	}
	if p := e.plan.Load(); p != nil {
		return p, nil
	}
	if e.err != nil {
		if time.Since(e.made) < tryAgain || !e.tried.CompareAndSwap(false, true) {
			return nil, e.err // another look publishes another entry
		}
		defer e.tried.Store(false)
		return e.source.loadOne(e.Name)
	}
	p, err := e.source.plan(e.Name)
	if err == nil {
		e.plan.CompareAndSwap(nil, p)
	}
	return p, err
}

// Renew has a command loaded again, for a caller who met a program that is no
// longer the one of its plan.
func (s *Set) Renew(name string) (*plan.Plan, error) {
	e, ok := s.table.Get(name)
	if !ok {
		return nil, &registry.UnknownError{Word: name}
	}
	return e.source.loadOne(name)
}

// Ended takes the end of one run into account: violation is the refused call,
// or empty. It returns the version that the command was put back on, "" for
// none. Nothing is done for a plan whose runs are not asked for.
func (s *Set) Ended(p *plan.Plan, run, violation string) (revertedTo string, err error) {
	if !p.Counts || !p.Journal && violation == "" {
		return "", nil
	}
	i := slices.IndexFunc(s.registries, func(src *source) bool { return src.place().Key == p.Key })
	if i < 0 {
		return "", nil // another directory has taken the registry's place
	}
	src := s.registries[i]
	// The command may be gone, or hidden by an earlier registry: its verdicts
	// hold for when it is back.
	e, ok := s.table.Get(p.Command)
	if ok && e.source != src {
		e, ok = nil, false
	}
	add := state.Append
	if violation != "" && p.Journal {
		add = state.AppendUrgent
	}
	was := src.loader().Snapshot().Commands[p.Command].InForce
	size, err := add(src.dir(), p.Key, state.Record{Time: time.Now(), Run: run, Command: p.Command, Revision: p.Revision, Violation: violation})
	if err != nil {
		return "", fmt.Errorf("count the run: %w", err)
	}
	if violation == "" && size < state.SettleSize {
		if !ok {
			return "", nil
		}
		if cur, _ := e.Command.Current(); e.ended.Add(1) != cur.ProbationRuns {
			return "", nil
		}
	}
	if ok && violation != "" && e.Command.InForce == p.Revision {
		e.doubted.Store(true)
	}
	if err := src.settle(); err != nil || violation == "" {
		return "", err
	}
	if ok {
		e.doubted.Store(false)
	}
	if was != p.Revision {
		return "", nil
	}
	now := src.loader().Snapshot().Commands[p.Command]
	if r, ok := now.Revision(p.Revision); !ok || r.State != life.Quarantined {
		return "", nil
	}
	r, _ := now.Current()
	return r.Version, nil
}

// Reload looks at everything now, as if every file had changed. What is being
// replaced meanwhile is looked at again, so that its answer is that of what is
// there then.
func (s *Set) Reload() (map[string]*loader.Result, error) {
	all := map[string]*loader.Result{}
	var errs []error
	for _, src := range s.registries {
		results, err := src.reloadWhole()
		for name, r := range results {
			if _, ok := all[name]; !ok {
				all[name] = r
			}
		}
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}

// First is the loader of the first registry.
func (s *Set) First() *loader.Loader { return s.registries[0].loader() }

// Operate has f act on the first registry that has, or had, a command, or on
// the first of all for an empty name, and publishes what it came to. Nothing
// else changes that registry meanwhile. The error is f's, or a
// *registry.UnknownError.
func (s *Set) Operate(name string, f func(*loader.Loader) error) error {
	act := func(src *source) error {
		_, err := src.changed(func(l *loader.Loader) (map[string]*loader.Result, error) { return nil, f(l) })
		return err
	}
	for _, src := range s.registries {
		if _, known := src.loader().Snapshot().Commands[name]; known || name == "" {
			return act(src)
		}
	}
	if registry.CheckName(name) == nil {
		for _, src := range s.registries {
			if kind, err := src.place().Node(name); err == nil && kind == registry.Command {
				return act(src) // which says that none was ever in force
			}
		}
	}
	return &registry.UnknownError{Word: name}
}
