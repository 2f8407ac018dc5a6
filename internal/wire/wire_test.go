package wire

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/runner"
)

func request() *Request {
	return &Request{
		Version: Version, Build: "dev", Words: []string{"db", "backup", "--x", "\xff"}, Builtin: true, Expect: "1.0.0",
		Limits: []string{"pids_max=3"}, Timeout: time.Second, Chdir: "/tmp", Usage: true, Environ: []string{"A=1", ""}, Env: []string{"B=2"}, Cwd: "/home/u",
		Secrets: []Secret{{FD: 3, Value: "a\x00\xffb\n"}, {FD: 4, Err: "no"}},
	}
}

func TestRequest(t *testing.T) {
	want := request()
	for i, v := 0, reflect.ValueOf(*want); i < v.NumField(); i++ {
		switch v.Type().Field(i).Name {
		case "Unlaunched", "Laid": // of a launch by the caller's own process
			continue
		}
		if v.Field(i).IsZero() {
			t.Fatalf("%s is zero: the test would not see it lost", v.Type().Field(i).Name)
		}
	}
	got, err := DecodeRequest(want.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got) %s", d)
	}
}

// TestRequestRefused: what is not exactly a request is none.
func TestRequestRefused(t *testing.T) {
	good := request().Encode()
	if _, err := DecodeRequest(append(good[:len(good):len(good)], 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a byte too many: %v", err)
	}
	for n := range good {
		if n >= 8 { // below, there is no version yet
			if _, err := DecodeRequest(good[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("the first %d of %d bytes: %v", n, len(good), err)
			}
		}
	}
	for name, change := range map[string]func(*Request){
		"no words":                   func(r *Request) { r.Words = nil },
		"an empty name":              func(r *Request) { r.Words[0] = "" },
		"NUL in a word":              func(r *Request) { r.Words[1] = "a\x00b" },
		"NUL in chdir":               func(r *Request) { r.Chdir = "/\x00" },
		"NUL in environ":             func(r *Request) { r.Environ[0] = "A=\x00" },
		"negative time":              func(r *Request) { r.Timeout = -1 },
		"too many words":             func(r *Request) { r.Words = make([]string, maxItems+1); r.Words[0] = "a" },
		"NUL in a limit":             func(r *Request) { r.Limits[0] = "\x00" },
		"NUL in the cwd":             func(r *Request) { r.Cwd = "\x00" },
		"NUL in --env":               func(r *Request) { r.Env[0] = "B=\x00" },
		"NUL in --expect":            func(r *Request) { r.Expect = "\x00" },
		"a negative descriptor":      func(r *Request) { r.Secrets[0].FD = -1 },
		"a secret that is too large": func(r *Request) { r.Secrets[0].Value = strings.Repeat("x", MaxSecret+1) },
		"a reason that is too large": func(r *Request) { r.Secrets[0].Err = strings.Repeat("x", maxSecretErr+1) },
		"too many secrets":           func(r *Request) { r.Secrets = make([]Secret, maxItems+1) },
	} {
		r := request()
		change(r)
		if _, err := DecodeRequest(r.Encode()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want %v", name, err, ErrMalformed)
		}
	}
	r := request()
	r.Version = Version + 1
	got, err := DecodeRequest(r.Encode())
	if d := cmp.Diff(&Request{Version: Version + 1}, got); err != nil || d != "" {
		t.Errorf("another version: %v (-want +got) %s", err, d)
	}
}

func TestNeed(t *testing.T) {
	want := &Need{Cwd: true, Access: plan.AccessWrite, Paths: []Path{{"out", plan.AccessCreate, "a/b"}, {"in", plan.AccessRead, "/c"}}}
	got, err := DecodeNeed(want.Encode())
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got) %s", err, d)
	}
	if _, err := DecodeNeed((&Need{Paths: make([]Path, MaxPaths+1)}).Encode()); !errors.Is(err, ErrMalformed) {
		t.Errorf("%d paths: %v", MaxPaths+1, err)
	}
}

func TestWanted(t *testing.T) {
	want := Wanted{{FD: 3, Limit: MaxSecret}, {FD: 0, Limit: 1}}
	got, err := DecodeWanted(want.Encode())
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got) %s", err, d)
	}
	for name, bad := range map[string]Wanted{
		"none": {}, "negative": {{FD: -1}}, "a negative bound": {{Limit: -1}}, "too much": {{Limit: MaxSecret + 1}}, "too many": make(Wanted, maxItems+1),
	} {
		if _, err := DecodeWanted(bad.Encode()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s := NewSecret(3, "part", errors.New(strings.Repeat("e", 9999))); s.Value != "" || len(s.Err) != maxSecretErr {
		t.Errorf("a reason of %d bytes beside the value %q", len(s.Err), s.Value)
	}
}

func TestReport(t *testing.T) {
	want := &runner.Report{
		ExitCode: 159, Signal: 9, Outcome: runner.Violation, Step: "s", Err: errors.New("e"), Hint: "h", Run: "r", Command: "c", Version: "1.2.3",
		Revision: "sha256:1", Generation: 7, Via: "daemon", Counted: true, Layers: []runner.Layer{{Name: "userns", State: runner.Degraded, Why: "w"}},
		Violations: []runner.Call{{Kind: "syscall", Syscall: "ptrace", NR: -1, Arch: "x86_64", Args: [6]uint64{1, 2, 3, 4, 5, ^uint64(0)}, PID: 2, Comm: "x", Path: "/p", Address: "a", Rule: "r", AllowWith: "w"}},
		Usage:      runner.Usage{Wall: 1, CPUUser: 2, CPUSys: 3, MemPeak: 4, MaxRSS: 5, PidsPeak: 6, IORead: 7, IOWrite: 8, CtxSwitches: 9},
		Changes:    []string{"/srv"}, RevertedTo: "1.2.2", Stale: true,
	}
	for i, v := 0, reflect.ValueOf(*want); i < v.NumField(); i++ {
		switch v.Type().Field(i).Name {
		case "Unlaunched", "Laid": // of a launch by the caller's own process
			continue
		}
		if v.Field(i).IsZero() {
			t.Fatalf("%s is zero: the test would not see it lost", v.Type().Field(i).Name)
		}
	}
	got, err := DecodeReport(EncodeReport(want))
	if err != nil {
		t.Fatal(err)
	}
	if got.Err == nil || got.Err.Error() != "e" {
		t.Errorf("error %v", got.Err)
	}
	got.Err, got.Stale = want.Err, true // Stale is between runner and launcher
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b error) bool { return a.Error() == b.Error() })); d != "" {
		t.Errorf("(-want +got) %s", d)
	}
	if string(got.JSON()) != string(want.JSON()) {
		t.Error("the report reads differently after its journey")
	}
	long := &runner.Report{Hint: strings.Repeat("x", maxText+1), Changes: []string{strings.Repeat("y", maxText+1)}}
	if got, err = DecodeReport(EncodeReport(long)); err != nil || len(got.Hint) != maxText || len(long.Hint) != maxText+1 || len(long.Changes[0]) != maxText+1 {
		t.Errorf("long texts: %v, %d bytes; the original has %d", err, len(got.Hint), len(long.Hint))
	}
}

