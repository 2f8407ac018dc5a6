//go:build vmself

package selftest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const cgroupRoot = "/sys/fs/cgroup"

// victimEnv names the victim that a copy of the test binary plays: what is
// irreversible or gets killed happens in a child.
const victimEnv = "SELFTEST_VICTIM"

// victims return the child's exit status.
var victims = map[string]func() int{
	"eat":                eatMemory,
	"fork":               forkMany,
	"spin":               spin,
	"block":              block,
	"time":               newTime,
	"pivot":              pivot,
	"pivot-unprivileged": pivotUnprivileged,
	"listen":             listen,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(victimEnv); name != "" {
		v, ok := victims[name]
		if !ok {
			fmt.Fprintln(os.Stderr, "no victim", name)
			os.Exit(2)
		}
		os.Exit(v())
	}
	if os.Getenv("SBX_VM") == "" {
		fmt.Fprintln(os.Stderr, "selftest: not in a guest of vmexec: run make vm-self")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// victim returns a command that is not started yet.
func victim(t *testing.T, name string, attr *syscall.SysProcAttr) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = []string{victimEnv + "=" + name}
	cmd.SysProcAttr = attr
	return cmd
}

// read returns the trimmed content of a file.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// signalOf returns the signal that ended a command; 0 when none did.
func signalOf(cmd *exec.Cmd) syscall.Signal {
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return ws.Signal()
	}
	return 0
}
