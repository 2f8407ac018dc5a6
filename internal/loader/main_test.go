package loader

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

// childEnv has the work of a copy of the test binary, and the registry.
const childEnv = "SBX_LOADER_TEST_CHILD"

func TestMain(m *testing.M) {
	if work, dir, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		if err := child(work, dir); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(testenv.Main(m))
}

// child is a loader that somebody is about to kill. The state is SBX_STATE's.
func child(work, dir string) error {
	work, names, _ := strings.Cut(work, ":")
	if work == "run" { // as a one-shot run has it
		for name := range strings.SplitSeq(names, ",") {
			if _, _, _, err := Run(dir, []string{name}, Options{}); err != nil {
				return err
			}
		}
		return nil
	}
	place, err := OpenPlace(dir)
	if err != nil {
		return err
	}
	l, err := OpenFor(place, Options{Registries: []string{place.Path}})
	if err != nil {
		return err
	}
	if names == "" {
		_, err = l.Settle()
	} else {
		_, err = l.Load(strings.Split(names, ",")...)
	}
	return err
}
