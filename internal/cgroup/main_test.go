package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// actEnv names what a copy of the test binary does instead of testing.
const actEnv = "SBX_CGROUP_TEST_ACT"

func TestMain(m *testing.M) {
	if act := os.Getenv(actEnv); act != "" {
		os.Exit(victim(act, os.Args[1:]))
	}
	os.Exit(testenv.Main(m))
}

// victim acts in a child. Each says "ready" or its answer on stdout and, unless
// it ends by itself, lives until its stdin is closed or it is killed.
func victim(act string, args []string) int {
	switch act {
	case "wait":
		fmt.Println("ready")
	case "open":
		p, err := Open("")
		fmt.Println(p != nil, errors.Is(err, ErrNotDelegated), err)
		return 0
	case "own":
		// An owner that dies without deleting: args are place, leaf name.
		p, err := Open(args[0])
		if err != nil {
			return fail(err)
		}
		leaf, err := p.Create(args[1])
		if err != nil {
			return fail(err)
		}
		if err := writeFile(leaf.FD(), "cgroup.procs", "0"); err != nil {
			return fail(err)
		}
		fmt.Println("ready")
	case "sweep":
		p, err := Open(args[0])
		if err != nil {
			return fail(err)
		}
		fmt.Println("ready")
		io.Copy(io.Discard, os.Stdin)
		n, err := p.Sweep()
		if err != nil {
			return fail(err)
		}
		fmt.Println(n)
		return 0
	case "eat":
		// Touches memory until the limit ends it.
		var kept [][]byte
		for len(kept) < 1024 {
			block := make([]byte, 1<<20)
			for i := 0; i < len(block); i += 4096 {
				block[i] = 1
			}
			kept = append(kept, block)
		}
		fmt.Println(len(kept))
		return 0
	case "fork":
		// Forks until the limit refuses; says how often it could.
		fmt.Println("ready")
		n, refused := 0, false
		for ; n < 64; n++ {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{actEnv + "=wait"}
			if _, err := cmd.StdinPipe(); err != nil {
				return fail(err)
			}
			if err := cmd.Start(); err != nil {
				refused = true
				break
			}
			defer cmd.Process.Kill()
		}
		fmt.Println(n, refused)
	case "spin":
		fmt.Println("ready")
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
		}
		fmt.Println("done")
		return 0
	case "stay":
		if err := stay(); err != nil {
			return fail(err)
		}
	case "aside":
		if err := aside(); err != nil {
			return fail(err)
		}
	case "end":
		return 0
	default:
		return fail(fmt.Errorf("bug: act %q", act))
	}
	io.Copy(io.Discard, os.Stdin)
	return 0
}

func fail(err error) int {
	fmt.Println("child:", err)
	return 3
}

// child is a running copy of the test binary.
type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start runs an act, inside the leaf when it is not nil.
func start(t *testing.T, leaf *Leaf, act string, args ...string) *child {
	t.Helper()
	attr := &syscall.SysProcAttr{}
	if leaf != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, leaf.FD()
	}
	return startAs(t, attr, act, args...)
}

// startAs is start with the attributes of the child.
func startAs(t *testing.T, attr *syscall.SysProcAttr, act string, args ...string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command("/proc/self/exe", args...)}
	// One processor: the runtime's threads count against pids.max.
	c.Env = []string{actEnv + "=" + act, "GOMAXPROCS=1"}
	c.Stderr = os.Stderr
	c.SysProcAttr = attr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	if err := c.Cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", act, err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	return c
}

// line reads one line of the child's answer, without the newline.
func (c *child) line(t *testing.T) string {
	t.Helper()
	s, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("answer of the child: %q, %v", s, err)
	}
	return s[:len(s)-1]
}

func (c *child) ready(t *testing.T) *child {
	t.Helper()
	if got := c.line(t); got != "ready" {
		t.Fatalf("child said %q, want ready", got)
	}
	return c
}

// killed waits for the child and checks that SIGKILL ended it.
func (c *child) killed(t *testing.T) {
	t.Helper()
	c.Wait()
	ws := c.ProcessState.Sys().(syscall.WaitStatus)
	if !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		t.Errorf("child ended with %v, want killed by SIGKILL", c.ProcessState)
	}
}

var places atomic.Int32

// place opens a directory for leaves of this test alone and removes it in the
// end, with whatever a failed test left in it.
func place(t *testing.T) *Parent {
	t.Helper()
	testenv.Root(t)
	mount, err := findMount()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(mount, "sbx-test-"+strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(int(places.Add(1))))
	p, err := Open(root)
	if err != nil {
		t.Fatalf("Open(%q): %v", root, err)
	}
	t.Cleanup(func() {
		if names, err := children(p.fd); err != nil || len(names) > 0 {
			t.Errorf("leaves left in %s: %v, %v", root, names, err)
		}
		kill(p.fd, root)
		removeChildren(p.fd, 0)
		p.Close()
		if err := unix.Rmdir(root); err != nil {
			t.Errorf("rmdir %q: %v", root, err)
		}
	})
	return p
}

// create makes a leaf; the test deletes it.
func create(t *testing.T, p *Parent, name string) *Leaf {
	t.Helper()
	leaf, err := p.Create(name)
	if err != nil {
		t.Fatalf("Create(%q): %v", name, err)
	}
	return leaf
}

// exists reports whether a directory of this name is below the Parent.
func exists(p *Parent, name string) bool {
	return unix.Faccessat(p.fd, name, unix.F_OK, 0) == nil
}

const patience = 30 * time.Second
