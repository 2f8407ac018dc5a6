package chain

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// childEnv names the work of a copy of the test binary.
const childEnv = "SBX_CHAIN_TEST_CHILD"

// start starts a copy of the test binary that does work in dir, and waits until
// it says that it is ready. Its further lines come from the reader.
func start(t *testing.T, work, dir string, flags uintptr) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+work+" "+dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: flags}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return cmd, lines
}

// child does its work and ends the process.
func child(work string) {
	work, dir, _ := strings.Cut(work, " ")
	err := fmt.Errorf("no work %q", work)
	switch work {
	case "hold":
		err = childHold(dir)
	case "commit":
		err = childCommit(dir)
	case "full":
		err = childFull(dir)
	case "readonly":
		err = childReadOnly(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func childHold(dir string) error {
	if _, err := Open(dir, Exclusive); err != nil {
		return err
	}
	fmt.Println("ready")
	return unix.Pause()
}

// childCommit commits for ever and says which generation is done.
func childCommit(dir string) error {
	c, err := Open(dir, Exclusive)
	if err != nil {
		return err
	}
	s, _, err := c.Newest()
	if err != nil && err != ErrEmpty {
		return err
	}
	fmt.Println("ready")
	for {
		if s, err = advance(c, s); err != nil {
			return err
		}
		if s.Generation%8 == 0 {
			if err := c.Collect(nil); err != nil {
				return err
			}
		}
		fmt.Println(strconv.FormatUint(s.Generation, 10))
	}
}
