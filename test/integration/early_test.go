package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// earlyCaller is a caller whose registered command has an image (internal/early).
type earlyCaller struct {
	*host
	t testing.TB
}

// The word that the command's policy sets, and what marked makes of it in the
// image: a workload that sees the latter was launched from there.
const planned, marked = "WHICH=by-the-plan", "WHICH=by-an-image"

// setsWhich is the policy of a tool that needs no other.
const setsWhich = "env: {set: {WHICH: by-the-plan}}\n"

// early makes the command "tool" and runs it until there is an image of the
// call, which it marks.
func early(t testing.TB, h *host, extra, policy string) *earlyCaller {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("no run is launched early on " + runtime.GOARCH)
	}
	e := &earlyCaller{h, t}
	if policy == "" {
		policy = setsWhich
	}
	h.revision(t, "tool", "1.0.0", extra, policy)
	e.prime()
	return e
}

// prime runs the command until there is an image, and marks it.
func (e *earlyCaller) prime() {
	e.t.Helper()
	for range 2 {
		if r := e.run(e.t, e.call("exit", "0")); r.status != 0 {
			e.t.Fatal(r)
		}
	}
	e.mark()
	if !e.launchedEarly(e.call("probe")) {
		e.t.Fatal("the image is not used")
	}
}

func (e *earlyCaller) call(words ...string) call {
	return call{verb: "run", plain: true, flags: []string{"--registry", e.path("registry")}, words: append([]string{"tool"}, words...)}
}

// image is the path of the one image that there is.
func (e *earlyCaller) image() string {
	e.t.Helper()
	found, err := filepath.Glob(e.path("state/launch/*"))
	if err != nil || len(found) != 1 {
		e.t.Fatalf("images %q: %v, want one", found, err)
	}
	return found[0]
}

func (e *earlyCaller) mark() {
	e.t.Helper()
	text, err := os.ReadFile(e.image())
	if err != nil {
		e.t.Fatal(err)
	}
	// What ends with NUL is what is carried out; the plan in the image is for
	// who takes the run over, and has a checksum.
	changed := bytes.ReplaceAll(text, []byte(planned+"\x00"), []byte(marked+"\x00"))
	if !bytes.Contains(changed, []byte(marked)) {
		e.t.Fatalf("%s has no %q", e.image(), planned)
	}
	if err := os.WriteFile(e.image(), changed, 0); err != nil {
		e.t.Fatal(err)
	}
}

// launchedEarly tells whether a run of "probe" came from the marked image.
func (e *earlyCaller) launchedEarly(c call) bool {
	e.t.Helper()
	r := e.run(e.t, c)
	var s surroundings
	if err := json.Unmarshal([]byte(r.stdout), &s); r.status != 0 || err != nil {
		e.t.Fatalf("%v\n%s", err, r)
	}
	for _, kv := range s.Env {
		switch kv {
		case planned:
			return false
		case marked:
			return true
		}
	}
	e.t.Fatalf("environment %q", s.Env)
	return false
}

