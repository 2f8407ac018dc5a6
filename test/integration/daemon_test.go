package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// serve starts a daemon for the caller's registry, with further flags.
func (h *host) serve(t testing.TB, flags ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(bin+"/sbxd", append([]string{"serve", "--registry", h.path("registry")}, flags...)...)
	if h.registry != "" {
		cmd.Args[3] = h.registry
	}
	return h.serving(t, cmd)
}

// serving starts a daemon and waits for its socket.
func (h *host) serving(t testing.TB, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	cmd.Env = h.environ(cmd.Env...)
	if h.uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(h.uid), Gid: uint32(h.uid)}}
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM)
		if status, _ := gone(t, cmd, patience()); status != 0 && status != 137 {
			t.Errorf("the daemon ended with %d\n%s", status, said.String())
		}
	})
	for end := time.Now().Add(patience()); !h.answers(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no socket\n%s", said.String())
		}
	}
	return cmd
}

// answers tells whether a daemon listens on a run socket and, which it makes
// after that, on its admin socket.
func (h *host) answers() bool {
	for _, path := range h.sockets() {
		if listens(path) && listens(adminOf(path)) {
			return true
		}
	}
	return false
}

// listens tells whether somebody accepts connections of a socket.
func listens(path string) bool {
	for _, kind := range []int{unix.SOCK_SEQPACKET, unix.SOCK_STREAM} {
		fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return false
		}
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		unix.Close(fd)
		if err == nil {
			return true
		}
	}
	return false
}

func (h *host) sockets() []string {
	found, _ := filepath.Glob(h.path("run") + "/*.sock")
	return found
}

// both is an invocation of a registered command, with or without daemon.
func (h *host) both(direct bool, c call) call {
	c.verb = "run"
	c.flags = append([]string{"--registry", h.path("registry")}, c.flags...)
	if direct {
		c.flags = append(c.flags, "--direct")
	}
	return c
}

// sameBundles fills the registry for TestSame.
func (h *host) sameBundles(t *testing.T) {
	h.bundle(t, "act", bin+"/act", "env: {pass: [GIVEN]}")
	h.bundle(t, "here", bin+"/act", `filesystem: {read: ["{{cwd}}"]}`)
	h.bundle(t, "little", bin+"/act", "limits: {output_max: 1000}")
	h.bundle(t, "quick", bin+"/act", "limits: {timeout: 300ms}")
	h.bundle(t, "group.one", bin+"/act", "")
	h.bundle(t, "hungry", bin+"/act", "limits: {-memory_max: 64M}")
	h.write(t, "registry/token.yaml", "apiVersion: sbx/v1\nname: token\nversion: 1.0.0\nexec: {path: "+bin+"/act, args: declared, argv: [args, \"{{token}}\"]}\n"+
		"params: [{name: token, type: string, secret: true, required: true}]\n", 0o644)
	h.write(t, "registry/file.yaml", "apiVersion: sbx/v1\nname: file\nversion: 1.0.0\nexec: {path: "+bin+"/act, args: declared, argv: [cat, \"{{file}}\"]}\n"+
		"params: [{name: file, type: path, access: read, position: 1, required: true, help: what to show}]\n", 0o644)
	h.write(t, "registry/make.yaml", "apiVersion: sbx/v1\nname: make\nversion: 1.0.0\nexec: {path: "+bin+"/act, args: declared, argv: [write, \"{{file}}\", text]}\n"+
		"params: [{name: file, type: path, access: create, position: 1, required: true}]\n", 0o644)
}

