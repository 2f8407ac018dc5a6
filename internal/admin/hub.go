package admin

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"time"
)

// kept is how many events can be had again by their id. A reader who is away
// for longer is told how many he missed. Twice as many would double what a
// busy minute holds in memory (about 0.5 MB) and still not cover an hour.
const kept = 1024

// Hub takes events and hands them to any number of readers, each at his own
// pace: a slow one misses events and delays nobody. The zero value is not
// ready; use NewHub. Safe for concurrent use.
type Hub struct {
	epoch string // of this hub: ids of another one are not taken for its own

	mu   sync.Mutex
	ring [kept]Event
	next uint64        // sequence number of the next event; the first is 1
	wake chan struct{} // closed at the next event; nil when nobody waits
}

// NewHub makes an empty hub.
func NewHub() *Hub { return &Hub{epoch: strings.ToLower(rand.Text()[:8]), next: 1} }

// Publish hands an event over. Its ID is set here, and its Time unless it has
// one. It never waits.
func (h *Hub) Publish(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC()
	h.mu.Lock()
	defer h.mu.Unlock()
	e.ID = h.id(h.next)
	h.ring[h.next%kept] = e
	h.next++
	if h.wake != nil {
		close(h.wake)
		h.wake = nil
	}
}

func (h *Hub) id(seq uint64) string { return h.epoch + "-" + strconv.FormatUint(seq, 10) }

// Reader reads the events of a hub. It belongs to one goroutine.
type Reader struct {
	hub *Hub
	seq uint64 // of the next event to be had
	gap *Event // to be had before it
}

// Reader reads from after the event with this id; "" reads from what is next,
// "0" all that is kept. An id of a daemon that has ended gives a Gap and all
// that is kept.
func (h *Hub) Reader(since string) *Reader {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &Reader{hub: h, seq: h.next}
	if since == "" {
		return r
	}
	r.seq = h.oldest()
	if since == "0" {
		return r
	}
	epoch, number, _ := strings.Cut(since, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if epoch != h.epoch || err != nil || n >= h.next {
		r.gap = &Event{Kind: Gap, ID: h.id(r.seq - 1), Time: time.Now().UTC(), Reason: "the daemon was started anew"}
		return r
	}
	r.seq = n + 1
	return r
}

// oldest is the sequence number of the oldest event that is kept; mu is held.
func (h *Hub) oldest() uint64 {
	if h.next <= kept {
		return 1
	}
	return h.next - kept
}

// Next returns the next event. Without wait, false when there is none yet;
// with it, false only when ctx has ended.
func (r *Reader) Next(ctx context.Context, wait bool) (Event, bool) {
	if g := r.gap; g != nil {
		r.gap = nil
		return *g, true
	}
	h := r.hub
	for {
		h.mu.Lock()
		if oldest := h.oldest(); r.seq < oldest {
			e := Event{Kind: Gap, ID: h.id(oldest - 1), Time: time.Now().UTC(), Missed: oldest - r.seq}
			r.seq = oldest
			h.mu.Unlock()
			return e, true
		}
		if r.seq < h.next {
			e := h.ring[r.seq%kept]
			r.seq++
			h.mu.Unlock()
			return e, true
		}
		if !wait {
			h.mu.Unlock()
			return Event{}, false
		}
		if h.wake == nil {
			h.wake = make(chan struct{})
		}
		wake := h.wake
		h.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return Event{}, false
		}
	}
}
