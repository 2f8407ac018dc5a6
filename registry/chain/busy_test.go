package chain

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUnlessBusy: a file that a child of this process has open for writing is
// waited for; any other error is not.
func TestUnlessBusy(t *testing.T) {
	for _, tt := range []struct {
		answers []error
		want    error
	}{
		{[]error{nil}, nil},
		{[]error{unix.ETXTBSY, unix.ETXTBSY, unix.ETXTBSY, nil}, nil},
		{[]error{unix.ETXTBSY, unix.ENOTTY}, unix.ENOTTY},
		{[]error{unix.EIO}, unix.EIO},
	} {
		calls := 0
		err := unlessBusy(func() error {
			calls++
			return tt.answers[calls-1]
		})
		if err != tt.want || calls != len(tt.answers) {
			t.Errorf("%v: got %v after %d calls", tt.answers, err, calls)
		}
	}
}

// TestWaitWriters: a program is stored when nobody can write it any more, so
// that it can be executed.
func TestWaitWriters(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/program", nil, 0o755))
	root, err := os.Open(dir)
	must(t, err)
	defer root.Close()
	d := &disk{root: root, path: dir}
	begin := time.Now()
	must(t, d.waitWriters("program"))
	if took := time.Since(begin); took > busyFor/2 {
		t.Errorf("%v for a file that nobody writes", took)
	}
	// As in a child that was made meanwhile.
	w, err := os.OpenFile(dir+"/program", os.O_WRONLY, 0)
	must(t, err)
	const open = 100 * time.Millisecond
	time.AfterFunc(open, func() { w.Close() })
	begin = time.Now()
	must(t, d.waitWriters("program"))
	if took := time.Since(begin); took < open/2 {
		t.Errorf("it waited %v for who had it open for %v", took, open)
	}
}
