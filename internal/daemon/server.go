package daemon

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/cgroup"
	"github.com/sbx-project/sbx/internal/wire"
)

// Server answers on one run socket. Make one with Listen.
type Server struct {
	cfg    Config
	socket *socket
	quota  quota
	leaves *cgroup.Parent // nil where there is no place for leaves
	// direct: root's own runs cannot be told apart by their ids here.
	direct bool

	serial   atomic.Uint64
	draining atomic.Bool
	pool     *pool
	wake     int           // eventfd that ends the wait for connections
	ending   chan struct{} // closed when nobody is heard any more
	busy     sync.WaitGroup

	mu   sync.Mutex
	runs map[string]*live
}

// live is a run that is going on.
type live struct {
	info RunInfo
	fd   int // the caller's connection; -1 when the run has ended
	pid  atomic.Int64
}

// Listen makes the socket and sweeps what an earlier daemon left. ErrSecond:
// another daemon serves this registry. The caller must call Serve, once.
func Listen(cfg Config) (*Server, error) {
	cfg.Bounds = cfg.Bounds.withDefaults()
	if cfg.Observer == nil {
		cfg.Observer = Observers{}
	}
	raiseFiles()
	s := &Server{cfg: cfg, quota: quota{bounds: cfg.Bounds}, ending: make(chan struct{}), runs: map[string]*live{}}
	var err error
	if s.socket, err = listen(cfg.Dir, cfg.Key, cfg.Socket); err != nil {
		return nil, err
	}
	if s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		s.socket.close()
		return nil, os.NewSyscallError("eventfd", err)
	}
	if s.leaves, err = cgroup.Open(""); err == nil {
		s.leaves.Sweep()
	}
	if b, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err == nil && string(b) == "0\n" {
		s.direct = true
	}
	s.pool = newPool(cfg.Bounds, s.leaves, cfg.Audited, func() string { return s.nextID(time.Now()) })
	return s, nil
}

// Warm is how many sandboxes are ready for a call.
func (s *Server) Warm() int { return s.pool.size() }

// Pool says how the warm pool does.
func (s *Server) Pool() PoolStats { return s.pool.stats() }

// Path is the socket's.
func (s *Server) Path() string { return s.socket.path }

// Serve answers until ctx ends, then drains: it takes no more calls, lets runs
// end for as long as Bounds.Drain says, kills those that are left, and closes
// everything. It returns nil then.
func (s *Server) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		s.draining.Store(true)
		unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer stop()
	err := s.accept()
	s.draining.Store(true)
	close(s.ending)
	// A client that connects from now on finds no socket and runs by itself.
	s.socket.close()
	s.pool.close()
	drained := make(chan struct{})
	go func() { s.busy.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(s.cfg.Bounds.Drain):
		for _, r := range s.Runs() {
			s.Kill(r.Run)
		}
		<-drained
	}
	if s.leaves != nil {
		s.leaves.Sweep()
		s.leaves.Close()
	}
	unix.Close(s.wake)
	return err
}

// Draining tells whether the daemon takes no more calls.
func (s *Server) Draining() bool { return s.draining.Load() }

// Reload looks at the registry again and tells the observer.
func (s *Server) Reload() Reload {
	r := s.cfg.Commands.Reload()
	s.pool.retire()
	s.cfg.Observer.Reloaded(r)
	return r
}

// Runs lists the runs that are going on, in no order.
func (s *Server) Runs() []RunInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]RunInfo, 0, len(s.runs))
	for _, l := range s.runs {
		out = append(out, l.info)
	}
	return out
}

// PID is the pid of a run's init; 0: it has none yet, or there is no such run.
func (s *Server) PID(run string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.runs[run]; l != nil {
		return int(l.pid.Load())
	}
	return 0
}

