package agree_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

// bin holds sbx, sbxd and the probe; missing says why it does not.
var bin, missing string

// probeFlags make a program without a C library that calls nothing by itself.
var probeFlags = []string{
	"-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-nostdlib", "-static", "-no-pie", "-ffreestanding",
	"-fno-stack-protector", "-fno-tree-loop-distribute-patterns", "-Wl,--build-id=none",
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	syscall.Umask(0o022)
	// A guest's root is a file system that takes no mapped mounts; its
	// scratch disk is ext4.
	for _, dir := range []string{os.Getenv("SBX_TEST_DIR"), "/scratch", os.TempDir()} {
		if st, err := os.Stat(dir); dir != "" && err == nil && st.IsDir() {
			os.Setenv("TMPDIR", dir)
			break
		}
	}
	dir, err := os.MkdirTemp("", "agree-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(os.Chmod(dir, 0o755), installSbx(dir), installProbe(dir+"/probe")); err != nil {
		missing = err.Error()
	}
	bin = dir
	return testenv.Main(m)
}

func installSbx(dir string) error {
	if from := os.Getenv("SBX_TEST_BIN"); from != "" {
		return errors.Join(copyFile(dir+"/sbx", from+"/sbx"), copyFile(dir+"/sbxd", from+"/sbxd"))
	}
	for _, name := range []string{"sbx", "sbxd"} {
		cmd := exec.Command("go", "build", "-o", dir+"/"+name, "../../cmd/"+name)
		if name == "sbx" {
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		}
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("SBX_TEST_BIN is not set and go build: %w\n%s", err, text)
		}
	}
	return nil
}

func installProbe(to string) error {
	if from := os.Getenv("SBX_TEST_PROBE"); from != "" {
		return copyFile(to, from)
	}
	if text, err := exec.Command("gcc", append(probeFlags, "-o", to, "testdata/probe.c")...).CombinedOutput(); err != nil {
		return fmt.Errorf("SBX_TEST_PROBE is not set and gcc: %w\n%s", err, text)
	}
	return nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o555)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// needAll ends the test when something to run is not there. It is never a
// skip: the package has no other subject.
func needAll(t *testing.T) {
	t.Helper()
	if missing != "" {
		t.Fatal(missing)
	}
}
