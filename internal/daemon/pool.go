package daemon

import (
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/cgroup"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/nsexec"
	"github.com/sbx-project/sbx/runner"
)

// pool keeps sandboxes that are ready for a call (runner.Prepare), each for
// one revision of a command and one caller's ids, and each used once. The
// first call of a caller makes the pool keep some for him; they are made after
// the answers, one at a time.
//
// Trust boundary. Who controls the input: callers, by what they call and how
// often. What privilege is held: the daemon's. What has been checked: that the
// caller may run the command. What fails closed: a sandbox has the ids of the
// caller that it is kept for from the start and nothing else of him, so no
// caller ever gets one that was meant for another; a plan that is no longer in
// force has another key, and what was made for it is thrown away.
type pool struct {
	bounds  Bounds
	leaves  *cgroup.Parent
	audited bool
	nextID  func() string
	null    int
	// launcher makes the sandboxes by a process of its own.
	launcher *nsexec.Launcher
	want     chan struct{}  // something is to be made
	done     chan struct{}  // the worker has ended
	going    sync.WaitGroup // what is thrown away, or made for a call

	mu     sync.Mutex
	shelf  map[poolKey]*shelf
	count  int // of all sandboxes, those that are being made included
	closed bool
	told   PoolStats // Taken, Missed and Retired
}

// PoolStats says how the warm pool does.
type PoolStats struct {
	// Ready is how many sandboxes wait for a call, Most how many may.
	Ready, Most int
	// Taken and Missed count calls that found one waiting and that found none;
	// calls whose sandbox cannot be made before them are in neither. Retired
	// counts sandboxes that were thrown away unused.
	Taken, Missed, Retired uint64
}

// stats is the state of this moment.
func (p *pool) stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.told
	s.Most = max(p.bounds.Warm, 0)
	for _, one := range p.shelf {
		s.Ready += len(one.ready)
	}
	return s
}

// poolKey is what a sandbox is good for. Plans are compared as pointers: each
// load makes a new one.
type poolKey struct {
	plan     *plan.Plan
	uid, gid uint32
}

// shelf has the sandboxes of one key.
type shelf struct {
	ready  []*runner.Prepared
	used   time.Time // when one was last asked for
	wanted bool      // one is to be made
	broken time.Time // until then none is made: it was not possible
}

const (
	// perKey is how many sandboxes are kept for one key: two callers at once
	// find one each while two are being made. At half of it the second waits
	// for his to be made, at twice the memory is mostly idle.
	perKey = 4
	// maxAge is when a sandbox is thrown away unused: what the host mounts
	// after it was made is not in it, and its clocks began when it was.
	maxAge = time.Minute
)

func newPool(b Bounds, leaves *cgroup.Parent, audited bool, nextID func() string) *pool {
	p := &pool{
		bounds: b, leaves: leaves, audited: audited, nextID: nextID, shelf: map[poolKey]*shelf{},
		want: make(chan struct{}, 1), done: make(chan struct{}),
	}
	var err error
	if p.null, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil || b.Warm < 0 {
		p.closed = true
		close(p.done)
		return p
	}
	if self, err := os.Executable(); err == nil {
		p.launcher = &nsexec.Launcher{Path: filepath.Join(filepath.Dir(self), "sbx"), Build: buildinfo.Build, Null: p.null}
	}
	go p.work()
	return p
}

// get gives a sandbox for the call: one that waits, else one that is made now.
// nil: the call needs a whole launch, whose init is a copy of the daemon.
// Afterwards the caller tells refill.
func (p *pool) get(key poolKey, o *runner.Options) *runner.Prepared {
	if !runner.Preparable(key.plan) || !runner.Fits(key.plan, o) {
		return nil
	}
	one, possible := p.take(key)
	if one != nil || !possible {
		return one
	}
	defer p.going.Done()
	one, err := p.prepare(key)
	if err != nil {
		return nil // a whole launch will say why
	}
	return one
}

// take gives a sandbox that waits, or nil and whether one can be made: then the
// pool does not end before the caller has told going.
func (p *pool) take(key poolKey) (one *runner.Prepared, possible bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false
	}
	s := p.shelf[key]
	if s == nil {
		s = &shelf{}
		p.shelf[key] = s
		p.retireOlderLocked(key)
	}
	s.used = time.Now()
	for len(s.ready) > 0 {
		one := s.ready[0]
		s.ready = s.ready[1:]
		p.count--
		if one.Ready() && time.Since(one.Made()) < maxAge {
			p.told.Taken++
			return one, true
		}
		p.told.Retired++
		p.discard(one)
	}
	p.told.Missed++
	if p.launcher == nil || time.Now().Before(s.broken) {
		return nil, false
	}
	p.going.Add(1)
	return nil, true
}

