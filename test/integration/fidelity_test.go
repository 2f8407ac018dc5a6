package integration

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestArguments: arguments arrive byte for byte.
func TestArguments(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.bundle(t, "tool", bin+"/act", "")
		many := make([]string, 5000)
		for i := range many {
			many[i] = fmt.Sprint("argument ", i)
		}
		big := make([]string, 10)
		for i := range big {
			big[i] = strings.Repeat(string(rune('a'+i)), 120_000)
		}
		every := make([]byte, 255)
		for i := range every {
			every[i] = byte(i + 1)
		}
		for _, tt := range []struct {
			name string
			args []string
		}{
			{"none", nil},
			{"empty", []string{"", "", "x", ""}},
			{"newline and quotes", []string{"a\nb", `"`, `'`, "`id`", "$(id)", "a b", "*", `\`, "\t"}},
			{"dashes", []string{"--", "-", "--help", "-q", "--registry", "/x", "--"}},
			{"invalid UTF-8", []string{"\xff\xfe", "\x80", "a\xc3"}},
			{"every byte", []string{string(every)}},
			{"1.2 MB in ten", big},
			{"5000", many},
		} {
			t.Run(tt.name, func(t *testing.T) {
				want := describeArgs(tt.args)
				for _, c := range []call{
					h.act("", append([]string{"args"}, tt.args...)...),
					{verb: "run", flags: []string{"--registry", h.path("registry")}, words: append([]string{"tool", "args"}, tt.args...)},
				} {
					r := h.run(t, c)
					wantEnd(t, r, 0, "ok")
					if r.stdout != want {
						t.Errorf("%s: got %q, want %q", c.verb, r.stdout, want)
					}
				}
			})
		}
	})
}

// TestInput: binary input and its end arrive, output is byte for byte.
func TestInput(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		data := make([]byte, 3<<20+17)
		rng := rand.NewChaCha8([32]byte{1})
		rng.Read(data)
		c := h.act("", "sum")
		c.stdin = strings.NewReader(string(data))
		r := h.run(t, c)
		wantEnd(t, r, 0, "ok")
		if want := fmt.Sprintf("%d %x\n", len(data), sha256.Sum256(data)); r.stdout != want {
			t.Errorf("got %q, want %q", r.stdout, want)
		}
		c = h.act("", "echo")
		c.stdin = strings.NewReader(string(data))
		r = h.run(t, c)
		wantEnd(t, r, 0, "ok")
		if r.stdout != string(data) {
			t.Errorf("%d bytes came back, want the same %d", len(r.stdout), len(data))
		}
		// A reader that goes early: the workload dies by SIGPIPE or sees
		// the error, sbx does not hang.
		r = h.run(t, h.act("", "sum"))
		wantEnd(t, r, 0, "ok")
	})
}

// TestClosedDescriptors: with 0 or 1 closed nothing else takes their place.
func TestClosedDescriptors(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		for _, fd := range []string{"0", "1", "2"} {
			t.Run(fd, func(t *testing.T) {
				c := h.act("", "probe")
				c.wrap = []string{"close=" + fd}
				if fd == "1" {
					c.words = []string{bin + "/act", "exit", "5"}
				}
				r := h.run(t, c)
				if fd == "1" {
					wantEnd(t, r, 5, "exit")
					return
				}
				wantEnd(t, r, 0, "ok")
				s := probed(t, r)
				if !slices.Equal(s.FDs, []string{"0", "1", "2"}) {
					// The Go runtime of the workload opens /dev/null where
					// one of the three is closed.
					t.Errorf("descriptors %q", s.FDs)
				}
			})
		}
		// The file of --result must not become the workload's output.
		c := h.act("", "args", "leak")
		c.wrap = []string{"close=0", "close=1", "close=2"}
		r := h.run(t, c)
		if r.report == nil {
			t.Errorf("no report\n%s", r)
		}
	})
}

// TestDaemonised: a grandchild in a session of its own neither outlives the
// run nor holds its output open.
func TestDaemonised(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		family := h.policy(t, "family", "filesystem: {read: [BIN], exec: [ACT]}\n")
		r := h.run(t, h.act(family, "daemon", "1m"))
		wantEnd(t, r, 0, "ok")
		if !strings.Contains(r.stdout, "main done") || r.took > slow(2*time.Second) {
			t.Errorf("output or time\n%s", r)
		}
		nothingLeft(t, time.Second)
	})
}

// TestTerminal: on a terminal at 0 the run may ask for its settings and size
// and read it, has no controlling terminal, and cannot put input into it.
func TestTerminal(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "act", bin+"/act", "")
		h.serve(t)
		for _, tt := range []struct {
			name, via string
			call      call
		}{
			{"exec", "direct", h.act("", "tty")},
			{"run", "direct", h.both(true, call{words: []string{"act", "tty"}})},
			{"run by the daemon", "daemon", h.both(false, call{words: []string{"act", "tty"}})},
		} {
			t.Run(tt.name, func(t *testing.T) {
				c := tt.call
				c.stdin = typed(t)
				c.attr.Setsid, c.attr.Setctty, c.attr.Ctty = true, true, 0
				r := h.run(t, c)
				wantEnd(t, r, 0, "ok")
				want := "TCGETS true\nTIOCGWINSZ true\n/dev/tty false\nread \"typed\\n\" true\n"
				if r.stdout != want || r.report.Via != tt.via {
					t.Errorf("via %q: got %q, want %q", r.report.Via, r.stdout, want)
				}
			})
		}
	})
}

// typed is a terminal on which "typed" was typed.
func typed(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	if _, err := master.WriteString("typed\n"); err != nil {
		t.Fatal(err)
	}
	return terminal
}

// TestEmptyArguments: called without any argument vector sbx says so.
func TestEmptyArguments(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		r := h.run(t, call{plain: true, wrap: []string{"empty"}, words: []string{"x"}})
		if r.status != 125 || !strings.HasPrefix(r.stderr, "sbx: ") {
			t.Errorf("want 125 and words\n%s", r)
		}
	})
}

// TestNested: inside a run there is no second one: making its namespaces is
// a violation of the outer run, however the inner sbx was reached.
func TestNested(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		p := h.policy(t, "nested", "filesystem: {read: [BIN], exec: [BIN, view]}\n")
		r := h.run(t, call{flags: []string{"--policy", p}, words: []string{bin + "/sbx", "exec", "--", bin + "/act", "exit", "0"}})
		wantEnd(t, r, 159, "violation")
		if v := r.report.Violations[0].Syscall; v != "clone3" && v != "clone" && v != "unshare" && v != "mount" {
			t.Logf("the inner sbx was ended at %s", v)
		}
		nothingLeft(t, time.Second)
	})
}