// TestSame: a call ends, and says, the same by the daemon and without it.
func TestSame(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.sameBundles(t)
		h.serve(t)
		h.write(t, "work/in", "content\n", 0o644)
		h.mkdir(t, "work/dir")
		many := make([]string, 3000)
		for i := range many {
			many[i] = strings.Repeat("x", 100)
		}
		dir, err := os.Open(h.path("work"))
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		null, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		socket, err := null.(*net.UDPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		memfd, err := unix.MemfdCreate("input", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		mem := os.NewFile(uintptr(memfd), "input")
		defer mem.Close()
		mem.WriteString("from memory")
		third, err := os.OpenFile(h.write(t, "home/third", "", 0o600), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer third.Close()
		holds := func(text string) func() {
			return func() { third.Truncate(0); third.WriteAt([]byte(text), 0); third.Seek(0, io.SeekStart) }
		}
		tests := []struct {
			name    string
			call    call
			status  int
			outcome string
			before  func()
			// elsewhere: the daemon has nothing to do with it.
			elsewhere bool
		}{
			{name: "good", call: call{words: []string{"act", "exit", "0"}}, status: 0, outcome: "ok"},
			{name: "its own status", call: call{words: []string{"act", "exit", "7"}}, status: 7, outcome: "exit"},
			{name: "a status like ours", call: call{words: []string{"act", "exit", "125"}}, status: 125, outcome: "exit"},
			{name: "killed", call: call{words: []string{"act", "die", "KILL"}}, status: 137, outcome: "signal"},
			{name: "arguments", call: call{words: append([]string{"act", "args", "", "-x", "--", "\xff\n"}, many...)}, status: 0, outcome: "ok"},
			{name: "input", call: call{words: []string{"act", "echo"}, stdin: strings.NewReader("hello")}, status: 0, outcome: "ok"},
			{name: "input from a memfd", call: call{words: []string{"act", "echo"}, stdin: mem}, status: 0, outcome: "ok", before: func() { mem.Seek(0, 0) }},
			{name: "a directory as input", call: call{words: []string{"act", "echo"}, stdin: dir}, status: 126, outcome: "refused"},
			{name: "a socket as input", call: call{words: []string{"act", "echo"}, stdin: socket}, status: 126, outcome: "refused"},
			{name: "no input at all", call: call{words: []string{"act", "exit", "0"}, wrap: []string{"close=0"}}, status: 0, outcome: "ok"},
			{name: "what it sees", call: call{words: []string{"act", "probe"}, env: []string{"GIVEN=1", "OTHER=2"}}, status: 0, outcome: "ok"},
			{name: "a variable", call: call{words: []string{"act", "probe"}, flags: []string{"--env", "GIVEN=x"}}, status: 0, outcome: "ok"},
			{name: "variables from a descriptor", call: call{words: []string{"act", "probe"}, flags: []string{"--env-file", "3"}, files: []*os.File{third}}, status: 0, outcome: "ok", before: holds("GIVEN=y\n")},
			{name: "variables from a descriptor that are not passed", call: call{words: []string{"act", "probe"}, flags: []string{"--env-file", "3"}, files: []*os.File{third}}, status: 125, outcome: "setup-error", before: holds("OTHER=y\n")},
			{name: "variables from a descriptor that is not there", call: call{words: []string{"act", "probe"}, flags: []string{"--env-file", "9"}}, status: 125, outcome: "setup-error", elsewhere: true},
			{name: "a secret in the open", call: call{words: []string{"token", "--token", "s3cret"}}, status: 125, outcome: "setup-error"},
			{name: "too much memory", call: call{words: []string{"hungry", "eat", "400", "1m"}}, status: 137, outcome: "oom"},
			{name: "a variable that is not passed", call: call{words: []string{"act", "probe"}, flags: []string{"--env", "OTHER=x"}}, status: 125, outcome: "setup-error"},
			{name: "expected", call: call{words: []string{"act", "exit", "0"}, flags: []string{"--expect", "1.0.0"}}, status: 0, outcome: "ok"},
			{name: "expected another", call: call{words: []string{"act", "exit", "0"}, flags: []string{"--expect", "2.0.0"}}, status: 126, outcome: "refused"},
			{name: "a tighter time", call: call{words: []string{"act", "deaf", "1m"}, flags: []string{"--timeout", "300ms"}}, status: 124, outcome: "timeout"},
			{name: "a wider time", call: call{words: []string{"quick", "exit", "0"}, flags: []string{"--timeout", "1h"}}, status: 125, outcome: "setup-error"},
			{name: "the policy's time", call: call{words: []string{"quick", "deaf", "1m"}}, status: 124, outcome: "timeout"},
			{name: "a tighter limit", call: call{words: []string{"act", "exit", "0"}, flags: []string{"--limit", "timeout=5s"}}, status: 0, outcome: "ok"},
			{name: "a limit that is none", call: call{words: []string{"act", "exit", "0"}, flags: []string{"--limit", "x=1"}}, status: 125, outcome: "setup-error"},
			{name: "a directory outside the view", call: call{words: []string{"act", "exit", "0"}, flags: []string{"--chdir", "/nonesuch"}}, status: 125, outcome: "setup-error"},
			{name: "another directory", call: call{words: []string{"act", "probe"}, flags: []string{"--chdir", "/usr"}}, status: 0, outcome: "ok"},
			{name: "violation", call: call{words: []string{"act", "forbid"}}, status: 159, outcome: "violation"},
			{name: "too much output", call: call{words: []string{"little", "echo"}, stdin: strings.NewReader(strings.Repeat("y", 5000))}, status: 153, outcome: "output-limit"},
			{name: "a name that is none", call: call{words: []string{"nonesuch"}}, status: 127, outcome: "refused", elsewhere: true},
			{name: "a group", call: call{words: []string{"group"}}, status: 127, outcome: "refused", elsewhere: true},
			{name: "words of a group", call: call{words: []string{"group", "one", "exit", "3"}}, status: 3, outcome: "exit"},
			{name: "the working directory", call: call{words: []string{"here", "cat", "in"}}, status: 0, outcome: "ok"},
			{name: "a directory that is not shown", call: call{words: []string{"here", "exit", "0"}, dir: "/usr"}, status: 126, outcome: "refused"},
			{name: "its own registry", call: call{words: []string{"here", "exit", "0"}, dir: h.path("registry")}, status: 126, outcome: "refused"},
			{name: "above its registry", call: call{words: []string{"here", "exit", "0"}, dir: h.base}, status: 126, outcome: "refused"},
			{name: "a path", call: call{words: []string{"file", "in"}}, status: 0, outcome: "ok"},
			{name: "an absolute path", call: call{words: []string{"file", "--file", h.path("work/in")}}, status: 0, outcome: "ok"},
			{name: "a missing path", call: call{words: []string{"file", "nonesuch"}}, status: 125, outcome: "setup-error"},
			{name: "a path of the kernel", call: call{words: []string{"file", "/proc/self/status"}}, status: 126, outcome: "refused"},
			{name: "no path", call: call{words: []string{"file"}}, status: 125, outcome: "setup-error"},
			{name: "a parameter that is none", call: call{words: []string{"file", "--other", "x"}}, status: 125, outcome: "setup-error"},
			{name: "help", call: call{words: []string{"file", "--help"}}, status: 0, outcome: "ok"},
			{name: "quiet", call: call{words: []string{"file", "--other", "x"}, flags: []string{"-q"}}, status: 125, outcome: "setup-error"},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				var got [2]result
				for i, direct := range []bool{true, false} {
					if tt.before != nil {
						tt.before()
					}
					if r, ok := tt.call.stdin.(*strings.Reader); ok {
						r.Seek(0, io.SeekStart)
					}
					got[i] = h.run(t, h.both(direct, tt.call))
					wantEnd(t, got[i], tt.status, tt.outcome)
				}
				if via := got[1].report.Via; via != "daemon" && !tt.elsewhere {
					t.Errorf("via %q", via)
				}
				if got[0].report.Via != "direct" {
					t.Errorf("via %q with --direct", got[0].report.Via)
				}
				if d := cmp.Diff(plainly(got[0]), plainly(got[1])); d != "" {
					t.Errorf("(-direct +daemon) %s", d)
				}
			})
		}
		t.Run("create", func(t *testing.T) {
			// Of an ordinary user: root's run never writes what is root's.
			if err := os.Chown(h.mkdir(t, "work/made"), ordinary, ordinary); err != nil {
				t.Fatal(err)
			}
			for _, direct := range []bool{true, false} {
				wantEnd(t, h.run(t, h.both(direct, call{words: []string{"make", "made/out"}})), 0, "ok")
				if text, err := os.ReadFile(h.path("work/made/out")); err != nil || string(text) != "text" {
					t.Errorf("direct %v: %q, %v", direct, text, err)
				}
				os.Remove(h.path("work/made/out"))
			}
		})
	})
}

