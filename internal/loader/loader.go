// Package loader is the one way from a registry on disk to plans in force:
// read, verified, parsed, judged, compiled, proved, made durable, and only
// then used. It is the same at start, on a change, and in a one-shot
// `sbx run`. Use [Run] for a registered command as sbxd answers it, [OpenFor]
// for a [Loader] that keeps one registry's state, [Exec] for a program under a
// policy, and [Check] for what an author wants to know.
//
// The promise: a bundle that is not accepted changes nothing but the record
// of why, and no plan names a revision that the chain of snapshots does not
// have.
package loader

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/sign"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry/chain"
	"github.com/sbx-project/sbx/registry/life"
)

// Options say how a Loader works. The zero value of a field has a meaning.
type Options struct {
	// Registries are the absolute directories in order of precedence that a
	// caller looks through (ctl.RegistryList): plans are bound to them.
	Registries []string
	// Earlier are the places before this one: what appears there would hide
	// a command.
	Earlier []Place
	// Prover runs checks; nil: a bundle with checks is rejected.
	Prover Prover
	// Notify is told of every change, in order, under the Loader's lock; what one
	// change came to it is told together, which may be thousands. nil: nobody.
	Notify func([]Event)
	// By says who makes the changes, for the history; empty: the user's name.
	By string
	// InFlight tells whether runs still use a stored bundle that nothing
	// names any more; nil: none. See Uses. (Who runs by himself beside the
	// loader is not known to it: what he uses is named for sixteen
	// generations and eight revisions longer, and no more.)
	InFlight func(digest string) bool
	// StateDir is where state is kept; empty: state.Dir().
	StateDir string
}

// ErrHeld says that another loader holds the registry's state.
var ErrHeld = errors.New("another loader holds the state of this registry")

// Loader keeps the state of one registry, as its only writer. It is safe for
// concurrent use; changes go one after the other.
type Loader struct {
	place    Place
	state    string // the state directory of all registries
	options  Options
	features feature.Set
	// volatile: there is no state directory and none can be made. Nothing is
	// kept and nothing counts.
	volatile bool
	// guest: the registry belongs to somebody else, whose verdicts are read
	// from his state where it has any.
	guest *chain.Chain
	// sealed: guest is this owner's own state, which cannot be written.
	sealed bool
	// inForce is for who only looks: a change may go on for long.
	inForce atomic.Pointer[chain.Snapshot]
	// moved are the commands that a change has touched since Moved.
	moved struct {
		mu    sync.Mutex
		names map[string]bool
	}
	// counted are the commands of the snapshot with the runs that only the
	// journal has.
	counted atomic.Pointer[map[string]life.Command]
	// seen is the trust of the last change, for who only looks.
	seen atomic.Pointer[sign.Trust]

	filters engine.Filters
	// survey is the look at the host of the change that goes on; nil: each
	// plan looks by itself.
	survey *engine.Survey

	mu     sync.Mutex
	closed bool
	chain  *chain.Chain
	snap   *chain.Snapshot // that of inForce
	// trust and its stamps are those of the change that goes on.
	trust       *sign.Trust
	trustStamps []plan.Stamp
	// aboveStamps are those of the directories above the registries.
	aboveStamps []plan.Stamp
	// illegal is why the tree was refused last, where no revision keeps it.
	illegal string
	// told are the runs in the journal whose violation was told and changed
	// nothing; opened is since when this loader tells.
	told   map[string]bool
	opened time.Time
	// distrusted are the commands that are not believed, with why it was told.
	distrusted map[string]string
	// torn counts how often in a row a command could not be read because it was
	// being replaced.
	torn map[string]int
	// litter: it is time to collect.
	litter bool
	// guestStamp is that of guest's newest generation, taken before guest was
	// read: what its owner decides later makes a plan stale.
	guestStamp []plan.Stamp
}

// errClosed says that a Loader has given its lock back: it may write nothing.
var errClosed = errors.New("the loader is closed")

// OpenFor takes the lock of the registry's state and reads its newest valid
// snapshot. The error is ErrHeld when another loader is at work.
//
// Trust boundary. Who controls the input: whoever may write the state
// directory: root and the registry's owner. What privilege is held: the
// caller's, root's in a daemon. What has been checked: nothing yet; chain
// checks every component's owner and every object's hash. What fails closed:
// a damaged snapshot is passed over for an older one, and where none is valid
// nothing is in force.
func OpenFor(place Place, o Options) (*Loader, error) {
	l := &Loader{place: place, options: o, state: o.StateDir, told: map[string]bool{}, distrusted: map[string]string{}, opened: time.Now()}
	if l.state == "" {
		l.state = state.Dir()
	}
	if l.options.By == "" {
		l.options.By = userName()
	}
	if err := l.openGuest(); err != nil {
		return nil, err
	}
	if l.state == "" {
		l.volatile = true
	} else if err := l.openChain(); err != nil {
		l.Close()
		return nil, err
	}
	if l.snap == nil {
		l.snap = &chain.Snapshot{}
	}
	l.inForce.Store(l.snap)
	l.features = feature.Probe() // last: who waits for the lock tries often
	return l, nil
}

