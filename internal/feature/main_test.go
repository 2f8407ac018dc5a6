package feature

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

// What a copy of this test binary does in place of testing; see
// situations_test.go.
const (
	childVariable = "SBX_FEATURE_CHILD"
	// childProbe prints Probe as `sbx doctor --json` does.
	childProbe = "probe"
	// childDisable forbids further user namespaces in the one that it is the
	// root of, then executes its arguments: the uid and the program.
	childDisable = "disable"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childVariable) {
	case childProbe:
		os.Exit(complain(json.NewEncoder(os.Stdout).Encode(Probe().All())))
	case childDisable:
		os.Exit(complain(disableUserNamespaces(os.Args[1], os.Args[2:])))
	}
	os.Exit(testenv.Main(m))
}

// complain prints an error and gives the exit status.
func complain(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// maxUserNS is of the reader's user namespace (namespaces(7), "The
// /proc/sys/user directory"): the host's own value stays.
const maxUserNS = "/proc/sys/user/max_user_namespaces"

func disableUserNamespaces(id string, program []string) error {
	if err := os.WriteFile(maxUserNS, []byte("0"), 0); err != nil {
		return err
	}
	uid, err := strconv.Atoi(id)
	if err != nil {
		return err
	}
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Env = []string{childVariable + "=" + childProbe}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), NoSetGroups: true}}
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return fmt.Errorf("%s: %w", program[0], exit)
	} else if err != nil {
		return err
	}
	return nil
}
