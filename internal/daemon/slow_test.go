package daemon

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/wire"
)

// part is a packet of a request that says that more will come.
func part(text string) []byte { return append([]byte{byte(wire.TypeRequest), 1}, text...) }

// half sends the beginning of a request.
func half(t *testing.T, s *Server) *wire.Conn {
	t.Helper()
	c := connect(t, s.Path())
	if err := unix.Sendmsg(c.FD, part("x"), nil, nil, unix.MSG_NOSIGNAL); err != nil {
		t.Fatal(err)
	}
	return c
}

// waits tells whether the daemon has neither answered nor ended a connection.
func waits(c *wire.Conn) bool {
	_, _, err := unix.Recvfrom(c.FD, make([]byte, 1), unix.MSG_DONTWAIT|unix.MSG_PEEK)
	return err == unix.EAGAIN
}

// TestHalves: 300 clients that have said the half of it and wait cost the room
// of some, not a thread and a buffer each; another user is answered while they
// wait, and when they have gone their own is again.
func TestHalves(t *testing.T) {
	s := serve(t, Config{
		Commands: table{"ops": {Plan: &plan.Plan{Command: "ops"}, Users: []string{"54321"}}},
		Bounds:   Bounds{Patience: patience, UserConnections: 400},
	})
	before := openFiles(t)
	conns := make([]*wire.Conn, 300)
	for i := range conns {
		conns[i] = half(t, s)
	}
	for end := time.Now().Add(patience / 2); s.quota.heard(uint32(os.Geteuid())) < s.cfg.Bounds.UserAsking; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("their requests are not read")
		}
	}
	if n := threads(t); n > s.cfg.Bounds.UserAsking+100 {
		t.Errorf("%d threads with %d halves of requests", n, len(conns))
	}
	if os.Geteuid() == 0 {
		cmd := client(t, s)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54320, Gid: 54320}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("another user: %v\n%s", err, out)
		}
	}
	for i, c := range conns {
		if !waits(c) {
			t.Fatalf("connection %d has not waited", i)
		}
	}
	for _, c := range conns {
		leave(c)
	}
	alive(t, s)
	unused(t, s, before+10) // those of alive
}

// TestTrickle: patience is for the whole of a request, not for each piece.
func TestTrickle(t *testing.T) {
	n := &notes{}
	s := serve(t, Config{Observer: n, Bounds: Bounds{Patience: impatient}})
	c := half(t, s)
	go func() {
		for unix.Sendmsg(c.FD, part("x"), nil, nil, unix.MSG_NOSIGNAL) == nil {
			time.Sleep(impatient / 20)
		}
	}()
	report, err := wire.DecodeReport(receive(t, c, wire.TypeDone))
	if err != nil || report.ExitCode != 125 {
		t.Errorf("%+v, %v", report, err)
	}
	if r := n.refusals(t)[0]; r.Status != 125 {
		t.Errorf("observed %+v", r)
	}
	alive(t, s)
}

// client is this binary as a client of the daemon, where others may execute it.
func client(t *testing.T, s *Server) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Dir(s.Path()) + "/client"
	if err := os.WriteFile(copied, text, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(copied) })
	cmd := exec.Command(copied)
	cmd.Env = []string{"SBX_TEST_CONNECT=" + s.Path()}
	return cmd
}

// TestDrainEndsWaiting: clients whose requests are not read yet, or will never
// be whole, do not keep a daemon from ending; who waits for his turn runs by
// himself.
func TestDrainEndsWaiting(t *testing.T) {
	const own = 100 * time.Millisecond
	s, stop := drainable(t, Config{Bounds: Bounds{Patience: impatient, Drain: own, UserConnections: 400}})
	conns := make([]*wire.Conn, 200)
	for i := range conns {
		conns[i] = half(t, s)
	}
	stop()
	elsewhere := 0
	for _, c := range conns {
		switch typ, _, _, err := c.Receive(0); {
		case err == nil && typ == wire.TypeElsewhere:
			elsewhere++
		case err != nil && err != wire.ErrEnd || err == nil && typ != wire.TypeDone:
			t.Errorf("type %d, %v", typ, err)
		}
	}
	if elsewhere == 0 {
		t.Error("nobody was told to run by himself")
	}
}

// TestDrainAnswersTheLast: who has called a daemon that was told to end, and was
// not heard, runs by himself: nothing of his has begun.
func TestDrainAnswersTheLast(t *testing.T) {
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := Listen(Config{Dir: dir, Key: "registry-1-2", Build: "dev", Commands: table{}})
	if err != nil {
		t.Fatal(err)
	}
	var conns []*wire.Conn
	for range 3 { // one of them speaks when it is too late
		conns = append(conns, connect(t, s.Path()))
	}
	for _, c := range conns[1:] {
		if err := c.Send(wire.TypeRequest, ask("nonesuch"), four(t)...); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := s.Serve(ctx); err != nil {
		t.Fatal(err)
	}
	for i, c := range conns {
		if typ, _, _, err := c.Receive(0); err != nil || typ != wire.TypeElsewhere {
			t.Errorf("connection %d: type %d, %v", i, typ, err)
		}
	}
}
