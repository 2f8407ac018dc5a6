package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// event is what these tests look at of a line of `sbx events --json`.
type event struct {
	Kind, Run, Command, Version, Outcome, Reason string
	ExitCode                                     *int `json:"exit-code"`
}

// follow hands on what `sbx events -f --json` of the host says.
func (h *host) follow(t *testing.T) <-chan event {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd, _ := h.command(ctx, call{verb: "events", plain: true, words: []string{"-f", "--json", "--registry", h.path("registry")}})
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() { cancel(); cmd.Wait() })
	events := make(chan event, 1000)
	go func() {
		defer close(events)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				events <- e
			}
		}
	}()
	return events
}

// await waits for an event that fits.
func await(t *testing.T, events <-chan event, what string, fits func(event) bool) event {
	t.Helper()
	limit := time.After(patience())
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the events have ended before %s", what)
			}
			if fits(e) {
				return e
			}
		case <-limit:
			t.Fatalf("no event: %s", what)
		}
	}
}

// TestVerbsOnRuns: ps, status, events -f and kill, with a run that is going.
func TestVerbsOnRuns(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "act", bin+"/act", "")
		h.serve(t)
		events := h.follow(t)
		client := h.started(t, h.both(false, call{words: []string{"act", "deaf", "1m"}}))
		begun := await(t, events, "the start of the run", func(e event) bool { return e.Kind == "run-started" && e.Command == "act" })
		var runs []struct {
			Run, Command, Version string
			UID                   int
			PID                   int
			Args                  int
		}
		r := h.operator(t, "ps", "-o", "json")
		wantStatus(t, r, 0)
		if err := json.Unmarshal([]byte(r.stdout), &runs); err != nil || len(runs) != 1 || runs[0].Run != begun.Run || runs[0].Command != "act" ||
			runs[0].UID != h.uid || runs[0].PID != client.Process.Pid || runs[0].Args != 2 {
			t.Fatalf("%v: want run %s of %d by uid %d\n%s", err, begun.Run, client.Process.Pid, h.uid, r)
		}
		r = h.operator(t, "ps")
		if wantStatus(t, r, 0); !strings.Contains(r.stdout, begun.Run) || strings.Contains(r.stdout, "deaf") {
			t.Errorf("ps names the run and no argument of it\n%s", r)
		}
		r = h.operator(t, "status")
		if wantStatus(t, r, 0); !strings.Contains(r.stdout, "1 runs") {
			t.Errorf("status does not count the run\n%s", r)
		}
		r = h.operator(t, "status", "act")
		if wantStatus(t, r, 0); !strings.Contains(r.stdout, "act") || !strings.Contains(r.stdout, "1.0.0") {
			t.Errorf("status act\n%s", r)
		}
		watch := testenv.Begin()
		r = h.operator(t, "kill", "no-such-run", begun.Run)
		if wantStatus(t, r, 1); !strings.Contains(r.stderr, `no such run: "no-such-run"`) {
			t.Errorf("one of two is not there\n%s", r)
		}
		if status, _ := gone(t, client, slow(5*time.Second)); status == 0 || watch.Took() > slow(2*time.Second) {
			t.Errorf("the killed run's client ends with %d after %v", status, watch.Took())
		}
		end := await(t, events, "the end of the run", func(e event) bool { return e.Kind == "run-ended" && e.Run == begun.Run })
		if end.Outcome != "canceled" || end.ExitCode == nil || *end.ExitCode == 0 {
			t.Errorf("%+v", end)
		}
		if len(workloads()) > 0 {
			t.Errorf("workloads %v are left", workloads())
		}
		r = h.operator(t, "ps", "-o", "json")
		if wantStatus(t, r, 0); strings.TrimSpace(r.stdout) != "[]" {
			t.Errorf("after the end\n%s", r)
		}
		wantEnd(t, h.run(t, h.both(false, call{words: []string{"act", "forbid"}})), 159, "violation")
		await(t, events, "the violation", func(e event) bool { return e.Kind == "run-ended" && e.Outcome == "violation" && *e.ExitCode == 159 })
	})
}

