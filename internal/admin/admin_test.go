package admin

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// patience is how long a test waits for what has to come and is promised for no
// moment.
const patience = time.Minute

// daemon is a Source and Controller with one of everything.
type daemon struct {
	also   atomic.Pointer[Run] // a run that is going besides
	status Status
	reload Reload
	err    error
	hang   bool
	killed []string
	actors []Actor
	acts   []Act
}

var when = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newDaemon() *daemon {
	c := Command{
		Name: "db.backup", State: Probation, Version: "2.4.1", Revision: "sha256:00", Generation: 7, Since: &when, Floor: "2.0.0", RevertsLeft: 1,
		Candidate: &Revision{Version: "2.4.2", Revision: "sha256:01", State: Rejected, Reason: "check 1: exit status 1"},
		Previous:  &Revision{Version: "2.4.0", Revision: "sha256:02", State: Retired}, LastViolation: "ptrace",
	}
	r := Reload{Time: when, Loaded: true, LastSuccess: &when, Generation: 7, Changed: []string{"db.backup"}, Rejected: []Rejection{}}
	return &daemon{reload: r, status: Status{
		Version: "0.3.0", Build: "b", PID: 1, Started: when, Registries: []string{"/etc/sbx/registry"}, Generation: 7, Ready: true, InFlight: 1, Reload: &r,
		Audit: Audit{Sequence: 9, Head: "00"}, Weakened: []string{}, Commands: []Command{c},
	}}
}

func (d *daemon) Status() Status     { return d.status }
func (d *daemon) Commands() Commands { return Commands{d.status.Generation, d.status.Commands} }
func (d *daemon) Runs() Runs {
	list := []Run{{Run: "run-1", Command: "db.backup", Version: "2.4.1", Revision: "sha256:00", Generation: 7, UID: 1000, GID: 1000, PID: 42, Args: 2, Started: when}}
	if r := d.also.Load(); r != nil {
		list = append(list, *r)
	}
	return Runs{list}
}
func (d *daemon) Generations() (Generations, error) {
	return Generations{7, []Generation{{Generation: 7, Time: when, By: "loader", Changed: []string{"db.backup"}}}}, d.err
}
func (d *daemon) Reload(ctx context.Context, _ Actor, expected *uint64) (Reload, error) {
	if d.hang {
		<-ctx.Done()
		return Reload{}, ctx.Err()
	}
	if expected != nil && *expected != d.status.Generation {
		return Reload{}, ErrGeneration
	}
	return d.reload, d.err
}
func (d *daemon) Kill(_ Actor, run string) error {
	if run != "run-1" {
		return ErrNoRun
	}
	d.killed = append(d.killed, run)
	return d.err
}

func (d *daemon) Operate(by Actor, act Act, expected *uint64) (Operated, error) {
	if expected != nil && *expected != d.status.Generation {
		return Operated{}, ErrGeneration
	}
	d.actors, d.acts = append(d.actors, by), append(d.acts, act)
	return Operated{Generation: 8, Moved: []Moved{{Command: "db.backup", From: "2.4.1", To: "2.4.0", Reason: act.String()}}}, d.err
}

const token = "correct horse"

// serve starts a server on a Unix socket and on TCP and returns the directory
// of the one and the address of the other.
func serve(t *testing.T, opt Options) (s *Server, dir, address string) {
	t.Helper()
	if opt.Source == nil {
		d := newDaemon()
		opt.Source, opt.Controller = d, d
	}
	if opt.Events == nil {
		opt.Events = NewHub()
	}
	opt.UID = uint32(os.Geteuid())
	dir = t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s = New(opt)
	u, err := Listen(dir, "x.admin")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- s.ServeUnix(u) }()
	go func() { done <- s.ServeTCP(tcp, nil) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(s.Close(ctx), <-done, <-done); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return s, dir, tcp.Addr().String()
}