// varies are addresses, times and pids in what is said.
var varies = regexp.MustCompile(`0x[0-9a-f]{6,}|after [0-9.a-zµ]+`)

// plainly is what must not differ.
func plainly(r result) map[string]any {
	rep := *r.report
	rep.Child, rep.Run, rep.Via, rep.Usage = 0, "", "", report{}.Usage
	for i := range rep.Layers {
		if rep.Layers[i].Name == "audit" { // a direct run has none
			rep.Layers[i].State, rep.Layers[i].Why = "", ""
		}
	}
	for i := range rep.Violations {
		rep.Violations[i].Args, rep.Violations[i].PID = nil, 0
	}
	// Who runs by himself is recorded by nobody, and `audit` says so.
	rep.Layers = slices.Clone(rep.Layers)
	for i := range rep.Layers {
		if l := &rep.Layers[i]; l.Name == "audit" {
			l.State, l.Why = "", ""
		}
	}
	text, _ := json.Marshal(rep)
	stdout := r.stdout
	var s surroundings
	if json.Unmarshal([]byte(stdout), &s) == nil && s.PID != 0 {
		for key := range s.Status {
			// Counters, and what depends on the run's memory and processor.
			if !strings.HasPrefix(key, "Cap") && key != "Uid" && key != "Gid" && key != "Groups" && key != "NoNewPrivs" && key != "Seccomp" && key != "Sig" && key != "SigIgn" && key != "SigBlk" {
				delete(s.Status, key)
			}
		}
		s.Init = strings.Trim(s.Init, "\x00") // as many as sbx's own arguments had
		b, _ := json.Marshal(s)
		stdout = string(b)
	}
	return map[string]any{"status": r.status, "stdout": stdout, "stderr": varies.ReplaceAllString(r.stderr, "~"), "report": string(text)}
}

