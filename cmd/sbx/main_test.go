package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

// asElevated, in the environment, makes this executable take the ids that a
// set-id program has, and then be sbx.
const asElevated = "SBX_TEST_ELEVATED"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(asElevated) {
	case "":
		os.Exit(m.Run())
	case "uid":
		err = syscall.Setresuid(65534, 0, 0)
	case "gid":
		err = syscall.Setresgid(65534, 0, 0)
	case "none":
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(run([]string{"sbx", "version"}))
}

// TestElevated: a set-user-id or set-group-id sbx does nothing.
func TestElevated(t *testing.T) {
	testenv.Root(t)
	for kind, status := range map[string]int{"uid": 125, "gid": 125, "none": 0} {
		t.Run(kind, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{asElevated + "=" + kind}
			out, err := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != status {
				t.Fatalf("status %d (%v), want %d\n%s", got, err, status, out)
			}
			if refused := strings.HasPrefix(string(out), "sbx: real and effective ids differ"); refused != (status == 125) {
				t.Errorf("output %q", out)
			}
		})
	}
}
