package live

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/testenv"
)

// childEnv has the registry of a copy of the test binary, which keeps it in
// force until it is killed. The state is SBX_STATE's.
const childEnv = "SBX_LIVE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		fmt.Fprintln(os.Stderr, "child:", child(dir))
		os.Exit(1)
	}
	os.Exit(testenv.Main(m))
}

func child(dir string) error {
	place, err := loader.OpenPlace(dir)
	if err != nil {
		return err
	}
	set, err := Start([]loader.Place{place}, Options{
		Loader: loader.Options{Registries: []string{dir}}, Settle: time.Millisecond, Journal: 5 * time.Millisecond,
		Poll: time.Hour, // what comes in force, came by an event
	})
	if err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("up\n"); err != nil {
		return err
	}
	for { // as callers do
		for _, e := range set.View().All() {
			_, _ = set.Plan(e) // who asks may come too early
		}
		time.Sleep(time.Millisecond)
	}
}