func client(t *testing.T, dir string) *Client {
	t.Helper()
	c, err := Dial(dir, "x.admin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestGuard: who is answered on TCP, and what is asked of a request.
func TestGuard(t *testing.T) {
	opt := Options{TokenHash: sha256.Sum256([]byte(token)), Hosts: []string{"sbx.example.org"}, Metrics: http.NotFoundHandler()}
	_, _, with := serve(t, opt)
	opt.TokenHash = [sha256.Size]byte{}
	_, _, without := serve(t, opt)
	bearer := map[string]string{"Authorization": "Bearer " + token}
	and := func(h map[string]string, k, v string) map[string]string {
		out := map[string]string{k: v}
		for a, b := range h {
			out[a] = b
		}
		return out
	}
	for _, tt := range []struct {
		name, at, method, path string
		header                 map[string]string
		body                   string
		status                 int
	}{
		{"health is open", with, "GET", "/-/healthy", nil, "", 200},
		{"readiness is open", without, "GET", "/-/ready", nil, "", 200},
		{"no token", with, "GET", "/v1/status", nil, "", 401},
		{"wrong token", with, "GET", "/v1/status", map[string]string{"Authorization": "Bearer x"}, "", 401},
		{"empty token", with, "GET", "/v1/status", map[string]string{"Authorization": "Bearer "}, "", 401},
		{"bearer", with, "GET", "/v1/status", bearer, "", 200},
		{"no token configured", without, "GET", "/v1/status", bearer, "", 403},
		{"no token configured, empty one", without, "GET", "/v1/status", map[string]string{"Authorization": "Bearer "}, "", 403},
		{"rebinding", with, "GET", "/-/healthy", map[string]string{"Host": "evil.example.com"}, "", 421},
		{"rebinding with port", with, "GET", "/v1/status", and(bearer, "Host", "evil.example.com:80"), "", 421},
		{"named host", with, "GET", "/v1/status", and(bearer, "Host", "SBX.example.org:9000"), "", 200},
		{"localhost", with, "GET", "/v1/status", and(bearer, "Host", "localhost"), "", 200},
		{"IPv6 literal", with, "GET", "/v1/status", and(bearer, "Host", "[::1]:9000"), "", 200},
		{"host that looks like an address", with, "GET", "/v1/status", and(bearer, "Host", "127.0.0.1.evil.com"), "", 421},
		{"another site's page", with, "POST", "/v1/reload", and(bearer, "Sec-Fetch-Site", "cross-site"), "", 403},
		{"another site's form", with, "POST", "/v1/reload", and(bearer, "Origin", "https://evil.example.com"), "", 403},
		{"own page", with, "POST", "/v1/reload", and(bearer, "Sec-Fetch-Site", "same-origin"), "", 200},
		{"body", with, "POST", "/v1/reload", bearer, "{}", 413},
		{"body of a GET", with, "GET", "/v1/status", bearer, "{}", 413},
		{"method", with, "PUT", "/v1/status", bearer, "", 405},
		{"CORS preflight", with, "OPTIONS", "/v1/status", bearer, "", 405},
		{"head", with, "HEAD", "/v1/status", bearer, "", 200},
		{"unknown path", with, "GET", "/v1/secrets", bearer, "", 404},
		{"lifecycle not enabled", with, "POST", "/-/reload", bearer, "", 404},
		{"unknown parameter", with, "GET", "/v1/status?x=1", bearer, "", 400},
		{"parameter twice", with, "GET", "/v1/events?since=1&since=2", bearer, "", 400},
		{"large header", with, "GET", "/v1/status", and(bearer, "X", strings.Repeat("x", 64<<10)), "", 431},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequest(tt.method, "http://"+tt.at+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.body == "" {
				req.Body, req.ContentLength = nil, 0
			}
			for k, v := range tt.header {
				req.Header.Set(k, v)
			}
			req.Host = tt.header["Host"]
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if tt.status == 431 && resp.StatusCode == 431 {
				return // net/http's own, which closes before all is read
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status {
				t.Fatalf("%s, want %d (%v): %s", resp.Status, tt.status, err, body)
			}
			h := resp.Header
			if h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") ||
				h.Get("Cache-Control") != "no-store" || h.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("headers %v", h)
			}
			var p Problem
			if tt.status >= 400 && (json.Unmarshal(body, &p) != nil || p.Error == "") {
				t.Errorf("no problem in %q", body)
			}
			if tt.status == 405 && h.Get("Allow") == "" {
				t.Error("no Allow")
			}
			if tt.status == 401 && h.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
		})
	}
	req, _ := http.NewRequest("GET", "http://"+with+"/v1/status", nil)
	req.SetBasicAuth("anybody", token)
	if resp, err := http.DefaultTransport.RoundTrip(req); err != nil || resp.StatusCode != 200 {
		t.Errorf("token as password: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// TestReload: statuses by verdict, and the generation that is expected.
func TestReload(t *testing.T) {
	d := newDaemon()
	_, dir, _ := serve(t, Options{Source: d, Controller: d, EnableLifecycle: true})
	c := client(t, dir)
	ask := func(path, ifMatch string) (int, string) {
		t.Helper()
		h := http.Header{}
		if ifMatch != "" {
			h.Set("If-Match", ifMatch)
		}
		resp, err := c.do(t.Context(), "POST", path, h)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	for ifMatch, want := range map[string]int{"": 200, `"7"`: 200, "*": 200, `"6"`: 412, "7": 400, `W/"7"`: 400, `"7", "8"`: 400, `"07"`: 400} {
		if got, body := ask("/-/reload", ifMatch); got != want {
			t.Errorf("If-Match %s: %d, want %d: %s", ifMatch, got, want, body)
		}
	}
	for _, tt := range []struct {
		verdicts []int
		want     int
	}{{[]int{0}, 422}, {[]int{0, 409}, 409}, {[]int{409, 412, 0}, 412}} {
		d.reload.Loaded, d.reload.Rejected = false, nil
		for _, v := range tt.verdicts {
			d.reload.Rejected = append(d.reload.Rejected, Rejection{"jq", "because", v})
		}
		if got, body := ask("/v1/reload", ""); got != tt.want || !strings.Contains(body, "because") {
			t.Errorf("verdicts %v: %d, want %d: %s", tt.verdicts, got, tt.want, body)
		}
		res, err := c.Reload(t.Context(), true, nil)
		if err != nil || res.Loaded || len(res.Rejected) != len(tt.verdicts) {
			t.Errorf("by the client: %+v, %v", res, err)
		}
	}
	seven, six := uint64(7), uint64(6)
	_, dir2, _ := serve(t, Options{}) // d is changed below, while that reload is going
	if _, err := client(t, dir2).Reload(t.Context(), false, &seven); err != nil {
		t.Error(err)
	}
	var answer *AnswerError
	for _, wait := range []bool{true, false} {
		if _, err := c.Reload(t.Context(), wait, &six); !errors.As(err, &answer) || answer.Status != 412 {
			t.Errorf("another generation: %v", err)
		}
	}
	d.err = errors.New("disk on fire")
	if _, err := c.Reload(t.Context(), true, nil); !errors.As(err, &answer) || answer.Status != 500 || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("error: %v", err)
	}
	d.hang = true
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Reload(ctx, true, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a reload that hangs: %v", err)
	}
}

func TestKill(t *testing.T) {
	d := newDaemon()
	_, dir, _ := serve(t, Options{Source: d, Controller: d})
	c := client(t, dir)
	if err := c.Kill(t.Context(), "run-1"); err != nil || len(d.killed) != 1 {
		t.Errorf("%v, killed %v", err, d.killed)
	}
	var answer *AnswerError
	if err := c.Kill(t.Context(), "../x y"); !errors.As(err, &answer) || answer.Status != 404 || answer.Hint == "" {
		t.Errorf("a run that is not there: %v", err)
	}
}

// TestOperate: every act arrives as it was asked for, with who asked by the
// kernel's word, and how it ended is told.
func TestOperate(t *testing.T) {
	d := newDaemon()
	_, dir, _ := serve(t, Options{Source: d, Controller: d})
	c := client(t, dir)
	want := []Act{
		{Verb: Rollback, Command: "db.backup", Reason: "it is slow & late\n100%"},
		{Verb: Rollback, Command: "db.backup", To: "1.0.0+x"},
		{Verb: Rollback, To: "7"},
		{Verb: Release, Command: "db.backup"},
		{Verb: SetFloor, Command: "db.backup", To: "2.0.0", Reason: strings.Repeat("é", 500)},
	}
	for i, a := range want {
		res, err := c.Operate(t.Context(), a)
		if err != nil || res.Generation != 8 || len(res.Moved) != 1 || res.Moved[0].Reason != a.String() {
			t.Errorf("%v: %+v, %v", a, res, err)
			continue
		}
		if d.acts[i] != a {
			t.Errorf("%+v arrived as %+v", a, d.acts[i])
		}
		if by := d.actors[i].Peer; by == nil || by.UID != uint32(os.Geteuid()) || by.GID != uint32(os.Getegid()) || by.PID != int32(os.Getpid()) {
			t.Errorf("asked by %+v", by)
		}
	}
	if _, err := c.Operate(t.Context(), Act{Verb: SetFloor, Command: "a", To: "1.0.0", Reason: strings.Repeat("é", 600)}); err != nil || len(d.acts[5].Reason) > maxReason || !strings.HasSuffix(d.acts[5].Reason, "é...") {
		t.Errorf("a long reason: %q, %v", d.acts[5].Reason, err)
	}
	for path, status := range map[string]int{
		"/v1/rollback": 400, "/v1/rollback?generation=x": 400, "/v1/rollback?generation=07": 400, "/v1/commands/a/floor": 400, "/v1/commands/a/release?to=1": 400,
		"/v1/commands/a/rollback?reason=" + strings.Repeat("x", maxReason+1): 400, "/v1/commands/a/hold": 404,
	} {
		resp, err := c.do(t.Context(), "POST", path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%.40s: %s, want %d", path, resp.Status, status)
		}
	}
	resp, err := c.do(t.Context(), "POST", "/v1/commands/a/release", http.Header{"If-Match": {etag(6)}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 412 || len(d.acts) != 6 {
		t.Errorf("with another generation: %s, %d acts", resp.Status, len(d.acts))
	}
	var answer *AnswerError
	for status, err := range map[int]error{409: &ActError{Status: 409, Err: errors.New("below the floor"), Hint: "sbx history a"}, 500: errors.New("disk on fire")} {
		d.err = err
		if _, err := c.Operate(t.Context(), want[0]); !errors.As(err, &answer) || answer.Status != status || err.Error() != d.err.Error() {
			t.Errorf("%v: %v", d.err, err)
		}
	}
}

func TestHealth(t *testing.T) {
	d := newDaemon()
	_, dir, _ := serve(t, Options{Source: d, Controller: d})
	c := client(t, dir)
	for name, tt := range map[string]struct {
		change         func(*Status)
		healthy, ready bool
	}{
		"well":     {func(*Status) {}, true, true},
		"loading":  {func(s *Status) { s.Ready = false }, true, false},
		"draining": {func(s *Status) { s.Draining = true }, true, false},
		"no room":  {func(s *Status) { s.Ready, s.Audit.Error = false, "no space left on device" }, true, false},
		"no audit": {func(s *Status) { s.Ready, s.Audit = false, Audit{Error: "input/output error", Lasting: true} }, false, false},
	} {
		d.status = newDaemon().status
		tt.change(&d.status)
		for path, want := range map[string]bool{"/-/healthy": tt.healthy, "/-/ready": tt.ready} {
			var h Health
			err := c.Get(t.Context(), path, &h)
			if err != nil || h.OK != want || (h.Reason == "") != want || !want && d.status.Audit.Error != "" && h.Reason != "audit log: "+d.status.Audit.Error {
				t.Errorf("%s: %s: %+v, %v", name, path, h, err)
			}
		}
	}
}

// TestSlowClients: requests that never end are ended, whatever they hold back.
func TestSlowClients(t *testing.T) {
	_, dir, address := serve(t, Options{})
	conns := map[string]net.Conn{}
	for name, text := range map[string]string{"nothing": "", "half a header": "GET /-/healthy HTTP/1.1\r\nHost: ", "no HTTP": "\x00\x01\x02\r\n\r\n"} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, text)
		conns[name] = c
	}
	for name, c := range conns {
		c.SetReadDeadline(time.Now().Add(headerTimeout + patience))
		if b, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: still connected, got %q", name, b)
		}
	}
	var h Health
	if err := client(t, dir).Get(t.Context(), "/-/healthy", &h); err != nil || !h.OK {
		t.Errorf("others are not answered: %+v, %v", h, err)
	}
}

// TestServerSentEvents: the form that a browser reads.
func TestServerSentEvents(t *testing.T) {
	hub := NewHub()
	_, dir, _ := serve(t, Options{Events: hub})
	c := client(t, dir)
	hub.Publish(Event{Kind: RunRefused, Reason: "line\nline\u2028"})
	resp, err := c.do(t.Context(), "GET", "/v1/events?since=0", http.Header{"Accept": {"text/event-stream"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type %q", got)
	}
	r := bufio.NewReader(resp.Body)
	id, _ := r.ReadString('\n')
	data, _ := r.ReadString('\n')
	end, err := r.ReadString('\n')
	if err != nil || !strings.HasPrefix(id, "id: ") || !strings.HasPrefix(data, "data: {") || end != "\n" {
		t.Errorf("%q %q %q, %v", id, data, end, err)
	}
}
