// Package testenv is what tests of mechanisms ask before they begin and after
// they end: may this be tried here, and did it leave anything behind.
//
// Use the gates ([Root], [Controllers], [UserNamespaces], [Kernel], [Feature])
// at the top of a test and [NoLeaks] right after them; call [Main] from
// TestMain so that what was skipped is counted and named.
//
// The promise is that a green run means the tests ran: with SBX_TEST_ROOT=1 in
// the environment a missing privilege or feature fails the test. Skipped even
// then is only what the host really cannot give: a controller that is bound to
// cgroup version 1 there, or a kernel older than the feature.
package testenv

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
)

// Strict reports whether a missing privilege or feature is a failure.
func Strict() bool { return os.Getenv("SBX_TEST_ROOT") == "1" }

// skips counts what was skipped by its reason.
var skips struct {
	mu      sync.Mutex
	reasons map[string]int
}

// missing ends the test: with Strict as failed, else as skipped.
func missing(t testing.TB, reason string) {
	t.Helper()
	if Strict() {
		t.Fatalf("SBX_TEST_ROOT=1 and %s", reason)
	}
	skip(t, reason)
}

// skip ends the test as skipped and counts the reason.
func skip(t testing.TB, reason string) {
	t.Helper()
	skips.mu.Lock()
	if skips.reasons == nil {
		skips.reasons = make(map[string]int)
	}
	skips.reasons[reason]++
	skips.mu.Unlock()
	t.Skip(reason)
}

// Main runs the tests, then prints to stderr how many were skipped by a gate
// of this package and why. It returns the exit status for TestMain.
func Main(m *testing.M) int {
	status := m.Run()
	skips.mu.Lock()
	defer skips.mu.Unlock()
	if line := summary(skips.reasons); line != "" {
		fmt.Fprint(os.Stderr, line)
	}
	return status
}

// summary is one line with the count and a line for each reason, sorted; empty
// when nothing was skipped.
func summary(reasons map[string]int) string {
	total := 0
	lines := make([]string, 0, len(reasons))
	for reason, n := range reasons {
		total += n
		lines = append(lines, fmt.Sprintf("\t%d: %s\n", n, reason))
	}
	if total == 0 {
		return ""
	}
	slices.Sort(lines)
	out := fmt.Sprintf("skipped: %d\n", total)
	for _, line := range lines {
		out += line
	}
	return out
}
