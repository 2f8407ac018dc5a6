package ctl

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/runner"
)

// result is the stream of JSON lines of --result and --status-fd.
type result struct{ fds []int }

func openResult(v *Invocation) (*result, error) {
	out := &result{}
	if v.Result != "" {
		fd, err := unix.Open(v.Result, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC|unix.O_NOCTTY, 0o600)
		if err != nil {
			return nil, errors.New("open " + strconv.Quote(v.Result) + ": " + err.Error())
		}
		out.fds = append(out.fds, fd)
	}
	if v.StatusFD >= 0 {
		if flags, err := unix.FcntlInt(uintptr(v.StatusFD), unix.F_GETFL, 0); err != nil || flags&unix.O_ACCMODE == unix.O_RDONLY {
			return nil, errors.New("--status-fd " + strconv.Itoa(v.StatusFD) + ": no descriptor open for writing")
		}
		out.fds = append(out.fds, v.StatusFD)
	}
	return out, nil
}

func (o *result) wanted() bool { return len(o.fds) > 0 }

func (o *result) write(b []byte) {
	for _, fd := range o.fds {
		// A reader that has gone must not end the run by SIGPIPE, nor hide
		// its status: Go turns it into EPIPE for descriptors above 2.
		writeAll(fd, string(b))
	}
}

func (o *result) first(pid int) {
	if o.wanted() {
		o.write(runner.ChildLine(pid))
	}
}

func (o *result) last(r *runner.Report) {
	if o.wanted() {
		o.write(r.JSON())
	}
}
