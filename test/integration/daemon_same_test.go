package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
			status, _ := gone(t, cmd, patience())
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
			cmd, end := h.waiting(t, h.both(direct, call{words: []string{"act", "echo"}}))
			check(t, cmd.Process.Signal(unix.SIGSTOP))
			stopped := func() bool { return strings.Contains(state(cmd.Process.Pid), "State T") }
			for late := time.Now().Add(patience()); !stopped(); time.Sleep(time.Millisecond) {
				if time.Now().After(late) {
					t.Fatalf("not stopped: %s", state(cmd.Process.Pid))
				}
			}
			end()
			for late := time.Now().Add(patience()); len(workloads()) > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(late) {
					t.Fatalf("direct %v: the workload does not end while sbx is stopped", direct)
				}
			}
			check(t, cmd.Process.Signal(unix.SIGCONT))
			if status, _ := gone(t, cmd, patience()); status != 0 {
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
	limit := unix.NsecToTimeval(int64(patience()))
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
// his own sbx, the same both ways: as bounded, as patient, and repeated nowhere.
func TestSecretParameter(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.sameBundles(t)
		h.serve(t)
		zero, err := os.Open("/dev/zero")
		check(t, err)
		defer zero.Close()
		null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
		check(t, err)
		defer null.Close()
		dir, err := os.Open(h.path("work"))
		check(t, err)
		defer dir.Close()
		third, err := os.Open(h.write(t, "home/secret", "", 0o600))
		check(t, err)
		defer third.Close()
		holds := func(text string) func() {
			return func() {
				check(t, os.WriteFile(third.Name(), []byte(text), 0o600))
				_, err := third.Seek(0, io.SeekStart)
				check(t, err)
			}
		}
		token := []string{"token", "--token", "@3"}
		for _, tt := range []struct {
			name           string
			words          []string
			files          []*os.File
			wrap           []string
			before         func()
			stdin          string
			status         int
			stdout, stderr string
		}{
			{name: "good", words: token, files: []*os.File{third}, before: holds("s3cret"), stdout: "1 arguments, 6 bytes"},
			{name: "a newline at its end", words: []string{"token", "--token=@3"}, files: []*os.File{third}, before: holds("s3cret\n"), stdout: "1 arguments, 6 bytes"},
			{name: "empty", words: token, files: []*os.File{third}, before: holds(""), stdout: "1 arguments, 0 bytes"},
			{name: "from standard input", words: []string{"token", "--token", "@0"}, stdin: "s3cret", stdout: "1 arguments, 6 bytes"},
			{name: "too long", words: token, files: []*os.File{third}, before: holds(strings.Repeat("s3cret", 900)), status: 125, stderr: "more than"},
			{name: "NUL", words: token, files: []*os.File{third}, before: holds("s3cret\x00"), status: 125, stderr: "NUL"},
			{name: "like an option", words: token, files: []*os.File{third}, before: holds("--s3cret"), status: 125, stderr: "begins with -"},
			{name: "without end", words: token, files: []*os.File{zero}, status: 125, stderr: "more than"},
			{name: "a directory", words: token, files: []*os.File{dir}, status: 125, stderr: "directory"},
			{name: "open for writing", words: token, files: []*os.File{null}, status: 125, stderr: "no descriptor open for reading"},
			{name: "not open", words: token, files: []*os.File{third}, wrap: []string{"close=3"}, status: 125, stderr: "no descriptor open for reading"},
			{name: "not open, and more", words: []string{"token", "--token", "@9"}, status: 125, stderr: "no descriptor open for reading"},
			{name: "in the open", words: []string{"token", "--token", "s3cret"}, status: 125, stderr: "give @FD"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				var got [2]result
				for i, direct := range []bool{true, false} {
					if tt.before != nil {
						tt.before()
					}
					got[i] = h.run(t, h.both(direct, call{words: tt.words, files: tt.files, wrap: tt.wrap, stdin: strings.NewReader(tt.stdin)}))
					outcome := "ok"
					if tt.status != 0 {
						outcome = "setup-error"
					}
					wantEnd(t, got[i], tt.status, outcome)
					if !strings.Contains(got[i].stdout, tt.stdout) || !strings.Contains(got[i].stderr, tt.stderr) || strings.Contains(got[i].stderr, "s3cret") {
						t.Errorf("direct %v: want %s and %s\n%s", direct, tt.stdout, tt.stderr, got[i])
					}
				}
				if via := got[1].report.Via; via != "daemon" {
					t.Errorf("via %q", via)
				}
				if d := cmp.Diff(plainly(got[0]), plainly(got[1])); d != "" {
					t.Errorf("(-direct +daemon) %s", d)
				}
			})
		}
		t.Run("asked early", func(t *testing.T) { // without --result the request is made before Go's runtime
			for _, text := range []string{"s3cret", "--s3cret"} {
				holds(text)()
				r := h.run(t, h.both(false, call{words: token, files: []*os.File{third}, plain: true}))
				if bad := text[0] == '-'; bad != (r.status == 125) || !bad && !strings.Contains(r.stdout, "1 arguments, 6 bytes") || strings.Contains(r.stderr, "s3cret") {
					t.Errorf("%s", r)
				}
			}
		})
		t.Run("slow", func(t *testing.T) { h.slowSecret(t) })
		for _, verb := range []string{"ps", "status", "why"} {
			if r := h.operator(t, verb); strings.Contains(r.stdout+r.stderr, "s3cret") {
				t.Errorf("%s tells the secret\n%s", verb, r)
			}
		}
		// Whatever sbx keeps: audit log, reports, plans, images of calls.
		for _, dir := range []string{"state", "run", "result"} {
			check(t, filepath.WalkDir(h.path(dir), func(path string, e fs.DirEntry, err error) error {
				if err != nil || !e.Type().IsRegular() {
					return err
				}
				if text, err := os.ReadFile(path); err != nil || bytes.Contains(text, []byte("s3cret")) {
					t.Errorf("%s holds the secret (%v)", path, err)
				}
				return nil
			}))
		}
	})
}

