package loader

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/sign"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/chain"
	"github.com/sbx-project/sbx/registry/life"
)

// batch is one change of the registry's state: what it stages becomes one new
// generation, or nothing does.
type batch struct {
	l          *Loader
	now        time.Time
	generation uint64
	by         string   // who makes it, for the history
	reasons    []string // why there is a new generation
	changed    map[string]life.Command
	results    map[string]*Result
	events     []Event
	// candidates are what lies on disk, as far as it was read.
	candidates map[string]*candidate
	held       int // bytes of manifests in candidates
	// loading are the commands whose load has begun, outermost first; loaded
	// those whose load is over.
	loading []string
	loaded  map[string]bool
	// journal has the records that were applied first, nil without a state.
	journal *state.Journal
	// counts: nothing is staged but what those records count.
	counts bool
	// alerts are the runs of them whose violation is to be told, and changed
	// nothing.
	alerts []string
	// distrusted are the commands that turned out not to be believed (any more),
	// with why; empty: that are again.
	distrusted map[string]string
}

// newBatch begins a change with what the journal and the publishers files say
// now.
func (l *Loader) newBatch() (*batch, error) {
	b := &batch{
		l: l, now: time.Now(), changed: map[string]life.Command{}, results: map[string]*Result{}, loaded: map[string]bool{},
		candidates: map[string]*candidate{}, generation: l.snap.Generation + 1, by: l.options.By,
	}
	if l.closed {
		return nil, errClosed
	}
	if err := l.openGuest(); err != nil {
		return nil, err
	}
	if err := l.mend(); err != nil {
		return nil, err
	}
	if l.chain != nil {
		var err error
		if b.generation, err = l.chain.Next(); err != nil {
			return nil, err
		}
	}
	l.lookAbove()
	if err := l.readTrust(); err != nil {
		return nil, err
	}
	return b, b.settle()
}

// command is what is known of a command, with what the batch has staged.
func (b *batch) command(name string) (life.Command, bool) {
	if c, ok := b.changed[name]; ok {
		return c, true
	}
	c, ok := b.l.snap.Commands[name]
	if !ok {
		c.Name = name
	}
	return c, ok
}

func (b *batch) stage(c life.Command) {
	b.changed[c.Name] = c
	b.counts = false
}

// waits tells whether the batch makes no generation: until something does, or
// there are many of them, the journal has the counts.
func (b *batch) waits() bool {
	return len(b.changed) == 0 || b.counts && !b.journal.Full
}

// event adds an event, and says why this generation is made.
func (b *batch) event(e Event, why string) {
	e.Generation = b.generation
	b.events = append(b.events, e)
	b.reasons = append(b.reasons, why)
}

// load takes one command through the whole pipeline, once in a batch.
func (b *batch) load(name string) *Result {
	switch {
	case b.loaded[name]:
		return b.results[name]
	case slices.Contains(b.loading, name):
		return &Result{Err: fmt.Errorf("%s and %s need each other", b.loading[len(b.loading)-1], name)}
	}
	b.loading = append(b.loading, name)
	r := b.consider(name)
	b.loading = b.loading[:len(b.loading)-1]
	b.results[name], b.loaded[name] = r, true
	return r
}

// consider judges what lies on disk.
func (b *batch) consider(name string) *Result {
	c := b.read(name)
	if c.dropped {
		digest := c.rev.Digest
		if c = b.examine(name); c.rev.Digest != digest {
			// Its tree was not looked at; the event of this change will be.
			return b.keep(name, b.l.stale(c.stamps), fmt.Errorf("load %q: %w", name, registry.ErrChanged))
		}
	}
	delete(b.candidates, name) // its bytes are not needed beyond this
	switch {
	case c.exposed != nil:
		cur, _ := b.command(name)
		return b.distrust(cur, c.exposed)
	case c.decided != nil:
		return c.decided
	case c.absent != nil:
		return b.absent(name, c.absent)
	case b.l.tornAgain(name, c.err):
		// Nothing was judged. Whoever asked looks again, and so does the next run.
		return b.keep(name, b.l.stale(c.stamps), &RejectedError{c.err})
	case c.err != nil:
		return b.reject(name, c.rev, c.stamps, c.err)
	}
	return b.offer(name, c.rev, c.bundle, c.stamps)
}

// describe fills in what the manifest says of a revision.
func describe(rev *life.Revision, m *registry.Manifest) {
	rev.Version, rev.Counter, rev.Floor = m.Version, m.Counter, m.Floor
	rev.ProbationRuns, rev.ProbationWindow = m.Probation.Runs, m.Probation.Window
	rev.BudgetCount, rev.BudgetWindow = m.RevertBudget.Count, m.RevertBudget.Window
	rev.OnViolation, rev.Requires, rev.Summary = life.OnViolation(m.OnViolation), m.Requires.Commands, m.Summary
}

// VerdictError says why a bundle may not come in force.
type VerdictError struct{ life.Verdict }

func (e *VerdictError) Error() string { return e.Reason }

