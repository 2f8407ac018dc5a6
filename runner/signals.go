package runner

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long a workload may take to end after sbx was told to end.
// With the end of the namespace it stays under the 4 s of SPEC 2.
const grace = 2 * time.Second

// signals forwards what this process is sent. HUP, INT, QUIT and TERM mean
// the end of the run: forwarded, and after the grace the run is killed.
type signals struct {
	mu    sync.Mutex
	ch    chan os.Signal
	run   *run // nil: not forwarding
	end   syscall.Signal
	timer *time.Timer
}

func (s *signals) start(r *run) {
	s.run = r
	s.ch = make(chan os.Signal, 16)
	signal.Notify(s.ch, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGCONT)
	go func() {
		for sig := range s.ch {
			s.take(sig.(syscall.Signal))
		}
	}()
}

func (s *signals) take(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return
	}
	switch sig {
	case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM:
		if s.end == 0 {
			s.end = sig
			s.timer = time.AfterFunc(grace, s.kill)
		}
	}
	s.run.child.Signal(sig)
}

func (s *signals) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		s.run.kill()
	}
}

// stop ends the forwarding; after it no signal is sent to a pid that may
// have been reaped.
func (s *signals) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return
	}
	s.run = nil
	signal.Stop(s.ch)
	close(s.ch)
	if s.timer != nil {
		s.timer.Stop()
	}
}

// ended is the signal that told this process to end, or 0.
func (s *signals) ended() syscall.Signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}
