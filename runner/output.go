package runner

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// output stands between the workload and the caller's stdout and stderr when
// the policy bounds them: nothing in the kernel counts the bytes of a pipe,
// and RLIMIT_FSIZE counts files only. Where both are the same file one pipe
// serves both, so that their order stays.
type output struct {
	left   atomic.Int64
	passed atomic.Bool
	// wake becomes readable when the bound is passed.
	wake [2]int
	// drained becomes readable (its other end is closed) when all is handed
	// on.
	drained [2]int
	// ends are the write ends, until the launch has copied them.
	ends []int
	wg   sync.WaitGroup
}

// drainTime is how long a slow reader may keep the end of a run that was
// killed. A run that ended by itself waits for its reader, as `cat` would.
const drainTime = time.Second

// startOutput makes the pipes and begins to copy. The returned descriptors
// become the workload's 1 and 2.
//
// The copies are made from descriptors of their own: a copy whose reader does
// not read may outlive the run, and the caller's numbers then mean other files.
func startOutput(limit uint64, stdout, stderr int) (o *output, fds [2]int, err error) {
	o = &output{}
	o.left.Store(int64(min(limit, 1<<62)))
	if err := unix.Pipe2(o.wake[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fds, errors.New("pipe2: " + err.Error())
	}
	if err := unix.Pipe2(o.drained[:], unix.O_CLOEXEC); err != nil {
		unix.Close(o.wake[0])
		unix.Close(o.wake[1])
		return nil, fds, errors.New("pipe2: " + err.Error())
	}
	// The write ends go with the last copy, also of those that were begun
	// before something failed.
	defer func() {
		go func() { o.wg.Wait(); unix.Close(o.drained[1]); unix.Close(o.wake[1]) }()
		if err != nil {
			o.close()
			o = nil
		}
	}()
	streams := [][]int{{1}, {2}}
	if sameFile(stdout, stderr) {
		streams = [][]int{{1, 2}}
	}
	given := [...]int{1: stdout, 2: stderr}
	for _, s := range streams {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return o, fds, errors.New("pipe2: " + err.Error())
		}
		o.ends = append(o.ends, p[1])
		for _, fd := range s {
			fds[fd-1] = p[1]
		}
		to, err := unix.FcntlInt(uintptr(given[s[0]]), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			unix.Close(p[0])
			return o, fds, errors.New("dup: " + err.Error())
		}
		o.wg.Add(1)
		go o.copy(p[0], to)
	}
	return o, fds, nil
}

// close lets go of the pipes; the last copy that still writes closes its own.
func (o *output) close() {
	o.launched()
	for _, fd := range [...]int{o.wake[0], o.drained[0]} {
		unix.Close(fd)
	}
}

// sameFile tells whether stdout and stderr are one file.
func sameFile(stdout, stderr int) bool {
	var a, b unix.Stat_t
	return unix.Fstat(stdout, &a) == nil && unix.Fstat(stderr, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino && a.Mode&unix.S_IFMT != unix.S_IFCHR ||
		a.Mode&unix.S_IFMT == unix.S_IFCHR && a.Rdev == b.Rdev && b.Mode&unix.S_IFMT == unix.S_IFCHR
}

// launched closes the write ends here, so that the end of the workload is
// the end of the pipes.
func (o *output) launched() {
	for _, fd := range o.ends {
		unix.Close(fd)
	}
	o.ends = nil
}

// copy hands on what comes, and not one byte more than is left.
func (o *output) copy(from, to int) {
	defer o.wg.Done()
	defer unix.Close(from)
	defer unix.Close(to)
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(from, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		allowed := n
		if rest := o.left.Add(int64(-n)); rest < 0 {
			allowed = max(0, n+int(rest))
			if o.passed.CompareAndSwap(false, true) {
				unix.Write(o.wake[1], []byte{1})
			}
		}
		if !writeFull(to, buf[:allowed]) {
			return // the reader has gone: the workload gets SIGPIPE
		}
	}
}

func writeFull(fd int, b []byte) bool {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch err {
		case nil:
			b = b[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		default:
			return false
		}
	}
	return true
}
