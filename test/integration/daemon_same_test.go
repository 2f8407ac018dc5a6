package integration

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestSameStatusDescriptor: --status-fd carries the same stream by the daemon
// as without it.
func TestSameStatusDescriptor(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "act", bin+"/act", "")
		h.serve(t)
		var got [2]result
		for i, direct := range []bool{true, false} {
			file, err := os.Create(h.path("home/status"))
			check(t, err)
			r := h.run(t, h.both(direct, call{words: []string{"act", "exit", "3"}, flags: []string{"--status-fd", "3"}, files: []*os.File{file}, plain: true}))
			check(t, file.Close())
			text, err := os.ReadFile(h.path("home/status"))
			check(t, err)
			if r.report, err = parseReport(text); err != nil {
				t.Fatalf("direct %v: %v: %q", direct, err, text)
			}
			wantEnd(t, r, 3, "exit")
			if r.report.Child == 0 {
				t.Errorf("direct %v: no child-pid in %q", direct, text)
			}
			got[i] = r
		}
		if got[0].report.Via != "direct" || got[1].report.Via != "daemon" {
			t.Errorf("via %q and %q", got[0].report.Via, got[1].report.Via)
		}
		if d := cmp.Diff(plainly(got[0]), plainly(got[1])); d != "" {
			t.Errorf("(-direct +daemon) %s", d)
		}
	})
}

// TestSameClosedPipe: output that nobody reads any more ends the workload as
// it does without sbx, both ways.
func TestSameClosedPipe(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "cat", "/bin/cat", "")
		needPrograms(t, "/bin/cat")
		h.serve(t)
		for _, direct := range []bool{true, false} {
			read, write, err := os.Pipe()
			check(t, err)
			check(t, read.Close())
			cmd, file := h.command(t.Context(), h.both(direct, call{words: []string{"cat"}, stdin: strings.NewReader("nobody reads this\n")}))
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = write, &said
			check(t, cmd.Start())
			check(t, write.Close())
			status, _ := gone(t, cmd, slow(10*time.Second))
			rep, err := readReport(file)
			check(t, err)
			want := "daemon"
			if direct {
				want = "direct"
			}
			if status != 141 || rep.Outcome != "signal" || rep.Via != want {
				t.Errorf("direct %v: status %d, outcome %q, via %q\n%s", direct, status, rep.Outcome, rep.Via, said.String())
			}
		}
	})
}

// TestSameStopped: an sbx that is stopped and goes on tells how the run ended,
// both ways.
func TestSameStopped(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "act", bin+"/act", "")
		h.serve(t)
		for _, direct := range []bool{true, false} {
			cmd := h.started(t, h.both(direct, call{words: []string{"act", "sleep", "300ms"}}))
			check(t, cmd.Process.Signal(unix.SIGSTOP))
			stopped := func() bool { return strings.Contains(state(cmd.Process.Pid), "State T") }
			for end := time.Now().Add(slow(5 * time.Second)); !stopped(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("not stopped: %s", state(cmd.Process.Pid))
				}
			}
			for end := time.Now().Add(slow(10 * time.Second)); len(workloads()) > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("direct %v: the workload does not end while sbx is stopped", direct)
				}
			}
			check(t, cmd.Process.Signal(unix.SIGCONT))
			if status, _ := gone(t, cmd, slow(10*time.Second)); status != 0 {
				t.Errorf("direct %v: status %d", direct, status)
			}
		}
	})
}

// TestOthersDaemon: an ordinary user's daemon closes the connection of anybody
// else without a word, root's too, and serves its own user.
func TestOthersDaemon(t *testing.T) {
	testenv.Root(t)
	needBinaries(t)
	testenv.NoLeaks(t)
	user := newHost(t, "user")
	user.bundle(t, "act", bin+"/act", "")
	user.serve(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(int64(slow(10 * time.Second)))
	check(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit))
	check(t, unix.Connect(fd, &unix.SockaddrUnix{Name: user.sockets()[0]}))
	if n, err := unix.Read(fd, make([]byte, 100)); n > 0 || err == unix.EAGAIN {
		t.Errorf("the daemon answers root: %d bytes, %v", n, err)
	}
	if s := user.operator(t, "status", "--json"); !strings.Contains(s.stdout, `"in-flight": 0`) {
		t.Errorf("%s", s)
	}
	r := user.run(t, user.both(false, call{words: []string{"act", "exit", "0"}}))
	if wantEnd(t, r, 0, "ok"); r.report.Via != "daemon" {
		t.Errorf("via %q", r.report.Via)
	}
}

// TestSecretParameter: a secret is read from a descriptor of the caller's by
// his own sbx; the daemon does not take it and says what does. (Not the same
// both ways, as everything else is.)
func TestSecretParameter(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.sameBundles(t)
		h.serve(t)
		for _, direct := range []bool{true, false} {
			secret, err := os.Open(h.write(t, "home/secret", "s3cret", 0o600))
			check(t, err)
			r := h.run(t, h.both(direct, call{words: []string{"token", "--token", "@3"}, files: []*os.File{secret}}))
			check(t, secret.Close())
			if direct {
				wantEnd(t, r, 0, "ok")
				continue
			}
			wantEnd(t, r, 125, "setup-error")
			if r.report.Via != "daemon" || !strings.Contains(r.stderr, "--direct") || strings.Contains(r.stderr, "s3cret") {
				t.Errorf("via %q\n%s", r.report.Via, r)
			}
		}
	})
}
