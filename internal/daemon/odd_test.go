package daemon

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/internal/wire"
	"github.com/sbx-project/sbx/runner"
)

// made fails the test unless a descriptor could be made, which it owns.
func made(t *testing.T) func(fd int, err error) int {
	return func(fd int, err error) int {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
}

// pair makes two connected sockets.
func pair(t *testing.T, kind int) int {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	made(t)(fds[1], err)
	return made(t)(fds[0], err)
}

// tty is the program's end of a terminal.
func tty(t *testing.T) int {
	t.Helper()
	master := open(t, "/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY)
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return open(t, "/dev/pts/"+strconv.Itoa(n), unix.O_RDWR|unix.O_NOCTTY)
}

// TestOddDescriptors: whatever a client sends in the place of 0, 1, 2 or of his
// working directory, the run has it or is refused, and the daemon keeps nothing
// of it.
func TestOddDescriptors(t *testing.T) {
	testenv.NoLeaks(t)
	s := serve(t, Config{Commands: launched(t)})
	fd := made(t)
	pipe := make([]int, 2)
	err := unix.Pipe2(pipe, unix.O_CLOEXEC)
	fd(pipe[0], err)
	fd(pipe[1], err)
	listening := fd(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	err = unix.Bind(listening, &unix.SockaddrUnix{}) // a name of its own
	if err == nil {
		err = unix.Listen(listening, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	odd := []struct {
		name string
		fd   int
		// streams: a run may have it as 0, 1 and 2.
		streams bool
	}{
		{"a file", open(t, "/etc/passwd", unix.O_RDONLY), true},
		{"a pipe", pipe[1], true},
		{"a terminal", tty(t), true},
		{"a memfd", fd(unix.MemfdCreate("odd", unix.MFD_CLOEXEC)), true},
		{"a local stream", pair(t, unix.SOCK_STREAM), true},
		{"local datagrams", pair(t, unix.SOCK_DGRAM), false},
		{"a listening socket", listening, false},
		{"a socket of the network", fd(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)), false},
		{"a socket of netlink", fd(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)), false},
		{"a directory", open(t, "/tmp", unix.O_RDONLY|unix.O_DIRECTORY), false},
		{"a path", open(t, "/etc/passwd", unix.O_PATH), false},
		{"a link as a path", open(t, "/proc/self/exe", unix.O_PATH|unix.O_NOFOLLOW), false},
		{"an eventfd", fd(unix.Eventfd(0, unix.EFD_CLOEXEC)), false},
		{"an epoll", fd(unix.EpollCreate1(unix.EPOLL_CLOEXEC)), false},
		{"an inotify", fd(unix.InotifyInit1(unix.IN_CLOEXEC)), false},
		{"a process", fd(unix.PidfdOpen(os.Getpid(), 0)), false},
		{"a namespace", open(t, "/proc/self/ns/mnt", unix.O_RDONLY), false},
	}
	t.Run("what is made once", func(t *testing.T) {
		c := request(t, s, "sh", "exit 0")
		receive(t, c, wire.TypeBegun)
		receive(t, c, wire.TypeDone)
	})
	unused(t, s, 1<<20)
	before := openFiles(t)
	for _, tt := range odd {
		for place, name := range [wire.Descriptors]string{"0", "1", "2", "the working directory"} {
			t.Run(tt.name+" as "+name, func(t *testing.T) {
				words := []string{"sh", "exit 3"}
				if place == wire.Descriptors-1 {
					words = []string{"here"}
				}
				r := wire.Request{Version: wire.Version, Build: "dev", Words: words, Builtin: true, Cwd: "/"}
				fds := four(t)
				fds[place] = tt.fd
				c := connect(t, s.Path())
				if err := c.Send(wire.TypeRequest, r.Encode(), fds...); err != nil {
					t.Fatal(err)
				}
				typ, body, _, err := c.Receive(0)
				if typ == wire.TypeNeed { // the client finds nothing wrong with it
					if err := c.Send(wire.TypeGiven, nil); err != nil {
						t.Fatal(err)
					}
					typ, body, _, err = c.Receive(0)
				}
				if typ == wire.TypeBegun {
					typ, body, _, err = c.Receive(0)
				}
				if err != nil || typ != wire.TypeDone {
					t.Fatalf("type %d, %v", typ, err)
				}
				report, err := wire.DecodeReport(body)
				switch {
				case err != nil:
					t.Error(err)
				case tt.streams && place < 3:
					if report.ExitCode != 3 || report.Outcome != runner.Exit {
						t.Errorf("%+v", report)
					}
				case report.ExitCode != 126 || report.Outcome != runner.Refused || report.Err == nil:
					t.Errorf("not refused: %+v", report)
				}
			})
		}
	}
	unused(t, s, before)
	alive(t, s)
}
