package loader

import "sync"

// Uses counts who uses which revision, for Options.InFlight. The zero value
// has none. Safe for concurrent use.
type Uses struct {
	mu sync.Mutex
	of map[string]int // by digest, never 0
}

// Begin counts one more user of a revision; each is followed by one End.
func (u *Uses) Begin(digest string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.of == nil {
		u.of = map[string]int{}
	}
	u.of[digest]++
}

// End takes back one Begin.
func (u *Uses) End(digest string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.of[digest]--; u.of[digest] <= 0 {
		delete(u.of, digest)
	}
}

// Any tells whether somebody uses a revision.
func (u *Uses) Any(digest string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.of[digest] > 0
}
