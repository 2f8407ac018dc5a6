package state

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

// childEnv has the work of a copy of the test binary, and its directory.
const childEnv = "SBX_STATE_TEST_CHILD"

func TestMain(m *testing.M) {
	if work, dir, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		child(work, dir)
		return
	}
	os.Exit(testenv.Main(m))
}

// late is the record that a child appends.
var late = record(7)

// child does its work and says how it ended.
func child(work, dir string) {
	var err error
	switch work {
	case "append":
		_, err = Append(dir, "k", late)
	case "urgent":
		_, err = AppendUrgent(dir, "k", late)
	case "take":
		var j *Journal
		if j, err = Take(dir, "k"); err == nil && len(j.Records) != 2 {
			err = fmt.Errorf("%d records", len(j.Records))
		}
	case "done":
		var j *Journal
		if j, err = Take(dir, "k"); err == nil {
			err = j.Done()
		}
	case "finish":
		err = MarkFinished(dir, "k")
	case "plan":
		err = Write(PlanPath(dir, "k", "tool"), []byte(strings.Repeat("new ", 5000)))
	case "life":
		if _, err = AppendUrgent(dir, "k", late); err == nil {
			fmt.Println("answered")
			_, err = Take(dir, "k")
		}
	}
	fmt.Println("end", err)
}

// traced lets a child work under the eyes of at, and returns what it said.
func traced(t *testing.T, work, dir string, at func(testenv.Call) testenv.Act) string {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+work+" "+dir)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	testenv.Trace(t, cmd, at)
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
