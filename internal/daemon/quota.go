package daemon

import (
	"sync"
	"time"
)

// quota counts what users hold and how often they ask. Root is counted among
// all and has no bound of its own.
type quota struct {
	bounds Bounds
	mu     sync.Mutex
	conns  int
	runs   int
	asking chan struct{} // a token for each request that is heard
	users  map[uint32]*holder
}

// holder is what one user holds. It is forgotten when he holds nothing and his
// bucket is full again.
type holder struct {
	conns, runs int
	// asking has a token for each request of his that is heard.
	asking chan struct{}
	// tokens are the requests that he may make now; as of last.
	tokens float64
	last   time.Time
}

// maxUsers bounds how many users are remembered: a host with more than that
// many at a time forgets the idle ones, who then may ask a little sooner.
const maxUsers = 4096

func (q *quota) of(uid uint32, now time.Time) *holder {
	u := q.users[uid]
	if u == nil {
		if q.users == nil || len(q.users) >= maxUsers {
			q.forgetLocked()
		}
		u = &holder{tokens: float64(q.bounds.UserRate), last: now, asking: make(chan struct{}, q.bounds.UserAsking)}
		q.users[uid] = u
	}
	return u
}

func (q *quota) forgetLocked() {
	kept := map[uint32]*holder{}
	for uid, u := range q.users {
		if u.conns > 0 || u.runs > 0 || len(u.asking) > 0 {
			kept[uid] = u
		}
	}
	q.users = kept
}

// connect takes the room of a waiting connection; false: there is none.
func (q *quota) connect(uid uint32, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of(uid, now)
	if q.conns >= q.bounds.Connections || uid != 0 && u.conns >= q.bounds.UserConnections {
		return false
	}
	q.conns++
	u.conns++
	return true
}

// hear waits for a user's turn to be heard, with the room of a waiting
// connection, and gives what ends it; nil: stop came first.
func (q *quota) hear(uid uint32, stop <-chan struct{}) (leave func()) {
	q.mu.Lock()
	if q.asking == nil {
		q.asking = make(chan struct{}, q.bounds.Asking)
	}
	own, all := q.of(uid, time.Time{}).asking, q.asking
	q.mu.Unlock()
	select {
	case own <- struct{}{}:
	case <-stop:
		return nil
	}
	select {
	case all <- struct{}{}:
	case <-stop:
		<-own
		return nil
	}
	return func() { <-all; <-own }
}

// heard is how many requests of a user are.
func (q *quota) heard(uid uint32) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.of(uid, time.Time{}).asking)
}

// ask gives the room of a waiting connection back and takes one request from
// the user's rate; false: he asks too often.
func (q *quota) ask(uid uint32, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of(uid, now)
	q.conns--
	u.conns--
	u.tokens = min(float64(q.bounds.UserRate), u.tokens+now.Sub(u.last).Seconds()*float64(q.bounds.UserRate))
	u.last = now
	if uid != 0 && u.tokens < 1 {
		return false
	}
	u.tokens--
	return true
}

// drop gives the room of a waiting connection back.
func (q *quota) drop(uid uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.conns--
	q.of(uid, time.Time{}).conns--
}

// begin takes the room of a run; false: there is none.
func (q *quota) begin(uid uint32, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of(uid, now)
	if q.runs >= q.bounds.Runs || uid != 0 && u.runs >= q.bounds.UserRuns {
		return false
	}
	q.runs++
	u.runs++
	return true
}

// end gives the room of a run back.
func (q *quota) end(uid uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.runs--
	q.of(uid, time.Time{}).runs--
}
