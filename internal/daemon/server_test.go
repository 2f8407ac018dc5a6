package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/internal/wire"
	"github.com/sbx-project/sbx/runner"
)

func TestMain(m *testing.M) {
	// This binary is also a client with other ids: see TestOtherUser.
	if path := os.Getenv("SBX_TEST_CONNECT"); path != "" {
		os.Exit(connectOnce(path))
	}
	os.Exit(testenv.Main(m))
}

// table are commands that are never launched: each is refused before.
type table map[string]Command

func (c table) Lookup(words []string) (Command, error) {
	cmd, ok := c[words[0]]
	if !ok {
		return cmd, ErrElsewhere
	}
	cmd.Used = 1
	return cmd, nil
}
func (table) Ended(Command, *runner.Report) {}
func (table) Reload() Reload                { return Reload{Generation: 2} }

// notes is an Observer that counts and can refuse.
type notes struct {
	mu      sync.Mutex
	refusal []Refusal
	full    error
}

func (n *notes) RunStarted(RunInfo) error         { return n.full }
func (n *notes) RunEnded(RunInfo, *runner.Report) {}
func (n *notes) Reloaded(Reload)                  {}
func (n *notes) Refused(r Refusal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refusal = append(n.refusal, r)
}

// patience is how long a test waits for what has to come and is promised for no
// moment.
const patience = time.Minute

// impatient is a daemon that soon has enough of who says nothing. It is long
// enough for a test that means to say something, on a busy machine too.
const impatient = 2 * time.Second

// refusals are those so far; it waits for one at least.
func (n *notes) refusals(t *testing.T) []Refusal {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		n.mu.Lock()
		got := n.refusal
		n.mu.Unlock()
		if len(got) > 0 {
			return got
		}
	}
	t.Fatal("the observer was told of no refusal")
	return nil
}

// serve runs a Server for the test.
func serve(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, _ := drainable(t, cfg)
	return s
}

// drainable is a Server that is told to end by stop, or at the end of the test,
// which waits for it.
func drainable(t *testing.T, cfg Config) (s *Server, stop func()) {
	t.Helper()
	if cfg.Dir == "" {
		// Short, as socket paths must be, and with no component that others
		// may write but /tmp.
		dir, err := os.MkdirTemp("", "d")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		os.Chmod(dir, 0o755)
		cfg.Dir = dir + "/run"
	}
	if cfg.Key == "" {
		cfg.Key = "registry-1-2"
	}
	cfg.Build = "dev"
	if cfg.Commands == nil {
		cfg.Commands = table{}
	}
	s, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(2 * patience): // Bounds.Drain, and some
			t.Error("the daemon does not drain")
		}
	})
	return s, stop
}

// connect makes a connection that waits for everything, but not for ever.
func connect(t testing.TB, path string) *wire.Conn {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &wire.Conn{FD: fd}
	t.Cleanup(func() { leave(c) })
	limit := unix.NsecToTimeval(int64(patience))
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	return c
}

func ask(words ...string) []byte {
	r := wire.Request{Version: wire.Version, Build: "dev", Words: words, Builtin: true}
	return r.Encode()
}

// four are descriptors for a request.
func four(t testing.TB) []int {
	t.Helper()
	fds := make([]int, 0, 4)
	for _, path := range []string{os.DevNull, os.DevNull, os.DevNull, "/"} {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		fds = append(fds, fd)
	}
	return fds
}

// alive fails unless the daemon answers a good request.
func alive(t *testing.T, s *Server) {
	t.Helper()
	c := connect(t, s.Path())
	if err := c.Send(wire.TypeRequest, ask("nonesuch"), four(t)...); err != nil {
		t.Fatal(err)
	}
	if typ, _, _, err := c.Receive(0); err != nil || typ != wire.TypeElsewhere {
		t.Fatalf("a good request is answered with %d, %v", typ, err)
	}
}

