package runner

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTakeEnds: who has more to say with every word that is taken does not keep
// the supervisor from looking at anything else, a deadline for one; what he has
// said is taken later.
func TestTakeEnds(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	const many = 10_000
	more, forwarded := 0, 0
	say := func() {
		if more++; more <= many {
			if err := unix.Sendmsg(fds[1], []byte{signalMessage, 0, byte(unix.SIGWINCH)}, nil, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := signals{from: fds[0], remote: true}
	forward := func(syscall.Signal) error { forwarded++; say(); return nil }
	say()
	if s.take(forward); forwarded == 0 || forwarded >= many {
		t.Fatalf("%d signals were taken at once", forwarded)
	}
	for last := -1; forwarded > last; {
		last = forwarded
		s.take(forward)
	}
	if forwarded != many || s.gone || s.end != 0 {
		t.Errorf("%d of %d signals were taken; gone %v, end %v", forwarded, many, s.gone, s.end)
	}
}