// Code is the verdict that an error of a [Result] tells (SPEC 3): 409, 412, or 0
// where the cause is another one.
func Code(err error) life.Code {
	var untrusted *sign.UntrustedError
	var owner *safefs.OwnerError
	var verdict *VerdictError
	switch {
	case errors.As(err, &untrusted), errors.As(err, &owner), errors.Is(err, chain.ErrDamaged):
		return life.Untrusted
	case errors.As(err, &verdict):
		return verdict.Code
	}
	return 0
}

// offer judges a verified and parsed bundle and, if it may, brings it in
// force: stored, compiled, proved.
func (b *batch) offer(name string, rev life.Revision, bundle *registry.Bundle, stamps []plan.Stamp) *Result {
	cur, _ := b.command(name)
	if next, changed := cur.Return(rev.Digest, b.generation, b.now, b.l.revoked); changed {
		b.stage(next)
		if next.InForce != "" {
			b.event(Event{Kind: Registered, Name: name, Version: rev.Version, Digest: rev.Digest, InForce: rev.Version, Code: life.OK}, "return of "+name)
		}
		return b.keep(name, stamps, nil)
	}
	switch v := cur.Offer(rev, b.l.revoked); {
	case v.Unchanged:
		return b.same(cur, rev, bundle, stamps)
	case !v.Accepted() && !v.Known:
		rev.Verdict = v.Code
		return b.reject(name, rev, stamps, &VerdictError{v})
	case !v.Accepted():
		return b.keep(name, stamps, &RejectedError{b.known(cur, rev, bundle, stamps, v)})
	}
	if err := b.requires(&bundle.Manifest); err != nil {
		// Another bundle may mend it, of which neither this one's stamps nor a
		// fingerprint tell: it is tried again at each look.
		rev.HostCause, rev.Host = true, ""
		return b.reject(name, rev, b.l.stale(stamps), err)
	}
	stored, err := b.l.store(bundle)
	if err != nil {
		return b.undecided(name, stamps, fmt.Errorf("store %s %s: %w", name, rev.Version, err))
	}
	p, err := b.l.compile(stored, b.generation, stamps)
	if err != nil {
		rev.HostCause = hostCause(err)
		return b.reject(name, rev, stamps, located(bundle.File, bundle.Source, err))
	}
	if err := prove(b.l.options.Prover, p, bundle.Manifest.Checks); err != nil {
		if undecided := (*undecidedError)(nil); errors.As(err, &undecided) {
			return b.undecided(name, stamps, fmt.Errorf("%s:%w", bundle.File, err))
		}
		rev.HostCause = true
		return b.reject(name, rev, stamps, fmt.Errorf("%s:%w", bundle.File, err))
	}
	rev.Proved = true
	next := cur.Activate(rev, b.generation, b.now)
	b.stage(next)
	e := Event{Kind: Replaced, Name: name, Version: rev.Version, Digest: rev.Digest, InForce: rev.Version, Code: life.OK}
	if cur.InForce == "" {
		e.Kind = Registered
	}
	b.event(e, "load "+name+" "+rev.Version)
	b.believe(name)
	return b.l.finishPlan(p, next, nil)
}

// same is a bundle that is in force already. A signature may have come since.
func (b *batch) same(cur life.Command, rev life.Revision, bundle *registry.Bundle, stamps []plan.Stamp) *Result {
	if now, _ := cur.Current(); now.KeyID != rev.KeyID {
		if _, err := b.l.store(bundle); err != nil {
			return b.undecided(cur.Name, stamps, fmt.Errorf("store the signature of %s %s: %w", cur.Name, rev.Version, err))
		}
		rev.Proved = now.Proved
		b.stage(cur.Activate(rev, b.generation, b.now))
		b.reasons = append(b.reasons, "signature of "+cur.Name+" "+rev.Version)
	}
	r := b.keep(cur.Name, stamps, nil)
	if r.Plan != nil && r.Plan.Revision == cur.InForce && b.l.rebuilt(r.Plan) {
		// No generation: what is in force is the same.
		b.events = append(b.events, Event{Kind: Rebuilt, Name: cur.Name, Version: rev.Version, Digest: rev.Digest,
			InForce: rev.Version, Generation: b.l.snap.Generation, Code: life.OK})
	}
	return r
}

// known is the error of a bundle that was rejected before and reported then.
// Where nothing can run instead, who asks is told again, with the position if
// there is one.
func (b *batch) known(cur life.Command, rev life.Revision, bundle *registry.Bundle, stamps []plan.Stamp, v life.Verdict) error {
	r, ok := cur.Revision(rev.Digest)
	if ok && r.State == life.Rejected {
		v.Code = r.Verdict // 0: its content or the host, and no verdict
	}
	if ok && cur.InForce == "" && r.State == life.Rejected && r.Verdict == 0 {
		if _, err := b.l.compile(bundle, b.generation, stamps); err != nil {
			return located(bundle.File, bundle.Source, err)
		}
	}
	return &VerdictError{v}
}

