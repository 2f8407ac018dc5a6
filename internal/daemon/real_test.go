package daemon

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/internal/wire"
	"github.com/sbx-project/sbx/runner"
)

// launched are commands that are launched: "sh" with a script, "file", which
// shows a file of the caller's, and "here", which is shown his working directory.
func launched(t *testing.T) table {
	t.Helper()
	testenv.UserNamespaces(t)
	base := t.TempDir()
	for _, dir := range []string{filepath.Dir(base), base} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	commands, names := table{}, []string{}
	for name, rest := range map[string]string{
		"sh":   "exec: {path: /bin/sh, args: passthrough, argv: [-c]}\npolicy: {filesystem: {exec: [view]}}\n",
		"here": "exec: {path: /bin/true, args: passthrough}\npolicy: {filesystem: {read: [\"{{cwd}}\"]}}\n",
		"file": "exec: {path: /bin/cat, args: declared, argv: [\"{{file}}\"]}\nparams: [{name: file, type: path, access: read, position: 1, required: true}]\n",
	} {
		names = append(names, name)
		if err := os.MkdirAll(base+"/registry", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(base+"/registry/"+name+".yaml", []byte("apiVersion: sbx/v1\nname: "+name+"\nversion: 1.0.0\n"+rest), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	place, err := loader.OpenPlace(base + "/registry")
	if err != nil {
		t.Fatal(err)
	}
	l, err := loader.OpenFor(place, loader.Options{StateDir: base + "/state", Registries: []string{base + "/registry"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); place.Source.(io.Closer).Close() })
	results, err := l.Load(names...)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range results {
		if r.Plan == nil {
			t.Fatalf("%s: %v", name, r.Err)
		}
		commands[name] = Command{Plan: r.Plan}
	}
	return commands
}

// ends is an Observer that waits for the ends of runs.
type ends struct {
	notes
	runs chan *runner.Report
}

func (e *ends) RunEnded(_ RunInfo, r *runner.Report) { e.runs <- r }

func (e *ends) next(t *testing.T) *runner.Report {
	t.Helper()
	select {
	case r := <-e.runs:
		return r
	case <-time.After(patience):
		t.Fatal("no run ends")
		return nil
	}
}

// request asks for a run.
func request(t *testing.T, s *Server, words ...string) *wire.Conn {
	t.Helper()
	c := connect(t, s.Path())
	if err := c.Send(wire.TypeRequest, ask(words...), four(t)...); err != nil {
		t.Fatal(err)
	}
	return c
}

// receive wants a message of a type.
func receive(t *testing.T, c *wire.Conn, want wire.Type) []byte {
	t.Helper()
	typ, body, _, err := c.Receive(0)
	if err != nil || typ != want {
		t.Fatalf("type %d, %v; want %d", typ, err, want)
	}
	return body
}

// open is a descriptor for a Given message.
func open(t *testing.T, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// leave ends a connection at once, if it has not been: by then its number may be
// another descriptor's.
func leave(c *wire.Conn) {
	if c.FD >= 0 {
		unix.Close(c.FD)
		c.FD = -1
	}
}

// unused waits until the daemon has no run and no more descriptors than
// before.
func unused(t *testing.T, s *Server, before int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		s.pool.retire()
		if len(s.Runs()) == 0 && openFiles(t) <= before {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d runs, %d descriptors; %d before", len(s.Runs()), openFiles(t), before)
		}
	}
}

// TestClientGone: a client that goes at any step leaves no run and no
// descriptor behind, and nobody else notices.
func TestClientGone(t *testing.T) {
	testenv.NoLeaks(t)
	e := &ends{runs: make(chan *runner.Report, 10)}
	s := serve(t, Config{Observer: e, Commands: launched(t), Bounds: Bounds{Patience: impatient}})
	file := open(t, "/etc/passwd", unix.O_PATH)
	receive(t, request(t, s, "sh", "exit 0"), wire.TypeBegun) // what is made once
	e.next(t)
	for _, tt := range []struct {
		name string
		// until goes as far as the step; ends: a run goes on then.
		until func(*testing.T) *wire.Conn
		ends  bool
	}{
		{"connected", func(t *testing.T) *wire.Conn { return connect(t, s.Path()) }, false},
		{"asked for what it has to open", func(t *testing.T) *wire.Conn {
			c := request(t, s, "file", "x")
			receive(t, c, wire.TypeNeed)
			return c
		}, false},
		{"run begun", func(t *testing.T) *wire.Conn {
			c := request(t, s, "sh", "trap '' TERM; sleep 60")
			receive(t, c, wire.TypeBegun)
			return c
		}, true},
		{"run ended, not told", func(t *testing.T) *wire.Conn {
			c := request(t, s, "sh", "exit 3")
			receive(t, c, wire.TypeBegun)
			if r := e.next(t); r.ExitCode != 3 {
				t.Errorf("%+v", r)
			}
			return c
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before int
			t.Run("client", func(t *testing.T) {
				unused(t, s, 1<<20)
				before = openFiles(t)
				leave(tt.until(t))
			})
			if tt.ends {
				if r := e.next(t); r.Outcome != runner.Canceled || r.ExitCode == 0 {
					t.Errorf("the run of a client who has gone: %+v", r)
				}
			}
			unused(t, s, before)
			alive(t, s)
		})
	}
	// These may or may not have come to a run: either way nothing stays.
	for _, tt := range []struct {
		name string
		ask  func(*testing.T)
	}{
		{"half of a request", func(t *testing.T) { leave(half(t, s)) }},
		{"asked", func(t *testing.T) { leave(request(t, s, "sh", "trap '' TERM; sleep 60")) }},
		{"given", func(t *testing.T) {
			c := request(t, s, "file", "x")
			receive(t, c, wire.TypeNeed)
			if err := c.Send(wire.TypeGiven, nil, file); err != nil {
				t.Fatal(err)
			}
			leave(c)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			unused(t, s, 1<<20)
			before := openFiles(t)
			t.Run("client", tt.ask)
			unused(t, s, before)
			alive(t, s)
		})
	}
}

// TestLiesInGiven: what a client gives is judged by what it is, not by what he
// was asked for.
func TestLiesInGiven(t *testing.T) {
	testenv.NoLeaks(t)
	n := &notes{}
	commands := launched(t)
	patient := serve(t, Config{Observer: n, Commands: commands})
	hasty := serve(t, Config{Observer: n, Commands: commands, Bounds: Bounds{Patience: impatient}})
	fd := func(path string) int { return open(t, path, unix.O_PATH) }
	file := fd("/etc/passwd")
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	for _, own := range append(pipe, event) {
		t.Cleanup(func() { unix.Close(own) })
	}
	sock := connect(t, patient.Path())
	for _, tt := range []struct {
		name   string
		typ    wire.Type
		fds    []int
		status int
	}{
		{"nothing", wire.TypeGiven, nil, 125},
		{"two for one", wire.TypeGiven, []int{file, file}, 125},
		{"another message", wire.TypeRequest, []int{file}, 125},
		{"a pipe", wire.TypeGiven, pipe[:1], 126},
		{"an eventfd", wire.TypeGiven, []int{event}, 126},
		{"a socket", wire.TypeGiven, []int{sock.FD}, 126},
		{"a file of the kernel's", wire.TypeGiven, []int{fd("/proc/self/status")}, 126},
		{"the root directory", wire.TypeGiven, []int{fd("/")}, 126},
		{"silence", 0, nil, 125},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.mu.Lock()
			n.refusal = nil
			n.mu.Unlock()
			s := patient
			if tt.typ == 0 {
				s = hasty
			}
			c := request(t, s, "file", "x")
			receive(t, c, wire.TypeNeed)
			if tt.typ != 0 {
				if err := c.Send(tt.typ, nil, tt.fds...); err != nil {
					t.Fatal(err)
				}
			}
			r, err := wire.DecodeReport(receive(t, c, wire.TypeDone))
			if err != nil || r.ExitCode != tt.status {
				t.Errorf("%+v, %v; want status %d", r, err, tt.status)
			}
			if got := n.refusals(t)[0]; got.Status != tt.status || got.Command != "file" {
				t.Errorf("observed %+v", got)
			}
			alive(t, s)
		})
	}
}

// TestNeverReads: a client who takes nothing that he is told keeps nobody
// waiting, and his run ends as any other.
func TestNeverReads(t *testing.T) {
	testenv.NoLeaks(t)
	e := &ends{runs: make(chan *runner.Report, 100)}
	s := serve(t, Config{Observer: e, Commands: launched(t)})
	for range 20 {
		request(t, s, "sh", "exit 3")
	}
	for range 20 {
		if r := e.next(t); r.ExitCode != 3 {
			t.Errorf("%+v", r)
		}
	}
	alive(t, s)
	unused(t, s, 1<<20)
}

// TestDrainPastItsBound: a run that does not end is killed when the daemon has
// waited long enough, its client is told, and nothing is left.
func TestDrainPastItsBound(t *testing.T) {
	testenv.NoLeaks(t)
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	e := &ends{runs: make(chan *runner.Report, 10)}
	const drain = 300 * time.Millisecond
	s, err := Listen(Config{Dir: dir, Key: "registry-1-2", Build: "dev", Observer: e, Commands: launched(t), Bounds: Bounds{Drain: drain}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	deaf := request(t, s, "sh", "trap '' TERM INT HUP; while :; do sleep 60; done")
	receive(t, deaf, wire.TypeBegun)
	start := time.Now()
	stop()
	r, err := wire.DecodeReport(receive(t, deaf, wire.TypeDone))
	if err != nil || r.Outcome != runner.Canceled || r.ExitCode == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if took := time.Since(start); took < drain {
		t.Errorf("killed after %v, before its time", took)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the daemon does not end")
	}
	if len(s.Runs()) > 0 {
		t.Errorf("runs are left: %+v", s.Runs())
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) > 0 && !strings.HasSuffix(left[0], ".lock") {
		t.Errorf("left behind: %q", left)
	}
}
