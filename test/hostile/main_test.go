package hostile_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

var (
	bareOnly = flag.Bool("hostile.bare", false, "run only the acts without a sandbox, which must get through")
	verbose  = flag.Bool("hostile.v", false, "print what each act said")
)

// program is the path of the built acts; missing says why there is none.
var program, missing string

func TestMain(m *testing.M) {
	flag.Parse()
	// The acts judge what they inherit, so the caller's own umask must not
	// decide the fixture's modes.
	syscall.Umask(0)
	// Nor what it ignores (nohup, a shell's background job): a handler here
	// gives those whom we start the default again.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	dir, err := os.MkdirTemp("", "hostile-build-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program, err = build(dir)
	if err != nil {
		missing = err.Error()
	}
	status := testenv.Main(m)
	summary()
	os.RemoveAll(dir)
	os.Exit(status)
}

// build compiles testdata/src, or takes the program that SBX_TEST_HOSTILE
// names (a guest has no compiler).
func build(dir string) (string, error) {
	if path := os.Getenv("SBX_TEST_HOSTILE"); path != "" {
		return filepath.Abs(path)
	}
	sources, err := filepath.Glob("testdata/src/*.c")
	if err != nil || len(sources) == 0 {
		return "", fmt.Errorf("SBX_TEST_HOSTILE is not set and testdata/src is empty")
	}
	out := filepath.Join(dir, "hostile")
	// Not position independent: the 32-bit entry takes pointers below 4 GiB.
	args := append([]string{"-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-static", "-no-pie", "-o", out}, sources...)
	if text, err := exec.Command("gcc", append(args, "-lutil")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("SBX_TEST_HOSTILE is not set and gcc: %v\n%s", err, text)
	}
	return out, nil
}

// needProgram ends the test when the acts could not be built.
func needProgram(t *testing.T) {
	t.Helper()
	if missing == "" {
		return
	}
	if testenv.Strict() {
		t.Fatalf("SBX_TEST_ROOT=1 and %s", missing)
	}
	t.Skip(missing)
}

// needSbx is the path of sbx, or the end of the test.
func needSbx(t *testing.T) string {
	t.Helper()
	if *bareOnly {
		t.Skip("-hostile.bare")
	}
	dir := os.Getenv("SBX_TEST_BIN")
	path := filepath.Join(dir, "sbx")
	if _, err := os.Stat(path); dir != "" && err == nil {
		return path
	}
	why := fmt.Sprintf("SBX_TEST_BIN=%q holds no sbx", dir)
	if testenv.Strict() {
		t.Fatalf("SBX_TEST_ROOT=1 and %s", why)
	}
	t.Skip(why)
	return ""
}

// TestTableIsWhole pins that every act of the program has a row, that every
// row has an act, and that every line of the list has rows.
func TestTableIsWhole(t *testing.T) {
	needProgram(t)
	text, err := exec.Command(program, "--list").Output()
	if err != nil {
		t.Fatalf("--list: %v", err)
	}
	have := map[string]bool{}
	for _, name := range strings.Fields(string(text)) {
		have[name] = true
	}
	rows, lines := map[string]bool{}, map[int]int{}
	for _, a := range all() {
		if !have[a.name] {
			t.Errorf("row %02d/%s: the program has no such act", a.line, a.name)
		}
		if rows[a.name] {
			t.Errorf("row %02d/%s: twice in the table", a.line, a.name)
		}
		rows[a.name] = true
		lines[a.line]++
	}
	for _, name := range helpers {
		rows[name] = true
	}
	for name := range have {
		if !rows[name] {
			t.Errorf("act %s has no row", name)
		}
	}
	for line := 1; line <= 33; line++ {
		if lines[line] == 0 && ownTests[line] == "" {
			t.Errorf("line %d has no act", line)
		}
	}
}
