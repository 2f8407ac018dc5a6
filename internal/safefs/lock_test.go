package safefs

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLock: a lock that is given back meanwhile is taken, and one that is not
// is reported after the patience, not before.
func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	first, second := open(), open()
	if err := Lock(int(first.Fd()), 0); err != nil {
		t.Fatal(err)
	}
	const patience = 60 * time.Millisecond
	begin := time.Now()
	if err := Lock(int(second.Fd()), patience); err != unix.EWOULDBLOCK || time.Since(begin) < patience {
		t.Errorf("a lock that is held: %v after %v", err, time.Since(begin))
	}
	time.AfterFunc(20*time.Millisecond, func() { first.Close() })
	if err := Lock(int(second.Fd()), time.Minute); err != nil {
		t.Errorf("a lock that was given back: %v", err)
	}
}