func (l *Loader) openChain() error {
	c, err := chain.Open(l.state+"/"+l.place.Key, chain.Exclusive)
	switch {
	case errors.Is(err, chain.ErrHeld):
		return ErrHeld
	case unwritable(err):
		return l.openUnwritable()
	case err != nil:
		return fmt.Errorf("open the state: %w", err)
	}
	l.chain = c
	snap, damaged, err := c.Newest()
	if err != nil && !errors.Is(err, chain.ErrEmpty) {
		return fmt.Errorf("open the state: %w", err)
	}
	for _, d := range damaged {
		l.notify(Event{Kind: Damaged, Reason: d.Error(), Err: d})
	}
	l.snap = snap
	return nil
}

// unwritable tells whether an error means that nothing can be kept.
func unwritable(err error) bool {
	for _, no := range []error{unix.EROFS, unix.EACCES, unix.EPERM, unix.ENOENT, unix.ENOTDIR, unix.ENOSPC, unix.EDQUOT} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// openUnwritable goes on without keeping anything. A state that is there and
// can be read says what is in force, and then nothing new comes in force.
func (l *Loader) openUnwritable() error {
	l.volatile = true
	if l.guest != nil {
		return nil // its owner's is the one that counts
	}
	c, err := chain.Open(l.state+"/"+l.place.Key, chain.ReadOnly)
	if unwritable(err) {
		return nil // there is none
	}
	if err != nil {
		return fmt.Errorf("open the state: %w", err)
	}
	l.guest, l.sealed = c, true
	return nil
}

// Reopen reads from now on from another opening of the same registry: place
// has the same Path and Key.
func (l *Loader) Reopen(place Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.place = place
}

// foreign tells whether the registry belongs to another user.
func (l *Loader) foreign() bool { return l.place.Owner != uint32(os.Geteuid()) }

// Close releases the lock.
func (l *Loader) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tidy()
	var errs []error
	for _, c := range []*chain.Chain{l.chain, l.guest} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	l.chain, l.guest, l.closed = nil, nil, true
	return errors.Join(errs...)
}

// Snapshot is what is in force. It is never changed; nobody else may.
func (l *Loader) Snapshot() *chain.Snapshot { return l.inForce.Load() }

// Counted is a command of the snapshot with the runs that the journal counted
// when the loader last looked.
func (l *Loader) Counted(c life.Command) life.Command {
	if all := l.counted.Load(); all != nil {
		if counted, ok := (*all)[c.Name]; ok && counted.InForce == c.InForce && counted.Generation == c.Generation {
			return counted
		}
	}
	return c
}

// History lists the generations that are kept, newest first.
func (l *Loader) History() ([]chain.Info, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.chain == nil {
		return nil, nil
	}
	return l.chain.List()
}

// Load looks at the named commands on disk and brings what is accepted into
// force. It returns a result for every name. The error is one of the state;
// then nothing has changed. Where the tree with all of them is not legal nothing
// comes in force, and their results say so ([Illegal]).
func (l *Loader) Load(names ...string) (map[string]*Result, error) {
	return l.change(func(b *batch) error {
		if errs := b.illegal(slices.Clone(names)); errs != nil {
			b.refuse(errs)
			return nil
		}
		l.illegal = ""
		// What is gone comes last: who requires it may be about to do without.
		// The tree was judged with all that was read, so that is loaded.
		var gone []string
		for _, name := range slices.Sorted(maps.Keys(b.candidates)) {
			if b.candidates[name] != nil && b.candidates[name].absent != nil {
				gone = append(gone, name)
			} else {
				b.load(name)
			}
		}
		for _, name := range gone {
			b.load(name)
		}
		return nil
	})
}

// change runs f on a batch and makes what it staged durable and in force.
func (l *Loader) change(f func(*batch) error) (map[string]*Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tidy()
	l.survey = &engine.Survey{}
	defer func() { l.survey = nil }()
	b, err := l.newBatch()
	if err != nil {
		return nil, err
	}
	if err := f(b); err != nil {
		return nil, err
	}
	if err := b.commit(); err != nil {
		return nil, err
	}
	return b.results, nil
}

