package admin

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/testenv"
)

func TestListen(t *testing.T) {
	// Longer than a socket's address may be.
	dir := t.TempDir() + "/" + strings.Repeat("long", 50)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(dir+"/none", "x"); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("no directory: %v", err)
	}
	c, err := Dial(dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Get(t.Context(), "/-/healthy", nil); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("no socket: %v", err)
	}
	old := syscall.Umask(0)
	l, err := Listen(dir, "x")
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(dir + "/x"); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if l2, err := Listen(dir, "x"); err == nil {
		l2.Close()
		t.Error("two daemons on one socket")
	}
	// What a killed daemon leaves: a socket that nobody listens on.
	l.(*socket).UnixListener.Close()
	if err := c.Get(t.Context(), "/-/healthy", nil); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("stale socket: %v", err)
	}
	l3, err := Listen(dir, "x")
	if err != nil {
		t.Fatalf("a stale socket is in the way: %v", err)
	}
	l3.Close()
	l.(*socket).dir.Close()
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := Listen(dir, "file"); err == nil {
		l.Close()
		t.Error("a file that is no socket was replaced")
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	var owner *safefs.OwnerError
	if _, err := Listen(dir, "x"); !errors.As(err, &owner) {
		t.Errorf("a directory that anybody may write: %v", err)
	}
	if _, err := Dial(dir, "x"); !errors.As(err, &owner) {
		t.Errorf("a client there: %v", err)
	}
}

// TestStranger: another user is neither spoken to nor answered.
func TestStranger(t *testing.T) {
	testenv.Root(t)
	_, dir, _ := serve(t, Options{})
	if err := errors.Join(os.Chmod(dir+"/x.admin", 0o666), os.Chmod(dir, 0o755), os.Chmod(dir+"/..", 0o755)); err != nil {
		t.Fatal(err)
	}
	// SO_PEERCRED is about who connects: the thread's ids at that time.
	status := make(chan error, 1)
	as(t, 65534, func() {
		c, err := net.Dial("unix", dir+"/x.admin")
		if err != nil {
			status <- err
			return
		}
		defer c.Close()
		c.Write([]byte("GET /v1/status HTTP/1.0\r\n\r\n"))
		b := make([]byte, 64)
		n, err := c.Read(b)
		if err == nil && !strings.HasPrefix(string(b[:n]), "HTTP/1.0 403") {
			err = errors.New(string(b[:n]))
		}
		status <- err
	})
	if err := <-status; err != nil {
		t.Errorf("a stranger was answered: %v", err)
	}
}