// requires tells what a bundle needs and the host or the registry does not
// have. The commands that it names are loaded first.
func (b *batch) requires(m *registry.Manifest) error {
	if need, ok := strings.CutPrefix(m.Requires.SBX, ">="); ok && older(buildinfo.Version, need) {
		return fmt.Errorf("requires.sbx: this is sbx %s, needed is %s or newer", buildinfo.Version, need)
	}
	for _, name := range m.Requires.Commands {
		r := b.load(name)
		if c, _ := b.command(name); c.InForce != "" && r.Plan != nil {
			continue
		}
		if r.Err != nil {
			return fmt.Errorf("requires.commands: %s is not in force: %w", name, r.Err)
		}
		return fmt.Errorf("requires.commands: %s is not in force", name)
	}
	// The tree with everything on disk is legal; one of those that were loaded
	// may have been rejected since, so that an older revision of it stays.
	if way := b.circle(m.Name, m.Requires.Commands, map[string]bool{}); way != nil {
		return &registry.TreeError{Name: m.Name, Others: way, Err: registry.ErrCycle}
	}
	return nil
}

// undecidedError says that nothing was decided about a bundle, for a reason that
// is not the bundle's: there was no room to keep it, or a check did not come
// about. Whoever looks again may find otherwise.
type undecidedError struct{ err error }

func (e *undecidedError) Error() string { return e.err.Error() }
func (e *undecidedError) Unwrap() error { return e.err }

// Undecided tells whether an error of a Result lies with the moment: what lies
// on disk, which does not change again, is to be looked at again.
func Undecided(err error) bool {
	var undecided *undecidedError
	return errors.As(err, &undecided) || registry.Torn(err)
}

// undecided keeps what is in force until the next look, which is the next run's
// where nobody else looks.
func (b *batch) undecided(name string, stamps []plan.Stamp, err error) *Result {
	return b.keep(name, b.l.stale(stamps), &undecidedError{err})
}

// reject records that what lies on disk was not accepted, reports it when it
// is news, and keeps what is in force.
func (b *batch) reject(name string, rev life.Revision, stamps []plan.Stamp, err error) *Result {
	rev.Reason = err.Error()
	cur, _ := b.command(name)
	next, news := cur.Reject(rev, b.now)
	if r := (*RejectedError)(nil); !errors.As(err, &r) {
		err = &RejectedError{err}
	}
	if news {
		b.stage(next)
		e := Event{Kind: Rejected, Name: name, Version: rev.Version, Digest: rev.Digest, Code: rev.Verdict, Reason: rev.Reason, Err: err}
		if to, ok := next.Current(); ok {
			e.InForce = to.Version
		}
		b.event(e, "reject "+name)
	}
	return b.keep(name, stamps, err)
}

// keep makes the plan of what is in force anew. err says why what lies on
// disk is not it.
func (b *batch) keep(name string, stamps []plan.Stamp, err error) *Result {
	cur, _ := b.command(name)
	if next, a := cur.Revoke(b.generation, b.now, b.l.revoked); a.Kind != life.ActionNone {
		cur = b.verdict(cur, next, a, "", life.Untrusted)
	}
	if next, a := cur.Tick(b.now); a.Kind != life.ActionNone {
		cur = b.verdict(cur, next, a, "", 0)
	}
	if cur.Refusal != "" {
		return b.l.finishPlan(b.l.refusal(cur, stamps), cur, err)
	}
	if cur.InForce == "" {
		if err == nil {
			err = fmt.Errorf("%s: nothing is in force", name)
		}
		return &Result{Err: err}
	}
	stored, storeErr := b.l.stored(name, cur.InForce)
	if storeErr != nil {
		storeErr = fmt.Errorf("read the stored %s: %w", name, storeErr)
		if Code(storeErr) == life.Untrusted {
			return b.distrust(cur, storeErr)
		}
		return &Result{Err: &RejectedError{storeErr}}
	}
	if err := b.l.verifyStored(name, stored); err != nil {
		// No verdict of its state: with a signature or another publishers file
		// it runs again.
		return b.distrust(cur, err)
	}
	b.believe(name)
	p, compileErr := b.l.compile(stored, cur.Generation, stamps)
	if compileErr != nil {
		return &Result{Err: located(stored.File, stored.Source, compileErr)}
	}
	return b.l.finishPlan(p, cur, err)
}

// absent retires a command that is gone from the disk.
func (b *batch) absent(name string, err error) *Result {
	cur, _ := b.command(name)
	if user := b.userOf(name); user != "" && cur.InForce != "" {
		// Its user's new revision, which can do without, was rejected.
		return b.keep(name, b.l.stale(b.l.stamps(name)), &registry.TreeError{Name: user, Others: []string{name}, Err: registry.ErrRequires})
	}
	rev, _ := cur.Current()
	if next, changed := cur.Absent(b.generation, b.now); changed {
		b.stage(next)
		b.event(Event{Kind: Retired, Name: name, Version: rev.Version, Digest: rev.Digest}, "remove "+name)
	}
	return &Result{Err: err}
}

// hostCause tells whether a refusal of the engine lies with the host.
func hostCause(err error) bool {
	var e *engine.Error
	return errors.As(err, &e) && (e.Feature != "" || e.Status == engine.StatusNotFound || e.Status == engine.StatusRefused)
}
