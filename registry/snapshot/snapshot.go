// Package snapshot is the registry in memory: a [Table] that any number of
// goroutines read without a lock or an allocation, and immutable [View]s that
// are made one from the other and put in its place by one pointer store.
//
// The promise: who reads sees one view whole, never half a change; and a view
// that somebody holds stays as it is, whatever is put in force meanwhile. It
// does not copy entries: nobody changes one after it was handed over.
//
// A View shares with the one it was made from what did not change, so that
// replacing one command among 10,000 costs microseconds.
package snapshot

import (
	"iter"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// Table is the one place where readers find the view in force. The zero value
// is empty. It is safe for concurrent use and must not be copied.
type Table[E any] struct {
	view atomic.Pointer[View[E]]
}

// Get returns the entry of name in the view in force. Who looks up several
// names that belong together takes them from one [Table.View].
func (t *Table[E]) Get(name string) (*E, bool) { return t.view.Load().Get(name) }

// View returns the view in force, nil (which is empty) before the first Swap.
func (t *Table[E]) View() *View[E] { return t.view.Load() }

// Swap puts v in force and returns what was.
func (t *Table[E]) Swap(v *View[E]) *View[E] { return t.view.Swap(v) }

// View is an immutable map from names to entries. Nil is the empty one. It is
// safe for concurrent use.
//
// Its entries lie in shards by the upper bits of their hash; each shard is an
// open-addressed table of its own. A change copies the list of shards and the
// shards that it touches.
type View[E any] struct {
	seed   uint64
	shift  uint // hash >> shift is the shard
	shards []shard[E]
	length int
}

// shard has a power of two of slots, at least one of them empty; none: it is
// empty.
type shard[E any] []slot[E]

// slot is empty when entry is nil.
type slot[E any] struct {
	hash  uint64
	name  string
	entry *E
}

const (
	// minShards is what a View starts with.
	minShards = 16
	// perShard is how many entries a shard has on average before the shards
	// are doubled. Twice as many make a change copy twice as much; half as
	// many make the list of shards, which every change copies, twice as long.
	perShard = 32
)

// Get returns the entry of name.
func (v *View[E]) Get(name string) (*E, bool) {
	if v == nil {
		return nil, false
	}
	h := hash(v.seed, name)
	s := v.shards[h>>v.shift]
	if len(s) == 0 {
		return nil, false
	}
	mask := uint64(len(s) - 1)
	for i := h; ; i++ {
		at := &s[i&mask]
		if at.entry == nil {
			return nil, false
		}
		if at.hash == h && at.name == name {
			return at.entry, true
		}
	}
}

// Len is the number of entries.
func (v *View[E]) Len() int {
	if v == nil {
		return 0
	}
	return v.length
}

// All yields every name with its entry, in no order.
func (v *View[E]) All() iter.Seq2[string, *E] {
	return func(yield func(string, *E) bool) {
		if v == nil {
			return
		}
		for _, s := range v.shards {
			for i := range s {
				if s[i].entry != nil && !yield(s[i].name, s[i].entry) {
					return
				}
			}
		}
	}
}

// With returns a view in which each name of changes has the entry given there,
// or none where it is nil. The receiver stays as it is; so must the entries.
func (v *View[E]) With(changes map[string]*E) *View[E] {
	if v == nil {
		return spread(rand.Uint64(), minShards, changes)
	}
	next := &View[E]{seed: v.seed, shift: v.shift, length: v.length}
	next.shards = append([]shard[E](nil), v.shards...)
	touched := make(map[uint64][]slot[E], min(len(changes), len(v.shards)))
	for name, entry := range changes {
		h := hash(v.seed, name)
		i := h >> v.shift
		touched[i] = append(touched[i], slot[E]{h, name, entry})
	}
	for i, slots := range touched {
		var delta int
		next.shards[i], delta = v.shards[i].with(slots)
		next.length += delta
	}
	if next.length <= perShard*len(next.shards) {
		return next
	}
	all := make(map[string]*E, next.length)
	for name, entry := range next.All() {
		all[name] = entry
	}
	return spread(v.seed, 2*len(v.shards), all)
}

// spread makes a view of at least so many shards, a power of two.
func spread[E any](seed uint64, shards int, entries map[string]*E) *View[E] {
	for len(entries) > perShard*shards {
		shards *= 2
	}
	v := &View[E]{seed: seed, shift: uint(64 - bits.Len(uint(shards-1))), shards: make([]shard[E], shards)}
	lists := make([][]slot[E], shards)
	for name, entry := range entries {
		h := hash(seed, name)
		lists[h>>v.shift] = append(lists[h>>v.shift], slot[E]{h, name, entry})
	}
	for i, list := range lists {
		var delta int
		v.shards[i], delta = shard[E](nil).with(list)
		v.length += delta
	}
	return v
}

// with returns a shard with the changes, whose names differ, and by how much
// the number of its entries grew.
func (s shard[E]) with(changes []slot[E]) (shard[E], int) {
	changed := func(name string) bool {
		for i := range changes {
			if changes[i].name == name {
				return true
			}
		}
		return false
	}
	before, after := 0, 0
	var kept []slot[E]
	for _, at := range s {
		if at.entry == nil {
			continue
		}
		before++
		if !changed(at.name) {
			kept = append(kept, at)
		}
	}
	for _, c := range changes {
		if c.entry != nil {
			kept = append(kept, c)
		}
	}
	after = len(kept)
	if after == 0 {
		return nil, -before
	}
	// At most half full: about one and a half slots are looked at to find a
	// name (Knuth, The Art of Computer Programming 6.4, linear probing).
	size := 1 << bits.Len(uint(2*after-1))
	next := make(shard[E], size)
	for _, c := range kept {
		i := c.hash
		for next[i&uint64(size-1)].entry != nil {
			i++
		}
		next[i&uint64(size-1)] = c
	}
	return next, after - before
}
