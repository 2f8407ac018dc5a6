package audit

import (
	"errors"
	"fmt"
	"testing"
)

// TestTogether: records that are appended together are lines like all others,
// in their order, and one that must be on the disk takes the others with it.
func TestTogether(t *testing.T) {
	dir := t.TempDir() + "/audit"
	l := open(t, dir, Options{MaxSize: 8 << 10}) // full in the middle of them
	var records []Record
	for i := range 100 {
		records = append(records, Record{Event: Change, Command: fmt.Sprint("c", i)})
	}
	records = append(records, Record{Event: Run, Run: "last"})
	last, err := l.Append(records...)
	if err != nil {
		t.Fatal(err)
	}
	if head, _ := l.Head(); last != head {
		t.Errorf("the last is %d, the head %d", last, head)
	}
	l.syncMu.Lock()
	synced := l.synced
	l.syncMu.Unlock()
	if synced != last {
		t.Errorf("%d of %d lines are on the disk", synced, last)
	}
	if none, err := l.Append(); none != 0 || err != nil {
		t.Errorf("nothing appended is %d, %v", none, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if res := verified(t, dir); res.Last != last+1 || !res.Complete {
		t.Errorf("%+v, the last was %d", res, last)
	}
	if _, err := l.Append(records...); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
}
