//go:build weak

package weak

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

// bin holds sbx and sbxd built with the tag, and the battery.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weak-")
	if err == nil {
		defer os.RemoveAll(dir)
		bin = dir
		err = errors.Join(os.Chmod(dir, 0o755),
			build("build", "-tags", "weak", "-o", dir+"/sbx", "../../cmd/sbx"),
			build("build", "-tags", "weak", "-o", dir+"/sbxd", "../../cmd/sbxd"),
			build("test", "-c", "-o", dir+"/hostile.test", "../hostile"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return testenv.Main(m)
}

func build(args ...string) error {
	cmd := exec.Command("go", args...)
	if args[len(args)-1] == "../../cmd/sbx" {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, text)
	}
	return nil
}

// fallen runs tests of the battery without a measure, "" for none, and lists
// those that failed and have no part that failed.
func fallen(t *testing.T, off, tests string) (names []string, output string) {
	t.Helper()
	cmd := exec.Command(bin+"/hostile.test", "-test.run", tests, "-test.v", "-test.short", "-test.timeout=1m")
	cmd.Dir = "../hostile"
	cmd.Env = append(os.Environ(), "SBX_TEST_BIN="+bin, "SBX_WEAK="+off)
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	failed, ran := map[string]bool{}, 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "--- FAIL: "); ok {
			name, _, _ = strings.Cut(name, " ")
			failed[name] = true
			ran++
		}
		if strings.HasPrefix(line, "--- PASS: ") {
			ran++
		}
	}
	if ran == 0 {
		t.Fatalf("%q names no test: %.500s", tests, text)
	}
	for name := range failed {
		part := false
		for other := range failed {
			part = part || strings.HasPrefix(other, name+"/")
		}
		if !part {
			names = append(names, strings.TrimPrefix(name, "TestBattery/"))
		}
	}
	return names, string(text)
}

// TestMeasures: with every measure in place the tests hold; without it one of
// them falls, and the act itself does, not the program that comes before it.
func TestMeasures(t *testing.T) {
	testenv.Root(t)
	if _, err := exec.LookPath("gcc"); err != nil && os.Getenv("SBX_TEST_HOSTILE") == "" {
		t.Fatal("neither gcc nor SBX_TEST_HOSTILE")
	}
	lines := map[int]bool{}
	for _, m := range measures {
		lines[m.line] = true
		t.Run(fmt.Sprintf("%02d/%s", m.line, m.off), func(t *testing.T) {
			if names, text := fallen(t, "", m.tests); len(names) > 0 {
				t.Fatalf("with the measure in place %q fall:\n%.3000s", names, text)
			}
			names, text := fallen(t, m.off, m.tests)
			switch {
			case len(names) == 0:
				t.Errorf("without %s (SBX_WEAK=%s) nothing falls:\n%.3000s", m.what, m.off, text)
			case strings.Contains(text, "an honest program: "):
				t.Errorf("without %s (SBX_WEAK=%s) nothing runs at all:\n%.3000s", m.what, m.off, text)
			default:
				more := ""
				if len(names) > 1 {
					more = fmt.Sprintf(" and %d more", len(names)-1)
				}
				fmt.Printf("line %02d without %s: %s%s\n", m.line, m.what, names[0], more)
			}
		})
	}
	for line := 1; line <= 33; line++ {
		if !lines[line] {
			t.Errorf("line %d has no measure", line)
		}
	}
	// What weakened runs left is not the next run's; a leaf in use stays.
	if left, _ := filepath.Glob(testenv.CgroupMount() + "/sbx/run-*"); len(left) > 0 {
		for _, leaf := range left {
			os.Remove(leaf)
		}
	}
}