// workloads are the processes that execute the workload. (What a daemon keeps
// ready for calls to come is its own.)
func workloads() []int {
	var pids []int
	for _, pid := range survivors() {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && filepath.Base(exe) == "act" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestSameSignals: what sbx is told by a signal reaches the run of the daemon,
// and its death ends it.
func TestSameSignals(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "act", bin+"/act", "")
		h.serve(t)
		left := func(within time.Duration) {
			t.Helper()
			for watch := testenv.Begin(); ; time.Sleep(2 * time.Millisecond) {
				pids := workloads()
				if len(pids) == 0 {
					return
				}
				if watch.Over(slow(within)) {
					t.Fatalf("workloads %v are left", pids)
				}
			}
		}
		for _, tt := range []struct {
			name   string
			act    []string
			sig    syscall.Signal
			status int
			atMost time.Duration
		}{
			{"TERM to one that dies of it", []string{"act", "sleep", "1m"}, unix.SIGTERM, 143, time.Second},
			{"INT to one that dies of it", []string{"act", "sleep", "1m"}, unix.SIGINT, 130, time.Second},
			{"TERM to one that ignores it", []string{"act", "deaf", "1m"}, unix.SIGTERM, 143, 4 * time.Second},
			{"KILL of the client", []string{"act", "deaf", "1m"}, unix.SIGKILL, 137, time.Second},
		} {
			for _, direct := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, direct %v", tt.name, direct), func(t *testing.T) {
					cmd := h.started(t, h.both(direct, call{words: tt.act}))
					if err := cmd.Process.Signal(tt.sig); err != nil {
						t.Fatal(err)
					}
					if status, took := gone(t, cmd, slow(6*time.Second)); status != tt.status || took > slow(tt.atMost) {
						t.Errorf("status %d after %v, want %d within %v", status, took, tt.status, slow(tt.atMost))
					}
					left(time.Second)
				})
			}
		}
	})
}