// Kill ends a run at once; its caller is told that it was canceled. It reports
// whether there is such a run.
func (s *Server) Kill(run string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.runs[run]
	if l == nil || l.fd < 0 {
		return false
	}
	// What the supervisor reads from the caller ends, which means the same as
	// the caller's death; the way back to him stays open.
	return unix.Shutdown(l.fd, unix.SHUT_RD) == nil
}

// waiting is a connection on which nothing was said yet.
type waiting struct {
	caller Caller
	until  time.Time
}

// accept waits for connections and for the first word on each of them. One
// that waits costs a descriptor and a map entry, no thread and no buffer.
func (s *Server) accept() error {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	defer unix.Close(ep)
	for _, fd := range [...]int{s.socket.fd, s.wake} {
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
	}
	idle := map[int]waiting{}
	drop := func(fd int) {
		s.quota.drop(idle[fd].caller.UID)
		delete(idle, fd)
		unix.Close(fd)
	}
	// Those who were not heard when the daemon ends run by themselves.
	defer func() {
		for n := -1; s.socket.refuse() && n < len(idle); {
			n = len(idle)
			s.take(ep, idle, time.Now())
		}
		for fd := range idle {
			c := wire.Conn{FD: fd}
			c.Send(wire.TypeElsewhere, nil)
			drop(fd)
		}
	}()
	events := make([]unix.EpollEvent, 64)
	look := time.Now()
	for {
		ms := -1
		if len(idle) > 0 {
			ms = int(s.cfg.Bounds.Patience/time.Millisecond)/4 + 1
		}
		n, err := unix.EpollWait(ep, events, ms)
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("epoll_wait", err)
		}
		now := time.Now()
		for _, e := range events[:max(n, 0)] {
			switch fd := int(e.Fd); fd {
			case s.wake:
				return nil
			case s.socket.fd:
				s.take(ep, idle, now)
			default:
				w, ok := idle[fd]
				if !ok {
					continue
				}
				unix.EpollCtl(ep, unix.EPOLL_CTL_DEL, fd, nil)
				delete(idle, fd)
				s.busy.Add(1)
				go s.answer(fd, w.caller)
			}
		}
		if now.Sub(look) > s.cfg.Bounds.Patience/4 {
			look = now
			for fd, w := range idle {
				if now.After(w.until) {
					drop(fd)
				}
			}
		}
	}
}

// take accepts what has come. A caller who is not served is closed without a
// word: nothing that he sends is read.
func (s *Server) take(ep int, idle map[int]waiting, now time.Time) {
	for range 64 {
		fd, _, err := unix.Accept4(s.socket.fd, unix.SOCK_CLOEXEC)
		if err == unix.EMFILE || err == unix.ENFILE || err == unix.ENOMEM || err == unix.ENOBUFS {
			// Room comes back with the next end of a run or of somebody's
			// patience; until then the kernel keeps them in its queue.
			unix.Poll(nil, 5)
			return
		}
		if err != nil {
			return
		}
		c, err := peer(fd)
		if err != nil || !s.serves(c.UID) || !s.quota.connect(c.UID, now) {
			unix.Close(fd)
			continue
		}
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(fd)}); err != nil {
			s.quota.drop(c.UID)
			unix.Close(fd)
			continue
		}
		idle[fd] = waiting{c, now.Add(s.cfg.Bounds.Patience)}
	}
}

// serves tells whether this daemon can give a caller's runs his own ids: root
// can give any, another user only his own.
func (s *Server) serves(uid uint32) bool {
	own := uint32(os.Geteuid())
	return own == 0 || uid == own
}

// nextID makes a run's id: unique on the host, as the leaf's name.
func (s *Server) nextID(now time.Time) string {
	return strconv.FormatInt(now.UnixNano(), 36) + "-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatUint(s.serial.Add(1), 36)
}

// raiseFiles takes all descriptors that the daemon may have: each run holds
// about ten. Where that is not possible, accept waits.
func raiseFiles() {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) == nil {
		r.Cur = r.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r)
	}
}

var errBusy = errors.New("too many runs are going on")
