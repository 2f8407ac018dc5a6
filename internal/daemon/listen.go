package daemon

import (
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/safefs"
)

// ErrSecond says that another daemon serves this registry.
var ErrSecond = errors.New("another daemon serves this registry")

// socket is the run socket and the lock that makes its owner the only one.
type socket struct {
	fd   int
	lock *os.File
	path string
	// kept: the service manager listens on, so the file stays.
	kept bool
}

// lockWait is how long a daemon waits for one that was killed: a child of it
// that has not begun to die holds a copy of the lock.
const lockWait = 2 * time.Second

// listen makes the runtime directory and the socket. The lock is held as long
// as the process lives, so a socket that is there without it is stale: its
// owner died.
//
// Trust boundary. Who controls the input: whoever can write above the runtime
// directory. What privilege is held: the daemon's. What has been checked:
// nothing. What fails closed: every component belongs to root or the daemon
// and nobody else can write it (safefs), or there is no socket.
func listen(dir, key string, given *os.File) (*socket, error) {
	path := dir + "/" + ctl.SocketName(key)
	const longest = 107 // sun_path of unix(7), without its NUL
	if len(path) > longest {
		return nil, errors.New("socket " + strconv.Quote(path) + ": the path is longer than " + strconv.Itoa(longest) + " bytes; SBX_RUNTIME can name a shorter one")
	}
	if err := unix.Mkdir(dir, 0o755); err != nil && err != unix.EEXIST {
		return nil, &os.PathError{Op: "make directory", Path: dir, Err: err}
	}
	d, err := safefs.OpenTrusted(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	at := int(d.Fd())
	fd, err := unix.Openat(at, key+".lock", unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir + "/" + key + ".lock", Err: err}
	}
	s := &socket{fd: -1, lock: os.NewFile(uintptr(fd), key+".lock"), path: path}
	if err := safefs.Lock(fd, lockWait); err != nil {
		s.lock.Close()
		if err == unix.EWOULDBLOCK {
			return nil, ErrSecond
		}
		return nil, &os.PathError{Op: "lock", Path: dir + "/" + key + ".lock", Err: err}
	}
	if err := unix.Unlinkat(at, ctl.SocketName(key), 0); err != nil && err != unix.ENOENT {
		s.lock.Close()
		return nil, &os.PathError{Op: "remove", Path: path, Err: err}
	}
	if given != nil {
		if err := s.take(d, key, given); err != nil {
			s.close()
			return nil, err
		}
		return s, nil
	}
	if s.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err == nil {
		if err = unix.Bind(s.fd, &unix.SockaddrUnix{Name: path}); err == nil {
			// Who may connect: root's daemon asks everybody in, and looks at
			// who it is; another user's serves him alone.
			mode := uint32(0o600)
			if os.Geteuid() == 0 {
				mode = 0o666
			}
			if err = unix.Chmod(path, mode); err == nil {
				err = unix.Listen(s.fd, unix.SOMAXCONN)
			}
		}
	}
	if err != nil {
		s.close()
		return nil, &os.PathError{Op: "listen on", Path: path, Err: err}
	}
	return s, nil
}

// refuse lets nobody call any more; who has called is still to be accepted. false:
// the socket is the service manager's, and who calls is the next daemon's.
func (s *socket) refuse() bool {
	if s.kept {
		return false
	}
	unix.Unlink(s.path)
	return unix.Shutdown(s.fd, unix.SHUT_RD) == nil
}

// close takes the socket away and gives up the lock.
func (s *socket) close() {
	if s.fd >= 0 {
		if !s.kept {
			unix.Unlink(s.path)
		}
		unix.Close(s.fd)
	}
	s.lock.Close()
}

// peer is who is at the other end of a connection.
func peer(fd int) (Caller, error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Caller{}, err
	}
	return Caller{UID: c.Uid, GID: c.Gid, PID: c.Pid, Groups: peerGroups(fd)}, nil
}
