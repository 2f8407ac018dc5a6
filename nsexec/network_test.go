package nsexec

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

func threadNetwork(t *testing.T) string {
	t.Helper()
	s, err := os.Readlink(threadNet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestNetworkOfItsOwn: the run is in a network namespace of its own, and the
// threads of the supervisor are where they were.
func TestNetworkOfItsOwn(t *testing.T) {
	before := threadNetwork(t)
	_, _, _, out := run(t, testPlan(t), "status")
	if !bytes.Contains([]byte(out), []byte("net net:[")) || bytes.Contains([]byte(out), []byte("net "+before+"\n")) {
		t.Errorf("supervisor in %s, run says\n%s", before, out)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		after, err := os.Readlink("/proc/self/task/" + thread.Name() + "/ns/net")
		if err == nil && after != before {
			t.Errorf("thread %s is in %s, not in %s", thread.Name(), after, before)
		}
	}
}

// inUserNamespace runs a test of this binary as root of a new user namespace.
func inUserNamespace(t *testing.T, test string, flags uintptr) {
	t.Helper()
	testenv.Root(t)
	testenv.UserNamespaces(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | flags,
		UidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1 << 16}},
		GidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1 << 16}},
	}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+test)) {
		t.Errorf("%v\n%s", err, out)
	}
}

// insideVariable tells a test that it is the inner one.
const insideVariable = "SBX_TEST_IN_USERNS"

// TestNetworkWithoutWayBack: whoever could not come back into its own
// namespace does not leave it.
func TestNetworkWithoutWayBack(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		inUserNamespace(t, t.Name(), 0)
		return
	}
	n := new(network)
	n.prepare(-1)
	if n.own != -1 {
		t.Error("leaves a network namespace of another user namespace")
	}
	if err := n.give(); err != nil {
		t.Error(err)
	}
}

// TestNetworkRefused: no namespace is an error with its errno, and nothing of
// the launch is left.
func TestNetworkRefused(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		inUserNamespace(t, t.Name(), unix.CLONE_NEWNET)
		return
	}
	testenv.NoLeaks(t)
	if err := os.WriteFile("/proc/sys/user/max_net_namespaces", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	before := threadNetwork(t)
	_, err := Start(Config{Plan: testPlan(t), Argv: []string{"victim", "exit", "0"}, Chdir: "/tmp", CgroupFD: -1, Identity: identity()})
	var refused *ErrNetwork
	if !errors.As(err, &refused) || refused.Errno != unix.ENOSPC {
		t.Errorf("got %v, want ENOSPC at the network namespace", err)
	}
	if after := threadNetwork(t); after != before {
		t.Errorf("was in %s, is in %s", before, after)
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("wait4: %v, want no child", err)
	}
}
