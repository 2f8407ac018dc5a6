package integration

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// activated listens as a unit does, on name in the runtime directory of h.
func activated(t *testing.T, h *host, name string) *os.File {
	t.Helper()
	dir := h.path("run")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: dir + "/" + name}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestActivated: the first call of a boot, of the system's registry, waits on
// the unit's socket, which has no registry's name yet, and the daemon that is
// thereby started answers it; it gives the socket the registry's name.
func TestActivated(t *testing.T) {
	needBinaries(t)
	testenv.NoLeaks(t)
	h := newHost(t, "root")
	unit := activated(t, h, "sbx.sock")
	answered := make(chan result, 1)
	go func() {
		answered <- h.run(t, call{verb: "run", words: []string{"jq", "--version"}, limit: time.Minute})
	}()
	// systemd starts the service when somebody is waiting.
	waiting := []unix.PollFd{{Fd: int32(unit.Fd()), Events: unix.POLLIN}}
	if n, err := unix.Poll(waiting, 20_000); n != 1 || err != nil {
		t.Fatalf("nobody calls: %d, %v", n, err)
	}
	daemon := h.startActivated(t, unit)
	r := <-answered
	wantEnd(t, r, 0, "ok")
	if r.report.Via != "daemon" || !strings.Contains(r.stdout, "jq") {
		t.Errorf("%s", r)
	}
	if len(h.sockets()) != 2 {
		t.Errorf("sockets: %v", h.sockets())
	}
	if err := daemon.Process.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := daemon.Wait(); err != nil {
		t.Errorf("%v: %s", err, daemon.Stderr)
	}
	if len(h.sockets()) != 2 {
		t.Errorf("sockets without a daemon: %v", h.sockets())
	}
}

// TestActivatedOther: a daemon of another registry does not take the name that
// callers of the system's registry look for.
func TestActivatedOther(t *testing.T) {
	needBinaries(t)
	h := newHost(t, "root")
	h.mkdir(t, "registry")
	unit := activated(t, h, "sbx.sock")
	daemon := h.startActivated(t, unit, "--registry", h.path("registry"))
	if err := daemon.Wait(); err == nil || !strings.Contains(daemon.Stderr.(*bytes.Buffer).String(), "sbx.sock for the system's registry") {
		t.Errorf("%v: %s", err, daemon.Stderr)
	}
}

// startActivated starts a daemon as systemd does (sd_listen_fds(3)).
func (h *host) startActivated(t *testing.T, unit *os.File, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=run exec "$@"`, "sh", bin + "/sbxd", "serve"}, args...)...)
	cmd.Env, cmd.ExtraFiles, cmd.Stderr = h.environ(), []*os.File{unit}, &bytes.Buffer{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // it has ended where the test went well
		cmd.Wait()
	})
	return cmd
}
