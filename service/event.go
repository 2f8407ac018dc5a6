package service

import (
	"context"
	"slices"
	"sync"
)

// Kind says what happened to a command.
type Kind string

// The kinds of events.
const (
	// Registered: a command is new, or back after it had been gone.
	Registered Kind = "registered"
	// Replaced: another revision is in force.
	Replaced Kind = "replaced"
	// Rejected: a bundle was not accepted. What was in force still is.
	Rejected Kind = "rejected"
	// Reverted: the command is back on its last good revision.
	Reverted Kind = "reverted"
	// Quarantined: the name refuses until an operator acts.
	Quarantined Kind = "quarantined"
	// Rebuilt: the same revision was compiled anew, for a changed host.
	Rebuilt Kind = "rebuilt"
	// Distrusted: what is in force is not believed any more.
	Distrusted Kind = "distrusted"
	// Retired: the command is gone.
	Retired Kind = "retired"
	// Violated: a violation that changes nothing, after probation.
	Violated Kind = "violated"
	// Damaged: something that was kept is not valid and was passed over.
	Damaged Kind = "damaged"
)

// Code is a verdict on a bundle.
type Code uint16

// The verdicts.
const (
	// OK: it is in force.
	OK Code = 200
	// Conflict: it is older than, or concurrent to, what is in force, or kept
	// away.
	Conflict Code = 409
	// Untrusted: its signature, its digest or a revocation speaks against it.
	Untrusted Code = 412
)

// Event is one change, or one refusal to change.
type Event struct {
	Kind Kind
	// Name is the command's; Version and Digest those of the revision that
	// the event is about, empty where it could not be read.
	Name, Version, Digest string
	// Generation is the snapshot's number afterwards.
	Generation uint64
	// Code is the verdict (SPEC 3, Trust): 200 for what came in force, 409 for
	// what conflicts with it, 412 for what is not trusted; 0 where the cause
	// is another one or no bundle was judged.
	Code Code
	// Reason says why, for people; Err is the cause where there is one.
	Reason string
	Err    error
	// Lost is how many events the subscriber missed before this one, because
	// its queue was full: what it knows is to be made anew by Commands.
	Lost uint64
}

// events hands events to subscribers.
type events struct {
	mu   sync.Mutex
	subs []*Subscription
}

// publish gives events to every subscriber and waits for none.
func (e *events) publish(list []Event) {
	if len(list) == 0 {
		return
	}
	e.mu.Lock()
	subs := slices.Clone(e.subs)
	e.mu.Unlock()
	for _, s := range subs {
		s.take(list)
	}
}

// Subscription is a bounded queue of events. It is safe for concurrent use.
type Subscription struct {
	from  *events
	limit int
	wake  chan struct{} // one element: queue or closed may have changed

	mu     sync.Mutex
	queue  []Event
	lost   uint64
	closed bool
}

// DefaultQueue is how many events a subscription holds when it is not said:
// twice the commands of a large host would be lost to a subscriber that is
// away for a whole reload, and made anew from Commands.
const DefaultQueue = 1024

// Subscribe returns a subscription to all events from now on; limit is
// DefaultQueue when it is not positive. It may be called in every state. The
// caller calls Close.
func (s *Service) Subscribe(limit int) *Subscription {
	if limit <= 0 {
		limit = DefaultQueue
	}
	sub := &Subscription{from: &s.events, limit: limit, wake: make(chan struct{}, 1)}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	s.events.subs = append(s.events.subs, sub)
	return sub
}

func (s *Subscription) take(list []Event) {
	s.mu.Lock()
	for _, e := range list {
		if s.closed {
			break
		}
		if len(s.queue) == s.limit {
			s.lost++
			continue
		}
		e.Lost, s.lost = s.lost, 0
		s.queue = append(s.queue, e)
	}
	s.mu.Unlock()
	s.signal()
}

func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Next waits for the next event. It returns false when ctx ended, or after
// Close when nothing is left.
func (s *Subscription) Next(ctx context.Context) (Event, bool) {
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			e := s.queue[0]
			s.queue = slices.Delete(s.queue, 0, 1)
			more := len(s.queue) > 0
			s.mu.Unlock()
			if more {
				s.signal() // another Next may wait
			}
			return e, true
		}
		closed := s.closed
		s.mu.Unlock()
		if closed {
			s.signal()
			return Event{}, false
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return Event{}, false
		}
	}
}

// Close ends the subscription. What is in its queue can still be taken.
func (s *Subscription) Close() {
	s.from.mu.Lock()
	if i := slices.Index(s.from.subs, s); i >= 0 {
		s.from.subs = slices.Delete(s.from.subs, i, i+1)
	}
	s.from.mu.Unlock()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.signal()
}