// TestReloadVerb: reload --wait ends with 0 when everything is in force, 1
// when something is rejected, 124 when it is not over in time; it goes on then.
func TestReloadVerb(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.revision(t, "act", "1.0.0", "", "")
		daemon := h.serve(t)
		events := h.follow(t)
		h.revision(t, "act", "1.1.0", "", "")
		wantStatus(t, h.operator(t, "reload", "--wait"), 0)
		if r := h.run(t, h.both(false, call{words: []string{"act", "exit", "0"}})); r.report.Version != "1.1.0" {
			t.Errorf("in force after the reload\n%s", r)
		}
		h.write(t, "registry/bad.yaml", "apiVersion: sbx/v1\nname: bad\nversion: 1.0.0\n", 0o644)
		r := h.operator(t, "reload", "--wait")
		if wantStatus(t, r, 1); !strings.Contains(r.stderr, "bad: rejected: ") || !strings.Contains(r.stderr, "1 commands rejected") {
			t.Errorf("what is rejected, and why\n%s", r)
		}
		r = h.operator(t, "reload", "--wait", "-o", "json")
		var said struct {
			Loaded   bool
			Rejected []struct{ Command string }
		}
		if err := json.Unmarshal([]byte(r.stdout), &said); err != nil || r.status != 1 || said.Loaded || len(said.Rejected) != 1 || said.Rejected[0].Command != "bad" {
			t.Errorf("%v\n%s", err, r)
		}
		check(t, unix.Unlink(h.path("registry/bad.yaml")))
		// A check that takes until it is let go: it opens a pipe that nobody writes.
		gate := h.path("work/gate")
		check(t, errors.Join(unix.Mkfifo(gate, 0o644), os.Chown(gate, h.uid, h.uid)))
		h.revision(t, "act", "1.2.0", "checks: [{argv: [cat, "+gate+"], expect: {exit: 0}}]\n", "filesystem: {read: ["+h.work()+"]}")
		r = h.operator(t, "reload", "--wait", "--timeout", "500ms")
		if wantStatus(t, r, 124); !strings.Contains(r.stderr, "the reload is not over after 500ms") {
			t.Errorf("%s", r)
		}
		wantEnd(t, h.run(t, h.both(false, call{words: []string{"act", "exit", "0"}})), 0, "ok")
		go os.WriteFile(gate, nil, 0)
		await(t, events, "the slow revision", func(e event) bool { return e.Kind == "replaced" && e.Version == "1.2.0" })
		// A signal is a reload as well.
		wantStatus(t, h.operator(t, "reload", "--wait"), 0)
		for len(events) > 0 {
			<-events
		}
		check(t, daemon.Process.Signal(unix.SIGHUP))
		await(t, events, "the reload by SIGHUP", func(e event) bool { return e.Kind == "reloaded" })
		wantEnd(t, h.run(t, h.both(false, call{words: []string{"act", "exit", "0"}})), 0, "ok")
	})
}

// TestWarmIsUsed: a real daemon's calls find what was made ready for them, and
// its metrics say so.
func TestWarmIsUsed(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "act", bin+"/act", "")
		h.serve(t)
		taken := func() string {
			text := h.metrics(t)
			for line := range strings.Lines(text) {
				if n, ok := strings.CutPrefix(line, "sbx_pool_taken_total "); ok {
					return strings.TrimSpace(n)
				}
			}
			t.Fatalf("no sbx_pool_taken_total in\n%s", text)
			return ""
		}
		if n := taken(); n != "0" {
			t.Errorf("%s taken before the first call", n)
		}
		for end := time.Now().Add(patience()); taken() == "0"; {
			wantEnd(t, h.run(t, h.both(false, call{words: []string{"act", "exit", "0"}})), 0, "ok")
			if time.Now().After(end) {
				t.Fatal("no call finds a sandbox that is ready")
			}
		}
	})
}

// admin is the path of the daemon's admin socket.
func (h *host) admin(t testing.TB) string {
	t.Helper()
	for _, path := range h.sockets() {
		return adminOf(path)
	}
	t.Fatal("no daemon")
	return ""
}

// adminOf is the path of the admin socket beside a run socket.
func adminOf(path string) string { return strings.TrimSuffix(path, ".sock") + ".admin" }

// metrics asks the daemon for its metrics.
func (h *host) metrics(t testing.TB) string {
	t.Helper()
	return h.web(t, "/metrics")
}

// web asks the daemon's admin API.
func (h *host) web(t testing.TB, what string) string {
	t.Helper()
	path := h.admin(t)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	resp, err := client.Get("http://sbx" + what)
	check(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	check(t, err)
	return string(text)
}