// slowSecret: a secret that comes later than the daemon has patience is waited
// for, the run then has it and shows it to nobody outside; who is told to end
// while he waits ends.
func (h *host) slowSecret(t *testing.T) {
	for _, direct := range []bool{true, false} {
		r, w, err := os.Pipe()
		check(t, err)
		cmd, file := h.command(t.Context(), h.both(direct, call{words: []string{"token", "--token", "@3"}, files: []*os.File{r}}))
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		check(t, cmd.Start())
		check(t, r.Close())
		if !direct {
			time.Sleep(5500 * time.Millisecond) // Bounds.Patience is 5 s
		}
		_, err = w.WriteString("s3cret")
		check(t, errors.Join(err, w.Close()))
		status, _ := gone(t, cmd, patience())
		rep, err := readReport(file)
		check(t, err)
		if status != 0 || !strings.Contains(said.String(), "1 arguments, 6 bytes") || (rep.Via == "direct") != direct {
			t.Errorf("direct %v: status %d, via %q\n%s", direct, status, rep.Via, said.String())
		}

		r, w, err = os.Pipe()
		check(t, err)
		cmd, _ = h.command(t.Context(), h.both(direct, call{words: []string{"token", "--token", "@3"}, files: []*os.File{r}}))
		check(t, cmd.Start())
		check(t, r.Close())
		waits := func() bool {
			calls, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", cmd.Process.Pid))
			for _, path := range calls {
				text, _ := os.ReadFile(path)
				nr, args, _ := strings.Cut(string(text), " ")
				if nr == fmt.Sprint(unix.SYS_READ) && strings.HasPrefix(args, "0x3 ") || nr == fmt.Sprint(unix.SYS_PPOLL) {
					return true
				}
			}
			return false
		}
		for end := time.Now().Add(patience()); !waits(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("direct %v: sbx does not wait for the secret", direct)
			}
		}
		check(t, cmd.Process.Signal(unix.SIGTERM))
		if status, _ := gone(t, cmd, slow(5*time.Second)); status != 128+int(unix.SIGTERM) {
			t.Errorf("direct %v: status %d of one that was told to end", direct, status)
		}
		check(t, w.Close())
	}
}
