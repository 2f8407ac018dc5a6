package runner

import (
	"errors"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// grace is how long a workload may take to end after sbx was told to end.
// With the end of the namespace it stays under the 4 s of SPEC 2.
const grace = 2 * time.Second

// signals takes what this process is sent, for the supervising loop to
// forward. HUP, INT, QUIT and TERM mean the end of the run: forwarded, and
// after the grace the run is killed.
//
// It is the self-pipe trick with a handler of its own in place of os/signal:
// that starts a thread and hands each signal through three of them, which
// cost a tenth of a whole launch, before and after it. The handler runs on
// Go's alternate signal stack, as the runtime demands of foreign handlers
// (os/signal, "Non-Go programs that call Go code").
type signals struct {
	// from is what is read: a pipe with signal numbers, or the socket of who
	// asked for the run; -1 for none.
	from   int
	remote bool // from is a socket
	gone   bool // its other side has gone
	end    syscall.Signal
	kill   time.Time // when the grace ends
}

// signalSource is the read end, for who takes the signals after somebody has: what
// has come in between is in it. 0: nobody has.
var signalSource int

// signalPipe is the write end for the handler.
//
//lint:ignore U1000 the handler in selfpipe_*.s reads it
var signalPipe int32

func handlerAddresses() (handler, restorer uintptr)

// taken are the signals that are forwarded.
var taken = [...]syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGCONT}

// start takes the signals for the rest of this process's life. A signal that
// the caller has ignored (nohup(1)) stays ignored.
func (s *signals) start() error {
	if signalSource != 0 {
		s.from = signalSource
		return nil
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return errors.New("pipe2: " + err.Error())
	}
	s.from, signalSource = pipe[0], pipe[0]
	signalPipe = int32(pipe[1])
	var act struct{ handler, flags, restorer, mask uintptr }
	const saSiginfo, saOnstack, saRestart, saRestorer = 0x4, 0x08000000, 0x10000000, 0x04000000
	act.handler, act.restorer = handlerAddresses()
	act.flags = saSiginfo | saOnstack | saRestart
	if act.restorer != 0 {
		act.flags |= saRestorer
	}
	act.mask = ^uintptr(0)
	for _, sig := range taken {
		var old struct{ handler, flags, restorer, mask uintptr }
		if sig == unix.SIGHUP || sig == unix.SIGINT {
			unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&old)), 8, 0, 0)
			if old.handler == 1 { // SIG_IGN
				continue
			}
		}
		if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0); e != 0 {
			return errors.New("rt_sigaction: " + e.Error())
		}
	}
	return nil
}

// TakeSignals makes this process forward what Options.Signals forwards, for
// the rest of its life: each signal is one byte, its number, in the pipe whose
// reading end is returned. It is for who has a run carried out by another
// process.
func TakeSignals() (int, error) {
	var s signals
	err := s.start()
	return s.from, err
}

// atOnce is how many messages are taken before something else is looked at: who
// sends faster than they are taken must not outrun the deadline.
const atOnce = 64

// take reads what has come and forwards it. What is left is there at the next
// look.
func (s *signals) take(forward func(syscall.Signal) error) {
	var b [64]byte
	for range atOnce {
		var n int
		var err error
		if s.remote {
			n, _, err = unix.Recvfrom(s.from, b[:], unix.MSG_DONTWAIT)
		} else {
			n, err = unix.Read(s.from, b[:])
		}
		if err == unix.EINTR {
			continue
		}
		if s.remote && (err == nil && n == 0 || err != nil && err != unix.EAGAIN) {
			// Nobody waits for this run any more, so there is no grace.
			s.gone, s.end, s.kill = true, unix.SIGKILL, time.Now()
			return
		}
		if err != nil || n <= 0 {
			return
		}
		told := b[:n]
		if s.remote {
			told = asked(told)
		}
		for _, x := range told {
			sig := syscall.Signal(x)
			switch sig {
			case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM:
				if s.end == 0 {
					s.end, s.kill = sig, time.Now().Add(grace)
				}
			}
			forward(sig)
		}
	}
}

// signalMessage is the type of a message that carries a signal; it is
// wire.TypeSignal, which this package cannot import.
const signalMessage = 8

// asked gives the signal in a message of who asked for the run; what is no
// such message, or another signal than those that are forwarded, is nothing.
//
// Trust boundary. Who controls the input: the client. What privilege is held:
// the supervisor's. What has been checked: who he is, and that the run is his.
// What fails closed: only the signals that init forwards count, so that a
// client can do to his run what he could do to a process of his own, and no
// more.
func asked(message []byte) []byte {
	if len(message) != 3 || message[0] != signalMessage || message[1] != 0 {
		return nil
	}
	for _, s := range taken {
		if s == syscall.Signal(message[2]) {
			return message[2:]
		}
	}
	return nil
}
