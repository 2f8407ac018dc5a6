package chain

import (
	"testing"

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
