package daemon

import (
	"testing"
	"time"
)

func TestQuota(t *testing.T) {
	now := time.Unix(1000, 0)
	q := quota{bounds: Bounds{Connections: 3, UserConnections: 2, Runs: 3, UserRuns: 1, UserRate: 2}}
	for i, want := range []bool{true, true, false} {
		if q.connect(7, now) != want {
			t.Errorf("connection %d of one user: %v", i+1, !want)
		}
	}
	if !q.connect(0, now) || q.connect(0, now) {
		t.Error("root has what is left, and no more")
	}
	for range 2 {
		if !q.ask(7, now) {
			t.Error("two requests at once are within the rate")
		}
	}
	if !q.connect(7, now) || q.ask(7, now) {
		t.Error("a third request at once is not")
	}
	if !q.connect(7, now) || !q.ask(7, now.Add(600*time.Millisecond)) {
		t.Error("half a second later one is")
	}
	if !q.begin(7, now) || q.begin(7, now) || !q.begin(8, now) || !q.begin(0, now) || q.begin(0, now) {
		t.Error("runs: one of each user, three in all")
	}
	q.end(7)
	if !q.begin(7, now) {
		t.Error("what has ended counts no more")
	}
	q.drop(0)
	if q.conns != 0 || q.runs != 3 {
		t.Errorf("%d connections, %d runs are counted; want 0, 3", q.conns, q.runs)
	}
}

// TestHear: a user's requests beyond his bound wait for those before them and
// for nobody else's, all together are bounded, and the end of waiting ends it.
func TestHear(t *testing.T) {
	q := quota{bounds: Bounds{UserAsking: 1, Asking: 2}}
	over := make(chan struct{})
	close(over)
	first := q.hear(7, nil)
	if q.hear(7, over) != nil {
		t.Error("a second request of one user was heard")
	}
	second := q.hear(8, nil)
	if q.hear(9, over) != nil || q.heard(9) != 0 {
		t.Errorf("a third request in all was heard: %d", q.heard(9))
	}
	next := make(chan func())
	go func() { next <- q.hear(7, nil) }()
	first()
	last := <-next
	if q.heard(7) != 1 || q.heard(8) != 1 {
		t.Errorf("%d and %d are heard, want one each", q.heard(7), q.heard(8))
	}
	q.forgetLocked()
	if q.heard(7) != 1 {
		t.Error("a user who is heard was forgotten")
	}
	last()
	second()
	if q.heard(7)+q.heard(8) != 0 || len(q.asking) != 0 {
		t.Errorf("%d, %d and %d are heard afterwards", q.heard(7), q.heard(8), len(q.asking))
	}
}

// TestQuotaForgets: users who hold nothing do not fill the memory.
func TestQuotaForgets(t *testing.T) {
	q := quota{bounds: Bounds{Connections: 10, UserConnections: 1, UserRate: 1}}
	now := time.Unix(1000, 0)
	if !q.connect(1, now) {
		t.Fatal("no connection")
	}
	for uid := uint32(2); uid < 3*maxUsers; uid++ {
		q.connect(uid, now)
		q.drop(uid)
	}
	if len(q.users) > maxUsers {
		t.Errorf("%d users are remembered, more than %d", len(q.users), maxUsers)
	}
	if q.connect(1, now) {
		t.Error("a user who holds a connection was forgotten")
	}
}
