package integration

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// bin holds copies of sbx, sbxd and the workload ("act"), in a directory of
// this test process alone: whatever runs one of them was started here.
// missing says why there is none.
var bin, missing string

func TestMain(m *testing.M) {
	// The workload is this binary: see acts_test.go.
	if len(os.Args) > 1 && filepath.Base(os.Args[0]) == "act" {
		os.Exit(act(os.Args[1], os.Args[2:]))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	syscall.Umask(0o022)
	// What the caller ignores (nohup, a shell's background job) would be
	// ignored by every sbx that is started here; a handler undoes that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	// A guest's root is a file system that takes no mapped mounts; its
	// scratch disk is ext4.
	for _, dir := range []string{os.Getenv("SBX_TEST_DIR"), "/scratch", os.TempDir()} {
		if st, err := os.Stat(dir); dir != "" && err == nil && st.IsDir() {
			os.Setenv("TMPDIR", dir)
			break
		}
	}
	// Not a name that begins with sbx: other tests look for such leftovers.
	dir, err := os.MkdirTemp("", "integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := install(dir); err != nil {
		missing = err.Error()
	}
	bin = dir
	return testenv.Main(m)
}

// install fills dir with the executables under test and the workload.
func install(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := copyFile(dir+"/act", self, 0o755); err != nil {
		return err
	}
	from := os.Getenv("SBX_TEST_BIN")
	if from == "" {
		return build(dir)
	}
	return errors.Join(copyFile(dir+"/sbx", from+"/sbx", 0o755), copyFile(dir+"/sbxd", from+"/sbxd", 0o755))
}

// build makes both executables as the Makefile does: sbx without cgo, and with a
// first instruction of its own.
func build(dir string) error {
	for _, name := range []string{"sbx", "sbxd"} {
		cmd := exec.Command("go", "build", "-o", dir+"/"+name)
		if name == "sbx" {
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if runtime.GOARCH == "amd64" {
				cmd.Args = append(cmd.Args, "-ldflags", "-E github.com/sbx-project/sbx/internal/early.Entry")
			}
		}
		cmd.Args = append(cmd.Args, "../../cmd/"+name)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("SBX_TEST_BIN is not set and go build: %w\n%s", err, text)
		}
	}
	return nil
}

func copyFile(to, from string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(mode), out.Close())
}

// soak tells whether the long loops are wanted in full.
func soak() bool { return os.Getenv("SBX_TEST_SOAK") == "1" }

// rounds is how often a loop goes round: n, five times that for a soak, a
// quarter where the processor is emulated.
func rounds(n int) int {
	switch {
	case soak():
		return 5 * n
	case testenv.Guest():
		return n / 4
	}
	return n
}

// slow stretches a bound where the processor is emulated: everything takes
// ten times as long there.
func slow(d time.Duration) time.Duration {
	if testenv.Guest() {
		return 10 * d
	}
	return d
}

// patience is how long a test waits for what has to come and is promised for no
// moment. It is long: it is over only where nothing comes any more.
func patience() time.Duration { return slow(time.Minute) }

// needBinaries ends the test when there is nothing to test. It is never a
// skip: the package has no other subject.
func needBinaries(t testing.TB) {
	t.Helper()
	if missing != "" {
		t.Fatal(missing)
	}
}

// needPrograms lets the test go on when the host has these programs. In a
// guest a missing one is a skip that names it; on a host it is too, but for
// SBX_TEST_ROOT=1.
func needPrograms(t testing.TB, paths ...string) {
	t.Helper()
	var none []string
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			none = append(none, p)
		}
	}
	if len(none) == 0 {
		return
	}
	why := "not here: " + strings.Join(none, ", ")
	if testenv.Strict() && !testenv.Guest() {
		t.Fatalf("SBX_TEST_ROOT=1 and %s", why)
	}
	t.Skip(why)
}
