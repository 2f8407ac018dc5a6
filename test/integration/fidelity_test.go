package integration

import (
	"crypto/sha256"
	"encoding/json"
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

func probed(t testing.TB, r result) surroundings {
	t.Helper()
	var s surroundings
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		t.Fatalf("%v\n%s", err, r)
	}
	return s
}

// TestSurroundings: what a workload sees of itself and of its caller.
func TestSurroundings(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		c := h.act("", "probe")
		c.env = []string{"SECRET_OF_CALLER=canary", "LC_ALL=C", "LD_LIBRARY_PATH=/canary", "TZ=UTC"}
		c.wrap = []string{"umask=000", "open=9", "open=77", "open=1500", "ignore=USR1", "ignore=PIPE", "block=TERM", "block=USR2"}
		r := h.run(t, c)
		wantEnd(t, r, 0, "ok")
		s := probed(t, r)
		if s.PID != 2 || s.PPID != 1 {
			t.Errorf("pid %d below %d, want 2 below 1", s.PID, s.PPID)
		}
		if s.SID != 2 && s.SID != 1 {
			t.Errorf("session %d, want one of its own", s.SID)
		}
		if s.UID != 1000 || s.GID != 1000 {
			t.Errorf("ids %d:%d, want 1000:1000", s.UID, s.GID)
		}
		if s.Umask != 0o022 {
			t.Errorf("umask %o, want 022", s.Umask)
		}
		if !slices.Equal(s.FDs, []string{"0", "1", "2"}) {
			t.Errorf("descriptors %q, want 0 1 2", s.FDs)
		}
		slices.Sort(s.Env)
		want := []string{"HOME=/tmp", "LANG=C.UTF-8", "LC_ALL=C", "LOGNAME=sbx", "PATH=/usr/local/bin:/usr/bin:/bin", "TZ=UTC", "USER=sbx"}
		if !slices.Equal(s.Env, want) {
			t.Errorf("environment %q, want %q", s.Env, want)
		}
		if strings.Contains(s.Init, "canary") || strings.Contains(s.Init, "policy") || strings.Contains(s.Init, "SBX_STATE") {
			t.Errorf("init shows %q", s.Init)
		}
		if s.Processes > 2 {
			t.Errorf("%d processes in /proc, want at most 2", s.Processes)
		}
		if host, _ := os.Hostname(); s.Host == host {
			t.Errorf("host name %q is the host's", s.Host)
		}
		for key, want := range map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0000000000000000", "CapPrm": "0000000000000000",
			"CapInh": "0000000000000000", "CapBnd": "0000000000000000", "CapAmb": "0000000000000000"} {
			if s.Status[key] != want {
				t.Errorf("%s is %q, want %q", key, s.Status[key], want)
			}
		}
	})
}

// TestSignalState: ignored and blocked signals are not inherited. The Go
// runtime of our own workload would hide it.
func TestSignalState(t *testing.T) {
	needPrograms(t, "/usr/bin/grep")
	each(t, func(t *testing.T, h *host) {
		r := h.run(t, call{
			words: []string{"/usr/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"},
			wrap:  []string{"ignore=USR1", "ignore=TERM", "ignore=HUP", "ignore=PIPE", "block=TERM", "block=INT", "block=USR2"},
		})
		wantEnd(t, r, 0, "ok")
		for _, want := range []string{"SigBlk:\t0000000000000000\n", "SigIgn:\t0000000000000000\n"} {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("want %q in %q", want, r.stdout)
			}
		}
	})
}