// commit makes the batch durable, then swaps it in: nothing is in force that
// is not durable first.
func (b *batch) commit() error {
	l := b.l
	if !b.waits() {
		next := &chain.Snapshot{
			Generation: b.generation, Time: b.now, By: b.by, Why: bounded(strings.Join(b.reasons, "; ")),
			Changed: slices.Sorted(maps.Keys(b.changed)), Commands: maps.Clone(l.snap.Commands),
		}
		if b.counts {
			next.Changed, next.Counted, next.Why = nil, next.Changed, "count runs"
		}
		if next.Commands == nil {
			next.Commands = b.changed
		} else {
			maps.Copy(next.Commands, b.changed)
		}
		if l.chain != nil {
			// From here until the plans are written a one-shot run asks.
			if err := state.MarkUnfinished(l.state, l.place.Key); err != nil {
				return err
			}
			if err := l.chain.Commit(next); err != nil {
				return fmt.Errorf("keep generation %d: %w", next.Generation, err)
			}
		}
		l.snap = next
		l.inForce.Store(next)
		l.move(b.changed)
	}
	if b.journal != nil && (!b.counts || b.journal.Full) {
		if err := b.journal.Done(); err != nil {
			return fmt.Errorf("close the journal: %w", err)
		}
		clear(l.told)
	}
	counted := b.changed
	if !b.waits() {
		counted = nil
	}
	l.counted.Store(&counted)
	for _, name := range slices.Sorted(maps.Keys(b.results)) {
		r := b.results[name]
		if len(b.results) > manyPlans {
			r = &Result{} // the first run of each makes its plan
		}
		if err := l.keepPlan(name, r); err != nil {
			return err
		}
	}
	if err := b.finish(); err != nil {
		return err
	}
	maps.Copy(l.distrusted, b.distrusted)
	if b.waits() {
		for _, run := range b.alerts {
			l.told[run] = true
		}
	}
	for i := range b.events {
		if e := &b.events[i]; e.Generation == 0 || b.waits() {
			e.Generation = l.snap.Generation
		}
	}
	l.notify(b.events...)
	if !b.waits() && b.generation%collectEvery == 0 {
		l.litter = true
	}
	return nil
}

// manyPlans is how many plans one change writes. A start with thousands of
// bundles would write megabytes that nobody may ever read.
const manyPlans = 64

// mend removes the plans of the newest generation where the change that made
// it was cut off: they may be those of the generation before. It comes before
// anything else: the next generation has other names in Changed, and when it is
// complete the mark goes.
func (l *Loader) mend() error {
	if l.chain == nil || !state.Unfinished(l.state, l.place.Key) {
		return nil
	}
	for _, name := range l.snap.Changed {
		if err := l.keepPlan(name, &Result{}); err != nil {
			return err
		}
	}
	return l.sweepPlans()
}

// sweepPlans removes what a loader that was killed has left of plans that it
// wrote. Nobody else writes any while this one holds the lock.
func (l *Loader) sweepPlans() error {
	dir := l.state + "/" + l.place.Key + "/plans/"
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && strings.HasSuffix(e.Name(), "~") {
			if err := os.Remove(dir + e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish removes the plans that this change left behind, and the mark.
func (b *batch) finish() error {
	l := b.l
	if l.chain == nil || !state.Unfinished(l.state, l.place.Key) {
		return nil
	}
	for _, name := range l.snap.Changed {
		if b.results[name] == nil {
			if err := os.Remove(state.PlanPath(l.state, l.place.Key, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return state.MarkFinished(l.state, l.place.Key)
}

// keepPlan writes the plan of a result, or removes the one of a command that
// has none.
func (l *Loader) keepPlan(name string, r *Result) error {
	if l.volatile {
		return nil
	}
	path := state.PlanPath(l.state, l.place.Key, name)
	if r.Plan == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	err := state.Write(path, r.Encoded)
	if full(err) {
		// A plan is a cache: the next run makes its own. The old one, which may
		// be another revision's, must go.
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	return err
}

func (l *Loader) notify(events ...Event) { l.options.notify(events...) }

// userName is the name of the effective user, or his uid.
func userName() string {
	id := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}

// maxWhy bounds the text of a generation's reason, in bytes: chain keeps 1000.
const maxWhy = 1000

// bounded cuts a text for the history.
func bounded(s string) string {
	if len(s) > maxWhy {
		s = strings.ToValidUTF8(s[:maxWhy-3], "") + "..."
	}
	return s
}