// TestEarlySame: an early run gives its workload what the long way gives it, and
// ends as it does.
func TestEarlySame(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		e := early(t, h, "on_violation: kill\n", "env: {set: {WHICH: by-the-plan}, pass: [LANG, \"GIVEN_*\"]}\nlimits: {timeout: 20s}\n")
		long := func(c call) call {
			c.flags = append([]string{"--timeout", "19s"}, c.flags...) // no image is for that
			return c
		}
		t.Run("surroundings", func(t *testing.T) {
			seen := func(c call) surroundings {
				c.env = []string{"LANG=C", "GIVEN_A=1", "GIVEN_A=2", "GIVEN=no"}
				var s surroundings
				r := e.run(t, c)
				if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
					t.Fatalf("%v\n%s", err, r)
				}
				for _, changes := range []string{"VmPeak", "VmSize", "VmHWM", "VmRSS", "RssAnon", "RssFile", "RssShmem", "VmData", "VmPTE", "VmLib", "VmExe", "State", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches", "Threads", "Cpus_allowed", "Cpus_allowed_list"} {
					delete(s.Status, changes)
				}
				s.Init = strings.Trim(s.Init, "\x00") // as long as the arguments of sbx
				return s
			}
			a, b := seen(e.call("probe")), seen(long(e.call("probe")))
			as, bs := fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b)
			if strings.Replace(as, marked, planned, 1) != bs {
				t.Errorf("early: %s\nlong:  %s", as, bs)
			}
		})
		many := make([]string, 5000)
		for i := range many {
			many[i] = fmt.Sprint("argument ", i)
		}
		big := make([]string, 10)
		for i := range big {
			big[i] = strings.Repeat(string(rune('a'+i)), 120_000)
		}
		for _, tt := range []struct {
			name  string
			words []string
			stdin string
		}{
			{"ok", []string{"exit", "0"}, ""},
			{"status", []string{"exit", "200"}, ""},
			{"signal", []string{"die", "TERM"}, ""},
			{"killed", []string{"die", "KILL"}, ""},
			{"no arguments", []string{"args"}, ""},
			{"odd arguments", []string{"args", "", "\n", "-q", "--", "--direct", "'\"\\", "\xff\xfe", " "}, ""},
			{"many arguments", append([]string{"args"}, many...), ""},
			{"large arguments", append([]string{"args"}, big...), ""},
			{"stdin", []string{"echo"}, "binary \x00\xff\n" + strings.Repeat("x", 300_000)},
			{"output", []string{"write", "/tmp/file", "text"}, ""},
			{"violation", []string{"forbid"}, ""},
			{"violation of a child", []string{"forbid-child"}, ""},
			{"violation of a thread", []string{"forbid-thread"}, ""},
			{"foreign ABI", []string{"x32"}, ""},
			{"longer than the patience", []string{"sleep", "60ms"}, ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				c := e.call(tt.words...)
				c.env = []string{"LANG=C", "GIVEN_A=1", "GIVEN_A=2", "GIVEN=no", "OTHER=no", "=odd", "NOVALUE"}
				e.prime() // a violation changes what is in force
				one, two := c, long(c)
				one.stdin, two.stdin = strings.NewReader(tt.stdin), strings.NewReader(tt.stdin)
				a, b := e.run(t, one), e.run(t, two)
				if a.status != b.status || a.stdout != b.stdout || withoutNumbers(a.stderr) != withoutNumbers(b.stderr) {
					t.Errorf("early: %s\nlong: %s", a, b)
				}
			})
		}
		nothingLeft(t, time.Second)
	})
}

// withoutNumbers leaves addresses and numbers out, which differ between runs.
func withoutNumbers(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("0123456789abcdefx", r) {
			return -1
		}
		return r
	}, s)
}