func (p *pool) prepare(key poolKey) (*runner.Prepared, error) {
	return runner.Prepare(runner.Options{
		Plan: key.plan, HostUID: key.uid, HostGID: key.gid, ID: p.nextID(), Via: viaDaemon, Audited: p.audited, Leaves: p.leaves, Launcher: p.launcher,
	}, p.null)
}

// refill has sandboxes made for a key that was asked for.
func (p *pool) refill(key poolKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shelf[key]
	if s == nil || time.Now().Before(s.broken) || p.closed {
		return
	}
	s.wanted = true
	select {
	case p.want <- struct{}{}:
	default: // it is under way
	}
}

// retireOlderLocked throws away what was made for an older plan of the command.
func (p *pool) retireOlderLocked(key poolKey) {
	for other, s := range p.shelf {
		if other.plan != key.plan && other.plan.Command == key.plan.Command {
			p.dropLocked(other, s)
		}
	}
}

func (p *pool) dropLocked(key poolKey, s *shelf) {
	delete(p.shelf, key)
	p.count -= len(s.ready)
	p.told.Retired += uint64(len(s.ready))
	for _, one := range s.ready {
		p.discard(one)
	}
}

// retire throws everything away: after a reload nothing old is used.
func (p *pool) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, s := range p.shelf {
		p.dropLocked(key, s)
	}
}

// close ends the pool; what is ready is gone when it returns.
func (p *pool) close() {
	p.mu.Lock()
	was := p.closed
	p.closed = true
	var left []*runner.Prepared
	for key, s := range p.shelf {
		left = append(left, s.ready...)
		delete(p.shelf, key)
	}
	p.mu.Unlock()
	for _, one := range left {
		one.Discard()
	}
	if !was {
		close(p.want)
		<-p.done
	}
	// They remove control groups below a directory that is closed after this.
	p.going.Wait()
	if !was {
		unix.Close(p.null)
	}
}

// discard throws a sandbox away while its caller goes on.
func (p *pool) discard(one *runner.Prepared) { p.going.Go(one.Discard) }

// size is how many sandboxes are ready or being made.
func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// work makes sandboxes, one after the other, and throws old ones away.
func (p *pool) work() {
	defer close(p.done)
	look := time.NewTicker(maxAge / 4)
	defer look.Stop()
	for {
		select {
		case _, ok := <-p.want:
			if !ok {
				return
			}
			for p.makeOne() {
			}
		case <-look.C:
			p.sweep()
		}
	}
}

// sweep throws away what nobody has asked for in maxAge.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, s := range p.shelf {
		if time.Since(s.used) > maxAge {
			p.dropLocked(key, s)
		}
	}
}

// makeOne makes a sandbox for the key that has fewest; false: there is nothing
// to do.
func (p *pool) makeOne() bool {
	key, s := p.next()
	if s == nil {
		return false
	}
	one, err := p.prepare(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		// A whole launch will say why.
		p.count--
		s.wanted, s.broken = false, time.Now().Add(maxAge)
	case p.closed:
		one.Discard()
	case p.shelf[key] != s:
		p.count--
		p.told.Retired++
		p.discard(one)
	default:
		s.ready = append(s.ready, one)
	}
	return true
}

// next is the key that a sandbox is to be made for, with its place in the
// budget taken.
func (p *pool) next() (key poolKey, least *shelf) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, s := range p.shelf {
		switch {
		case !s.wanted:
		case len(s.ready) >= perKey:
			s.wanted = false
		case least == nil || len(s.ready) < len(least.ready):
			key, least = k, s
		}
	}
	if p.closed || least == nil {
		return key, nil
	}
	if p.count >= p.bounds.Warm && !p.evictLocked(key) {
		least.wanted = false
		return key, nil
	}
	p.count++
	return key, least
}

// evictLocked makes room by throwing away a sandbox of the key that was not
// asked for longest.
func (p *pool) evictLocked(but poolKey) bool {
	var oldest *shelf
	for k, s := range p.shelf {
		if k != but && len(s.ready) > 0 && (oldest == nil || s.used.Before(oldest.used)) {
			oldest = s
		}
	}
	if oldest == nil {
		return false
	}
	p.told.Retired++
	p.discard(oldest.ready[0])
	oldest.ready = oldest.ready[1:]
	p.count--
	return true
}
