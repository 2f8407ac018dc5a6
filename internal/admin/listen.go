package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/safefs"
)

// SocketName is the admin socket of the daemon that serves the registry with
// this key (state.RegistryKey), in the runtime directory.
func SocketName(key string) string { return key + ".admin" }

// Listen makes the socket name in dir, which must be believed (safefs), and
// listens: 0600, and a socket that nobody listens on any more is replaced. A
// daemon that does is an error. The socket is removed when the listener is
// closed.
func Listen(dir, name string) (net.Listener, error) {
	d, err := safefs.OpenTrusted(dir)
	if err != nil {
		return nil, err
	}
	// By way of the descriptor: what was checked is what is used, and the
	// path may be longer than the 108 bytes of a socket's address (unix(7)).
	path := fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name)
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		d.Close()
		return nil, fmt.Errorf("listen on %s/%s: a daemon listens there already", dir, name)
	} else if errors.Is(err, unix.ECONNREFUSED) {
		if err := removeStale(d, name); err != nil {
			d.Close()
			return nil, err
		}
	} else if !errors.Is(err, unix.ENOENT) {
		d.Close()
		return nil, fmt.Errorf("look at %s/%s: %w", dir, name, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("listen on %s/%s: %w", dir, name, err)
	}
	l.SetUnlinkOnClose(false)
	// Who connects before this is asked for his uid like everybody.
	if err := unix.Fchmodat(int(d.Fd()), name, 0o600, 0); err != nil {
		l.Close()
		d.Close()
		return nil, fmt.Errorf("chmod %s/%s: %w", dir, name, err)
	}
	return &socket{UnixListener: l, dir: d, name: name}, nil
}

// removeStale removes a socket that nobody listens on, and no other file:
// connect(2) refuses those in the same way.
func removeStale(dir *os.File, name string) error {
	path := dir.Name() + "/" + name
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return &safefs.KindError{Path: path, Kind: "file that is no socket"}
	}
	if err == nil {
		err = unix.Unlinkat(int(dir.Fd()), name, 0)
	}
	if err != nil {
		return fmt.Errorf("remove stale %s: %w", path, err)
	}
	return nil
}

// socket removes its file when it is closed.
type socket struct {
	*net.UnixListener
	dir  *os.File
	name string
	once sync.Once
}

func (s *socket) Close() error {
	err := s.UnixListener.Close()
	s.once.Do(func() {
		if e := unix.Unlinkat(int(s.dir.Fd()), s.name, 0); e != nil && e != unix.ENOENT {
			err = errors.Join(err, e)
		}
		err = errors.Join(err, s.dir.Close())
	})
	return err
}

// peerKey is where connContext keeps the peer.
type peerKey struct{}

// connContext asks the kernel who is at the other end of a Unix socket.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if l, ok := c.(*limited); ok {
		c = l.Conn
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	peer, err := socketPeer(u)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, peer)
}

// peerOf is who is at the other end; nil: not a Unix socket.
func peerOf(ctx context.Context) *Peer {
	peer, _ := ctx.Value(peerKey{}).(*Peer)
	return peer
}

// socketPeer is SO_PEERCRED (unix(7)): who called connect(2), or, seen from
// the client, who called listen(2).
func socketPeer(c *net.UnixConn) (*Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil, err
	}
	if credErr != nil {
		return nil, credErr
	}
	return &Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}, nil
}

// limit bounds the connections of a listener. Those beyond wait in the
// kernel's queue.
func limit(l net.Listener) net.Listener {
	return &limitListener{Listener: l, room: make(chan struct{}, maxConns), done: make(chan struct{})}
}

type limitListener struct {
	net.Listener
	room chan struct{}
	once sync.Once
	done chan struct{}
}

func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &limited{Conn: c, room: l.room}, nil
}

func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type limited struct {
	net.Conn
	once sync.Once
	room chan struct{}
}

func (c *limited) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.room })
	return err
}

// Loopback tells whether a TCP address can be reached from this host alone.
// A host's name is not: what it means is decided elsewhere.
func Loopback(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}