// TestEarlyGuards: whatever the way to a plan depends on, a change of it leads to
// the long way.
func TestEarlyGuards(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		e := early(t, h, "", "")
		manifest := e.path("registry/tool.yaml")
		touch := func(path string) {
			now := time.Now()
			if err := os.Chtimes(path, now, now); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct {
			name string
			do   func(c *call) (undo func())
			// keeps: the image is good for the calls after it.
			keeps bool
		}{
			{"nothing", func(c *call) func() { return nil }, true},
			{"manifest", func(c *call) func() { touch(manifest); return nil }, false},
			{"program", func(c *call) func() { touch(bin + "/act"); return nil }, false},
			{"working directory", func(c *call) func() { c.dir = e.mkdir(t, "elsewhere"); return nil }, true},
			{"HOME", func(c *call) func() { c.env = append(c.env, "HOME="+e.path("work")); return nil }, true},
			{"SBX_RUNTIME", func(c *call) func() { c.env = append(c.env, "SBX_RUNTIME="+e.path("work")); return nil }, true},
			{"a pending change", func(c *call) func() {
				for _, dir := range keyDirs(t, e.host) {
					os.WriteFile(dir+"/pending", nil, 0o600)
					os.Chown(dir+"/pending", e.uid, e.uid)
				}
				return nil
			}, false},
			{"ends of children ignored", func(c *call) func() { c.wrap = []string{"ignore=CHLD"}; return nil }, true},
			{"no Landlock", func(c *call) func() { c.wrap = []string{"no-landlock"}; return nil }, false},
			{"blocked signals", func(c *call) func() { c.wrap = []string{"block=USR1"}; return nil }, true},
			{"local stream as stdin", func(c *call) func() {
				pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				a, b := os.NewFile(uintptr(pair[0]), "a"), os.NewFile(uintptr(pair[1]), "b")
				c.stdin = a
				return func() { a.Close(); b.Close() }
			}, true},
			{"image of somebody else", func(c *call) func() {
				if os.Geteuid() != 0 {
					return nil
				}
				path := e.image()
				os.Chown(path, 4242, 4242)
				return func() { os.Chown(path, e.uid, e.uid) }
			}, os.Geteuid() != 0},
			{"image that others may write", func(c *call) func() { os.Chmod(e.image(), 0o666); return nil }, false},
			{"directory that others may write", func(c *call) func() {
				dir := e.path("state/launch")
				os.Chmod(dir, 0o777)
				return func() { os.Chmod(dir, 0o755) }
			}, true},
			{"image cut short", func(c *call) func() { os.Truncate(e.image(), 5000); return nil }, false},
			{"image of zeros", func(c *call) func() { os.Truncate(e.image(), 0); os.Truncate(e.image(), 20000); return nil }, false},
			{"link to the image", func(c *call) func() {
				path := e.image()
				os.Rename(path, e.path("moved"))
				os.Symlink(e.path("moved"), path)
				return func() { os.Remove(path); os.Rename(e.path("moved"), path) }
			}, true},
		} {
			t.Run(tt.name, func(t *testing.T) {
				c := e.call("probe")
				undo := tt.do(&c)
				same := tt.name == "nothing" || tt.name == "image of somebody else" && undo == nil
				if got := e.launchedEarly(c); got != same {
					t.Errorf("launched early: %v", got)
				}
				if undo != nil {
					undo()
				}
				if tt.keeps {
					images, _ := filepath.Glob(e.path("state/launch/*"))
					for _, image := range images { // of another key
						if text, _ := os.ReadFile(image); !bytes.Contains(text, []byte(marked)) {
							os.Remove(image)
						}
					}
					if left, _ := filepath.Glob(e.path("state/launch/*")); len(left) == 0 && len(images) == 1 && len(c.env)+len(c.dir) > 0 {
						// One key in 256 has the other's place, and took it.
						e.prime()
						return
					}
					if !e.launchedEarly(e.call("probe")) {
						t.Error("the image is not used afterwards")
					}
					return
				}
				os.RemoveAll(e.path("state/launch"))
				e.prime()
			})
		}
	})
}

// TestEarlyIgnored: what the caller ignores is nothing to the workload, and stays
// ignored in sbx.
func TestEarlyIgnored(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		e := early(t, h, "", "")
		for _, name := range []string{"PIPE", "HUP", "TERM"} {
			c := e.call("probe")
			c.wrap = []string{"ignore=" + name}
			if !e.launchedEarly(c) {
				t.Errorf("%s: not launched early", name)
			}
			var s surroundings
			r := e.run(t, c)
			if err := json.Unmarshal([]byte(r.stdout), &s); err != nil || s.Status["SigIgn"] != "0000000000000000" {
				t.Errorf("%s: %v, ignored %s", name, err, s.Status["SigIgn"])
			}
		}
		c := e.call("sleep", "300ms")
		c.wrap = []string{"ignore=HUP"}
		cmd := e.started(t, c)
		unix.Kill(cmd.Process.Pid, unix.SIGHUP)
		if status, _ := gone(t, cmd, patience()); status != 0 {
			t.Errorf("status %d after a signal that was ignored, want 0", status)
		}
	})
}

