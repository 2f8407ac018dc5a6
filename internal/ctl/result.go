package ctl

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/runner"
)

// result is the stream of JSON lines of --result and --status-fd.
type result struct {
	fds []int
	pid bool // init's pid was said
	// file is the descriptor of --result among fds, -1 for none.
	file int
}

func openResult(v *Invocation) (*result, error) {
	out := &result{file: -1}
	if v.StatusFD >= 0 {
		if flags, err := unix.FcntlInt(uintptr(v.StatusFD), unix.F_GETFL, 0); err != nil || flags&unix.O_ACCMODE == unix.O_RDONLY {
			return nil, errors.New("--status-fd " + strconv.Itoa(v.StatusFD) + ": no descriptor open for writing")
		}
		out.fds = append(out.fds, v.StatusFD)
	}
	if v.Result != "" {
		fd, err := openReport(v.Result)
		if err != nil {
			return nil, errors.New("open " + strconv.Quote(v.Result) + ": " + err.Error())
		}
		out.fds, out.file = append(out.fds, fd), fd
	}
	return out, nil
}

// openReport opens the file of --result, empty.
//
// Trust boundary. Who controls the input: the caller names the file; whoever
// may write its directory can have put something else there. What privilege
// is held: the caller's, which may be root's. What has been checked: nothing.
// What fails closed: the last name is no link, is not waited for, and an
// existing file is only emptied when it is a regular one of the caller's own.
func openReport(path string) (int, error) {
	const flags = unix.O_WRONLY | unix.O_CLOEXEC | unix.O_NOCTTY | unix.O_NOFOLLOW | unix.O_NONBLOCK
	fd, err := open(path, flags)
	if err == unix.ENOENT {
		// O_EXCL: what somebody else makes meanwhile is not taken.
		return open(path, flags|unix.O_CREAT|unix.O_EXCL)
	}
	if err == unix.ELOOP {
		return -1, errors.New("it is a symbolic link; name the file itself, or give a descriptor with --status-fd")
	}
	if err == unix.ENXIO || err == unix.EISDIR { // a pipe without a reader, a socket, a directory
		return -1, errNotRegular
	}
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	switch err = unix.Fstat(fd, &st); {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		err = errNotRegular
	case st.Uid != uint32(unix.Geteuid()):
		err = errors.New("it belongs to user " + strconv.FormatUint(uint64(st.Uid), 10) + "; only a file of your own is overwritten")
	default:
		err = unix.Ftruncate(fd, 0)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

var errNotRegular = errors.New("it is no regular file; give a descriptor with --status-fd")

func open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0o600)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func (o *result) wanted() bool { return len(o.fds) > 0 }

func (o *result) write(b []byte) {
	for _, fd := range o.fds {
		// A reader that has gone must not end the run by SIGPIPE, nor hide
		// its status: Go turns it into EPIPE for descriptors above 2.
		writeAll(fd, string(b))
	}
}

// first says init's pid, in one line whatever follows. A launch that came to an
// end before the workload is made again: of the file the line becomes that of
// the run; what was said on a descriptor cannot be taken back.
func (o *result) first(pid int) {
	switch line := runner.ChildLine(pid); {
	case !o.wanted():
	case !o.pid:
		o.pid = true
		o.write(line)
	case o.file >= 0 && unix.Ftruncate(o.file, 0) == nil:
		if _, err := unix.Seek(o.file, 0, unix.SEEK_SET); err == nil {
			writeAll(o.file, string(line))
		}
	}
}

func (o *result) last(r *runner.Report) {
	if o.wanted() {
		o.write(r.JSON())
	}
}

// KeepReport keeps a report that was not ok where `sbx why` of this user finds
// it, whoever carried the run out. Where that is not possible nothing is said:
// the run has ended as it has. A run that is ok costs one comparison.
func KeepReport(r *runner.Report) {
	if r.Outcome != runner.OK {
		_ = state.KeepReport(state.Dir(), r.Run, r.JSON())
	}
}
