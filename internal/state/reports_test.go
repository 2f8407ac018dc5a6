package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestReports: the newest are kept, in order, for their owner alone.
func TestReports(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	state := dir + "/a/state"
	for i := range KeptReports + 10 {
		if err := KeepReport(state, fmt.Sprintf("run-%d", i), fmt.Appendf(nil, "{%d}\n", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := KeepReport(state, fmt.Sprintf("run-%d", KeptReports), []byte("{}\n")); err != nil { // again
		t.Error(err)
	}
	names, err := filepath.Glob(state + "/reports/*")
	if err != nil || len(names) != KeptReports {
		t.Fatalf("%d reports, %v", len(names), err)
	}
	for i, name := range names {
		text, err := os.ReadFile(name)
		if want := fmt.Sprintf("{%d}\n", i+10); err != nil || string(text) != want {
			t.Errorf("report %d: %q, %v, want %q", i, text, err, want)
		}
		if st, err := os.Stat(name); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	if st, err := os.Stat(state + "/reports"); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", st.Mode(), err)
	}
}

// TestReportsCutOff: a write that was cut off leaves no report, and its file
// goes when it is old; a directory that is open to others is closed.
func TestReportsCutOff(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(dir, 0o700))
	must(os.Mkdir(dir+"/reports", 0o755))
	for name, age := range map[string]time.Duration{".old.json.x~": 2 * time.Hour, ".young.json.x~": 0} {
		must(os.WriteFile(dir+"/reports/"+name, []byte("{half"), 0o600))
		at := time.Now().Add(-age)
		must(os.Chtimes(dir+"/reports/"+name, at, at))
	}
	for range KeptReports {
		must(KeepReport(dir, "", []byte("{}\n")))
	}
	left, err := filepath.Glob(dir + "/reports/.*")
	must(err)
	if len(left) != 1 || !strings.HasSuffix(left[0], "/.young.json.x~") {
		t.Errorf("left: %v", left)
	}
	if st, err := os.Stat(dir + "/reports"); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", st.Mode(), err)
	}
}

// TestReportsAtOnce: many writers at once lose none of the newest.
func TestReportsAtOnce(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for k := range KeptReports / 4 {
				if err := KeepReport(dir, fmt.Sprintf("%d-%d", i, k), []byte("{}\n")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := KeepReport(dir, "last", []byte("{}\n")); err != nil {
		t.Error(err)
	}
	if names, err := filepath.Glob(dir + "/reports/*.json"); err != nil || len(names) != KeptReports {
		t.Errorf("%d reports, %v", len(names), err)
	}
}

// TestReportsRefused: a directory that others may write is not written to, and
// without a state directory nothing is kept.
func TestReportsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/s", 0o700), os.Chmod(dir+"/s", 0o777)); err != nil {
		t.Fatal(err)
	}
	if err := KeepReport(dir+"/s", "r", []byte("{}\n")); err == nil {
		t.Error("written where everybody may write")
	}
	if err := KeepReport("", "r", []byte("{}\n")); err != nil {
		t.Error(err)
	}
	if err := KeepReport(dir+"/x", "r", make([]byte, maxReport+1)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir + "/x"); err == nil {
		t.Error("a report beyond the bound made a directory")
	}
}