// TestEarlyLandlock: what was laid out where the kernel had no Landlock is not
// used where it has.
func TestEarlyLandlock(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		e := early(t, h, "", "")
		os.RemoveAll(e.path("state/launch"))
		for range 2 {
			c := e.call("exit", "0")
			c.wrap = []string{"no-landlock"}
			if r := e.run(t, c); r.status != 0 {
				t.Fatal(r)
			}
		}
		e.mark()
		c := e.call("probe")
		c.wrap = []string{"no-landlock"}
		if !e.launchedEarly(c) {
			t.Fatal("the image is not used where it was made")
		}
		if e.launchedEarly(e.call("probe")) {
			t.Error("launched without Landlock where the kernel has it")
		}
	})
}

// TestEarlyRefused: what the long way refuses is refused where there is an image.
func TestEarlyRefused(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		e := early(t, h, "", "env: {set: {WHICH: by-the-plan}}\nfilesystem: {read: [\"{{cwd}}\"]}\n")
		plain := e.call("exit", "0")
		for _, tt := range []struct {
			name   string
			do     func(c *call) (undo func())
			status int
		}{
			{"empty argument vector", func(c *call) func() { c.wrap = []string{"empty"}; return nil }, 125},
			{"empty registry", func(c *call) func() { c.flags = []string{"--registry="}; return nil }, 125},
			{"plans that others may write", func(c *call) func() {
				plans, _ := filepath.Glob(e.path("state/registry-*/plans"))
				os.Chmod(plans[0], 0o777)
				return func() { os.Chmod(plans[0], 0o755) }
			}, 126},
			{"home that has become the working directory", func(c *call) func() {
				home := e.path("home")
				os.Rename(home, e.path("was-home"))
				os.Symlink(e.work(), home)
				return func() { os.Remove(home); os.Rename(e.path("was-home"), home) }
			}, 126},
		} {
			t.Run(tt.name, func(t *testing.T) {
				c := plain
				undo := tt.do(&c)
				r := e.run(t, c)
				if undo != nil {
					undo()
				}
				if r.status != tt.status {
					t.Errorf("want %d\n%s", tt.status, r)
				}
			})
		}
	})
}

// TestNoImage: what depends on more than an image holds has none.
func TestNoImage(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.mkdir(t, "tree")
		os.Chown(h.path("tree"), ordinary, ordinary)
		for name, tt := range map[string]struct {
			policy string
			users  bool // an ordinary user's run can
		}{
			"write tree":    {"filesystem: {write: [" + h.path("tree") + "]}\n", true},
			"output_max":    {"limits: {output_max: 1M}\n", false},
			"short timeout": {"limits: {timeout: 150ms}\n", false},
		} {
			t.Run(name, func(t *testing.T) {
				if name == "short timeout" && testenv.Guest() {
					t.Skip("an emulated run takes longer than that timeout")
				}
				os.RemoveAll(h.path("state/launch"))
				h.revision(t, "tool", "1.0.0", "", tt.policy)
				for well, end := 0, time.Now().Add(patience()); well < 3; {
					switch r := h.run(t, (&earlyCaller{h, t}).call("exit", "0")); {
					case r.status == 0:
						well++
					case name != "short timeout" || r.status != 124 || time.Now().After(end): // a busy machine takes longer than that
						t.Fatal(r)
					}
				}
				images, _ := filepath.Glob(h.path("state/launch/*"))
				if want := tt.users && h.who == "user"; (len(images) > 0) != want {
					t.Errorf("images %q", images)
				}
			})
		}
	})
}

// keyDirs are the parts of a caller's state that belong to a registry.
func keyDirs(t testing.TB, h *host) []string {
	t.Helper()
	dirs, err := filepath.Glob(h.path("state/registry-*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("%q %v", dirs, err)
	}
	return dirs
}