// pair is two ends of a connection.
func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	soon := unix.Timeval{Sec: 5}
	for _, fd := range fds {
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &soon)
		t.Cleanup(func() { unix.Close(fd) })
	}
	return &Conn{FD: fds[0]}, &Conn{FD: fds[1]}
}

// openFiles counts this process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestConn(t *testing.T) {
	for _, size := range []int{0, 1, Packet - 1, Packet, Packet + 1, 5*Packet + 3, MaxBody} {
		a, b := pair(t)
		body := []byte(strings.Repeat("0123456789", size/10+1))[:size]
		sent := make(chan error, 1)
		go func() { sent <- a.Send(TypeRequest, body, 0, 1, 2) }()
		typ, got, fds, err := b.Receive(3)
		CloseAll(fds)
		if err != nil || <-sent != nil || typ != TypeRequest || string(got) != string(body) || len(fds) != 3 {
			t.Errorf("%d bytes: type %d, %d bytes, %d descriptors, %v", size, typ, len(got), len(fds), err)
		}
	}
	a, _ := pair(t)
	if err := a.Send(TypeRequest, make([]byte, MaxBody+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large to send: %v", err)
	}
}

// TestConnRefuses: what is broken in itself is an error, and every descriptor
// that came with it is closed.
func TestConnRefuses(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	many := func(n int) []int {
		fds := make([]int, n)
		for i := range fds {
			fds[i] = int(null.Fd())
		}
		return fds
	}
	type part struct {
		bytes string
		fds   []int
	}
	first, more, other := string([]byte{byte(TypeRequest), 0}), string([]byte{byte(TypeRequest), 1}), string([]byte{byte(TypeNeed), 0})
	for _, tt := range []struct {
		name  string
		parts []part
		want  error
	}{
		{"one byte", []part{{first[:1], nil}}, ErrMalformed},
		{"a flag that is none", []part{{string([]byte{byte(TypeRequest), 2}), nil}}, ErrMalformed},
		{"more of nothing", []part{{more, nil}}, ErrMalformed},
		{"another type follows", []part{{more + "x", nil}, {other + "x", nil}}, ErrMalformed},
		{"descriptors follow", []part{{more + "x", nil}, {first + "x", many(1)}}, ErrMalformed},
		{"five descriptors", []part{{first, many(5)}}, ErrMalformed},
		{"200 descriptors", []part{{first, many(200)}}, ErrMalformed},
		{"too large", []part{{more + strings.Repeat("x", 600), many(2)}, {more + strings.Repeat("x", 600), nil}}, ErrTooLarge},
		{"a packet that is too long", []part{{first + strings.Repeat("x", Packet+1), many(1)}}, ErrMalformed},
		{"the end in the middle", []part{{more + "x", many(1)}, {"", nil}}, ErrEnd},
		{"nothing", []part{{"", nil}}, ErrEnd},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := pair(t)
			b.Limit = 1000
			if strings.HasPrefix(tt.name, "a packet") {
				b.Limit = 0
			}
			before := openFiles(t)
			for _, p := range tt.parts {
				var rights []byte
				if p.fds != nil {
					rights = unix.UnixRights(p.fds...)
				}
				if err := unix.Sendmsg(a.FD, []byte(p.bytes), rights, nil, 0); err != nil {
					t.Fatal(err)
				}
			}
			_, body, fds, err := b.Receive(4)
			if !errors.Is(err, tt.want) || body != nil || fds != nil {
				t.Errorf("%v, %d bytes, %d descriptors; want %v", err, len(body), len(fds), tt.want)
			}
			if after := openFiles(t); after != before {
				t.Errorf("%d descriptors more than before", after-before)
			}
		})
	}
	a, b := pair(t)
	unix.Shutdown(a.FD, unix.SHUT_WR)
	if _, _, _, err := b.Receive(0); !errors.Is(err, ErrEnd) {
		t.Errorf("after the end: %v", err)
	}
	unix.Shutdown(b.FD, unix.SHUT_RD)
	if err := a.Send(TypeSignal, []byte{1}); !errors.Is(err, ErrEnd) {
		t.Errorf("sending to nobody: %v", err)
	}
}