// TestBadRequests: each is refused or dropped, observed, and harms nobody.
func TestBadRequests(t *testing.T) {
	n := &notes{}
	patient := serve(t, Config{Observer: n})
	hasty := serve(t, Config{Observer: n, Bounds: Bounds{Patience: impatient}})
	fds := four(t)
	many := make([]int, 200)
	for i := range many {
		many[i] = fds[0]
	}
	raw := func(b []byte, fds []int) func(*wire.Conn) error {
		return func(c *wire.Conn) error {
			var rights []byte
			if fds != nil {
				rights = unix.UnixRights(fds...)
			}
			return unix.Sendmsg(c.FD, b, rights, nil, 0)
		}
	}
	send := func(typ wire.Type, body []byte, fds ...int) func(*wire.Conn) error {
		return func(c *wire.Conn) error { return c.Send(typ, body, fds...) }
	}
	good := ask("nonesuch")
	for _, tt := range []struct {
		name string
		send func(*wire.Conn) error
		// answer: 125 is a report with that status, 0 the end without a word.
		answer int
	}{
		{"one byte", raw([]byte{1}, nil), 125},
		{"an empty message", raw(nil, nil), 0},
		{"another type", send(wire.TypeSignal, []byte{9}, fds...), 125},
		{"no descriptors", send(wire.TypeRequest, good), 125},
		{"three descriptors", send(wire.TypeRequest, good, fds[:3]...), 125},
		{"five descriptors", send(wire.TypeRequest, good, append(fds[:4:4], fds[0])...), 125},
		{"200 descriptors", send(wire.TypeRequest, good, many...), 125},
		{"truncated", send(wire.TypeRequest, good[:len(good)-1], fds...), 125},
		{"garbage", send(wire.TypeRequest, append(good[:8:8], strings.Repeat("\xff", 5000)...), fds...), 125},
		{"no body", send(wire.TypeRequest, nil, fds...), 125},
		{"too large", func(c *wire.Conn) error {
			// In packets that say that more will come, for ever.
			packet := append([]byte{byte(wire.TypeRequest), 1}, make([]byte, 64<<10)...)
			for range 100 {
				if err := unix.Sendmsg(c.FD, packet, nil, nil, unix.MSG_NOSIGNAL); err != nil {
					return nil // the daemon has had enough
				}
			}
			return errors.New("the daemon takes everything")
		}, -1},
		{"half of it, then silence", raw(append([]byte{byte(wire.TypeRequest), 1}, good...), fds), 125},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.mu.Lock()
			n.refusal = nil
			n.mu.Unlock()
			s := patient
			if strings.HasSuffix(tt.name, "silence") {
				s = hasty
			}
			c := connect(t, s.Path())
			if err := tt.send(c); err != nil {
				t.Fatal(err)
			}
			typ, body, _, err := c.Receive(0)
			switch {
			case tt.answer == 0:
				if err != wire.ErrEnd {
					t.Errorf("type %d, %v; want the end", typ, err)
				}
			case tt.answer > 0:
				if err != nil || typ != wire.TypeDone {
					t.Fatalf("type %d, %v; want a report", typ, err)
				}
				r, err := wire.DecodeReport(body)
				if err != nil || r.ExitCode != tt.answer || r.Via != "daemon" || r.Err == nil {
					t.Errorf("report %+v, %v", r, err)
				}
				fallthrough
			default:
				if r := n.refusals(t)[0]; r.Status != 125 || r.Caller.UID != uint32(os.Geteuid()) || r.Caller.PID != int32(os.Getpid()) {
					t.Errorf("observed %+v", r)
				}
			}
			alive(t, s)
		})
	}
}

// TestElsewhere: what is not this daemon's business is said so, with its build.
func TestElsewhere(t *testing.T) {
	s := serve(t, Config{Commands: table{"b": {Plan: &plan.Plan{Command: "b"}, Builtin: true}}})
	for name, change := range map[string]func(*wire.Request){
		"an unknown name": func(r *wire.Request) { r.Words[0] = "nonesuch" },
		"another build":   func(r *wire.Request) { r.Build = "other" },
		"another version": func(r *wire.Request) { r.Version++ },
		"a built-in command behind the caller's own registry": func(r *wire.Request) { r.Builtin = false },
	} {
		t.Run(name, func(t *testing.T) {
			r := wire.Request{Version: wire.Version, Build: "dev", Words: []string{"b"}, Builtin: true}
			change(&r)
			c := connect(t, s.Path())
			if err := c.Send(wire.TypeRequest, r.Encode(), four(t)...); err != nil {
				t.Fatal(err)
			}
			if typ, body, _, err := c.Receive(0); err != nil || typ != wire.TypeElsewhere || string(body) != "dev" {
				t.Errorf("type %d, %q, %v; want the daemon's build", typ, body, err)
			}
		})
	}
}

// TestRefused: what the daemon knows and does not run.
func TestRefused(t *testing.T) {
	n := &notes{full: errors.New("disk full")}
	s := serve(t, Config{Observer: n, Commands: table{
		"quarantined": {Plan: &plan.Plan{Command: "quarantined", Refusal: "violated ptrace"}},
		"plain":       {Plan: &plan.Plan{Command: "plain", Version: "1.0.0"}},
		"declared":    {Plan: &plan.Plan{Command: "declared", Declared: true}},
		"limited":     {Plan: &plan.Plan{Command: "limited", Limits: plan.Limits{PidsMax: 3}}},
	}})
	for _, tt := range []struct {
		name   string
		req    wire.Request
		status int
		err    string
	}{
		{"quarantined", wire.Request{Words: []string{"quarantined"}}, 126, "violated ptrace"},
		{"not recorded", wire.Request{Words: []string{"plain"}}, 125, "disk full"},
		{"not declared", wire.Request{Words: []string{"declared", "--x"}}, 125, "x"},
		{"expected another", wire.Request{Words: []string{"plain"}, Expect: "2.0.0"}, 126, "in force is 1.0.0"},
		{"a wider limit", wire.Request{Words: []string{"limited"}, Limits: []string{"pids_max=9"}}, 125, "more than the policy's"},
		{"a variable that is not passed", wire.Request{Words: []string{"plain"}, Env: []string{"A=1"}}, 125, "does not pass"},
		{"a directory that is not absolute", wire.Request{Words: []string{"plain"}, Chdir: "tmp"}, 125, "absolute"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.req.Version, tt.req.Build, tt.req.Builtin = wire.Version, "dev", true
			c := connect(t, s.Path())
			if err := c.Send(wire.TypeRequest, tt.req.Encode(), four(t)...); err != nil {
				t.Fatal(err)
			}
			typ, body, _, err := c.Receive(0)
			if err != nil || typ != wire.TypeDone {
				t.Fatalf("type %d, %v", typ, err)
			}
			r, err := wire.DecodeReport(body)
			if err != nil || r.ExitCode != tt.status || r.Err == nil || !strings.Contains(r.Err.Error(), tt.err) {
				t.Errorf("status %d, %v, %v; want %d, %q", r.ExitCode, r.Err, err, tt.status, tt.err)
			}
		})
	}
}