// TestEnvironment: only names that the policy passes can be given.
func TestEnvironment(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		p := h.policy(t, "env", "env: {pass: [COLOUR, \"APP_*\"], set: {FIXED: own}}\n")
		has := func(r result, want string) bool { return slices.Contains(probed(t, r).Env, want) }
		c := h.act(p, "probe")
		c.env, c.flags = []string{"COLOUR=red", "APP_X=a", "FIXED=other"}, append(c.flags, "--env", "APP_Y=from flag", "--env=COLOUR=blue")
		r := h.run(t, c)
		wantEnd(t, r, 0, "ok")
		for _, want := range []string{"COLOUR=blue", "APP_X=a", "APP_Y=from flag", "FIXED=own"} {
			if !has(r, want) {
				t.Errorf("no %q in %q", want, probed(t, r).Env)
			}
		}
		for _, env := range []string{"PATH=/x", "FIXED=x", "LD_PRELOAD=/x", "OTHER=x"} {
			c := h.act(p, "probe")
			c.flags = append(c.flags, "--env", env)
			r := h.run(t, c)
			wantEnd(t, r, 125, r.report.Outcome)
			if name, _, _ := strings.Cut(env, "="); !strings.Contains(r.stderr, name) {
				t.Errorf("%q is not named\n%s", name, r)
			}
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

// TestRemovedDirectory: a working directory that is gone stops only what
// needs one.
func TestRemovedDirectory(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		c := h.act("", "probe")
		c.wrap = []string{"gone"}
		c.env = []string{"TMPDIR=" + h.path("home")}
		r := h.run(t, c)
		wantEnd(t, r, 0, "ok")
		if s := probed(t, r); s.Cwd != "/tmp" {
			t.Errorf("started in %q, want /tmp", s.Cwd)
		}
		here := h.policy(t, "here", "filesystem: {read: [\"{{cwd}}\"]}\n")
		c = h.act(here, "probe")
		c.wrap = []string{"gone"}
		c.env = []string{"TMPDIR=" + h.path("home")}
		r = h.run(t, c)
		wantEnd(t, r, 126, "refused")
	})
}

// TestWorkingDirectory: {{cwd}} is refused where it would show too much, else
// the run starts in it.
func TestWorkingDirectory(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		here := h.policy(t, "here", "filesystem: {read: [\"{{cwd}}\"]}\n")
		h.bundle(t, "tool", bin+"/act", "filesystem: {read: [\"{{cwd}}\"]}")
		for _, tt := range []struct {
			name, dir string
			status    int
		}{
			{"ordinary", h.work(), 0},
			{"root directory", "/", 126},
			{"top level", "/usr", 126},
			{"home itself", h.path("home"), 126},
			{"holds the state", h.base, 126},
			{"is the state", h.path("state"), 126},
			{"is the registry", h.path("registry"), 126},
		} {
			t.Run(tt.name, func(t *testing.T) {
				for _, c := range []call{
					h.act(here, "probe"),
					{verb: "run", flags: []string{"--registry", h.path("registry")}, words: []string{"tool", "probe"}},
				} {
					c.dir = tt.dir
					if tt.name == "is the registry" && c.verb == "" {
						continue // sbx exec has none
					}
					r := h.run(t, c)
					if tt.status == 0 {
						wantEnd(t, r, 0, "ok")
						if s := probed(t, r); s.Cwd != tt.dir {
							t.Errorf("started in %q, want %q", s.Cwd, tt.dir)
						}
						continue
					}
					wantEnd(t, r, tt.status, "refused")
					if !strings.Contains(r.stderr, "hint: ") {
						t.Errorf("no hint\n%s", r)
					}
				}
			})
		}
		c := h.act("", "probe")
		c.flags = append(c.flags, "--chdir", "/usr")
		r := h.run(t, c)
		wantEnd(t, r, 0, "ok")
		if s := probed(t, r); s.Cwd != "/usr" {
			t.Errorf("started in %q, want /usr", s.Cwd)
		}
	})
}

// TestTerminal: on a terminal at 0 the run may ask for its settings and size
// and read it, has no controlling terminal, and cannot put input into it.
func TestTerminal(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
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
		defer terminal.Close()
		if _, err := master.WriteString("typed\n"); err != nil {
			t.Fatal(err)
		}
		c := h.act("", "tty")
		c.stdin = terminal
		c.attr.Setsid, c.attr.Setctty, c.attr.Ctty = true, true, 0
		r := h.run(t, c)
		wantEnd(t, r, 0, "ok")
		want := "TCGETS true\nTIOCGWINSZ true\n/dev/tty false\nread \"typed\\n\" true\n"
		if r.stdout != want {
			t.Errorf("got %q, want %q", r.stdout, want)
		}
	})
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