// TestDaemonQuarantines: what a verdict takes out of force is not run by the
// daemon either, in the very next call.
func TestDaemonQuarantines(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.revision(t, "act", "1.0.0", "", "")
		h.serve(t)
		for range 3 { // whatever is kept ready is there by now
			wantEnd(t, h.run(t, h.both(false, call{words: []string{"act", "exit", "0"}})), 0, "ok")
		}
		r := h.run(t, h.both(false, call{words: []string{"act", "forbid"}}))
		wantEnd(t, r, 159, "violation")
		if !r.report.Counted || r.report.Via != "daemon" {
			t.Errorf("counted %v, via %q", r.report.Counted, r.report.Via)
		}
		for _, direct := range []bool{false, true} {
			r = h.run(t, h.both(direct, call{words: []string{"act", "exit", "0"}}))
			wantEnd(t, r, 126, "refused")
			if !strings.Contains(r.stderr, "quarantined") {
				t.Errorf("direct %v: %s", direct, r.stderr)
			}
		}
	})
}

// TestServedUser: root's daemon gives an ordinary user's run his ids and no
// groups, lets nobody in whom the manifest does not name, and shows him only
// what he may open.
func TestServedUser(t *testing.T) {
	needBinaries(t)
	testenv.Root(t)
	testenv.NoLeaks(t)
	root, user := newHost(t, "root"), newHost(t, "user")
	root.sameBundles(t)
	path := root.bundle(t, "ops", bin+"/act", "")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	root.write(t, "registry/ops.yaml", string(text)+"allow: {users: [root]}\n", 0o644)
	root.serve(t)
	user.write(t, "work/own", "own\n", 0o600)
	root.write(t, "work/secret", "secret\n", 0o600)
	ask := func(words ...string) result {
		c := root.both(false, call{words: words, env: []string{"SBX_RUNTIME=" + root.path("run")}})
		return user.run(t, c)
	}
	r := ask("act", "cat", "/proc/self/uid_map")
	wantEnd(t, r, 0, "ok")
	if f := strings.Fields(r.stdout); r.report.Via != "daemon" || len(f) != 3 || f[1] != fmt.Sprint(user.uid) {
		t.Errorf("via %q, uid_map %q; want the caller's uid %d", r.report.Via, r.stdout, user.uid)
	}
	if !r.report.Counted {
		t.Error("root's daemon does not count the run of a user")
	}
	// By himself he may not write the state that verdicts are in.
	own := user.run(t, root.both(true, call{words: []string{"act", "exit", "0"}}))
	if wantEnd(t, own, 0, "ok"); own.report.Counted || own.report.Via != "direct" {
		t.Errorf("a user's own run of root's registry: counted %v, via %q", own.report.Counted, own.report.Via)
	}
	r = ask("act", "probe")
	wantEnd(t, r, 0, "ok")
	var s surroundings
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		t.Fatal(err)
	}
	if s.Status["Groups"] != "1000" && s.Status["Groups"] != "" || strings.Trim(s.Status["CapEff"], "0") != "" {
		t.Errorf("groups %q, capabilities %q", s.Status["Groups"], s.Status["CapEff"])
	}
	wantEnd(t, ask("ops", "exit", "0"), 126, "refused")
	r = ask("file", user.path("work/own"))
	if wantEnd(t, r, 0, "ok"); r.stdout != "own\n" {
		t.Errorf("his own file: %q", r.stdout)
	}
	wantEnd(t, ask("file", root.path("work/secret")), 126, "refused")
	wantEnd(t, ask("make", root.path("work/new")), 126, "refused")
	r = ask("make", user.path("work/new"))
	wantEnd(t, r, 0, "ok")
	var st unix.Stat_t
	if err := unix.Stat(user.path("work/new"), &st); err != nil || int(st.Uid) != user.uid {
		t.Errorf("what he had made belongs to %d, %v", st.Uid, err)
	}
}

// TestStrangersSocket: a socket that is not root's or the caller's own is no
// daemon.
func TestStrangersSocket(t *testing.T) {
	testenv.Root(t)
	needBinaries(t)
	root, user := newHost(t, "root"), newHost(t, "user")
	root.bundle(t, "act", bin+"/act", "")
	served := *user
	served.registry = root.path("registry")
	served.serve(t)
	r := root.run(t, root.both(false, call{words: []string{"act", "exit", "0"}, env: []string{"SBX_RUNTIME=" + user.path("run")}}))
	if wantEnd(t, r, 0, "ok"); r.report.Via != "direct" {
		t.Errorf("root's run went %q to a user's daemon", r.report.Via)
	}
}