// TestIdle: 500 connections that say nothing cost no thread, do not keep
// others from being served, and end when their patience is over.
func TestIdle(t *testing.T) {
	s := serve(t, Config{Bounds: Bounds{Patience: impatient, UserConnections: 600}})
	before := openFiles(t)
	conns := make([]*wire.Conn, 500)
	for i := range conns {
		conns[i] = connect(t, s.Path())
	}
	alive(t, s)
	if n := threads(t); n > 100 {
		t.Errorf("%d threads with 500 idle connections", n)
	}
	for _, c := range conns {
		if _, _, _, err := c.Receive(0); err != wire.ErrEnd {
			t.Fatalf("an idle connection: %v", err)
		}
		leave(c)
		c.FD = -1
	}
	if after := openFiles(t); after > before+10 {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	alive(t, s)
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func threads(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestSecond: a daemon whose registry is served refuses; one that comes after
// a daemon that died sweeps its socket.
func TestSecond(t *testing.T) {
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := dir + "/" + ctl.SocketName("registry-1-2")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd) // the stale socket of one that died
	s := serve(t, Config{Dir: dir})
	alive(t, s)
	if _, err := Listen(Config{Dir: dir, Key: "registry-1-2", Commands: table{}}); !errors.Is(err, ErrSecond) {
		t.Errorf("a second daemon: %v, want %v", err, ErrSecond)
	}
	alive(t, s) // its socket is still there
	if _, err := Listen(Config{Dir: dir, Key: strings.Repeat("k", 108), Commands: table{}}); err == nil || !strings.Contains(err.Error(), "SBX_RUNTIME") {
		t.Errorf("a path that is too long: %v", err)
	}
	other := serve(t, Config{Dir: dir, Key: "registry-1-3"})
	alive(t, other)
}

// TestStrangersDirectory: no socket is made where others may write.
func TestStrangersDirectory(t *testing.T) {
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(Config{Dir: dir, Key: "k", Commands: table{}}); err == nil {
		t.Error("a socket is made in a directory that everybody may write")
	}
	if names, _ := filepath.Glob(dir + "/*"); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
}

// TestServes: a daemon that is not root's serves its own user alone.
func TestServes(t *testing.T) {
	s := &Server{}
	own := uint32(os.Geteuid())
	for _, uid := range []uint32{0, own, own + 1} {
		if got, want := s.serves(uid), own == 0 || uid == own; got != want {
			t.Errorf("uid %d: %v, want %v", uid, got, want)
		}
	}
}

// TestOtherUser: the kernel's word about who connects decides. Root's daemon
// hears another user; a command that names somebody else refuses him.
func TestOtherUser(t *testing.T) {
	testenv.Root(t)
	n := &notes{}
	s := serve(t, Config{Observer: n, Commands: table{"ops": {Plan: &plan.Plan{Command: "ops"}, Users: []string{"54321"}, Groups: []string{"54322"}}}})
	for _, tt := range []struct {
		name     string
		uid, gid uint32
		groups   []uint32
		refused  bool
	}{
		{"another", 54320, 54320, nil, true},
		{"another's namesake group", 54320, 54321, []uint32{54321}, true},
		{"by his name", 54321, 1, nil, false},
		{"by his group", 54320, 54322, nil, false},
		{"by a supplementary group", 54320, 1, []uint32{5, 54322}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.mu.Lock()
			n.refusal, n.full = nil, errors.New("let in")
			n.mu.Unlock()
			cmd := client(t, s)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tt.uid, Gid: tt.gid, Groups: tt.groups}}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			r := n.refusals(t)[0]
			if r.Caller.UID != tt.uid || r.Caller.GID != tt.gid {
				t.Errorf("the caller is %+v", r.Caller)
			}
			if got := strings.Contains(r.Reason, "may not run"); got != tt.refused {
				t.Errorf("reason %q; refused should be %v", r.Reason, tt.refused)
			}
		})
	}
}

// connectOnce asks for "ops" and waits for the answer.
func connectOnce(path string) int {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	c := wire.Conn{FD: fd}
	if err == nil {
		err = c.Send(wire.TypeRequest, ask("ops"), 0, 1, 2, 0)
	}
	if err == nil {
		_, _, _, err = c.Receive(0)
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}
