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
	pipe [2]int // 0: not in place
	end  syscall.Signal
	kill time.Time // when the grace ends
}

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
	if err := unix.Pipe2(s.pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return errors.New("pipe2: " + err.Error())
	}
	signalPipe = int32(s.pipe[1])
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

// take reads what has come and forwards it.
func (s *signals) take(forward func(syscall.Signal) error) {
	var b [64]byte
	for {
		n, err := unix.Read(s.pipe[0], b[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		for _, x := range b[:n] {
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
