package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func record(n int) Record {
	return Record{Time: time.Unix(0, int64(1000+n)), Run: "r" + fmt.Sprint(n), Command: "db.backup", Revision: "sha256:00", Violation: []string{"", "ptrace"}[n%2]}
}

func stateDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/k", 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestJournalKeepsWhatWasAppended(t *testing.T) {
	dir := stateDir(t)
	if j, err := Take(dir, "k"); err != nil || len(j.Records) != 0 {
		t.Error(j, err)
	}
	var size int64
	for n := range 3 {
		var err error
		if size, err = Append(dir, "k", record(n)); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(dir + "/k/journal"); err != nil || st.Size() != size || st.Mode().Perm() != 0o600 {
		t.Errorf("size %d, file %v, %v", size, st, err)
	}
	// A loader that dies after each Take leaves all to the next one, and what
	// comes meanwhile is not lost.
	for range 2 {
		j, err := Take(dir, "k")
		if err != nil || j.Bad != 0 || len(j.Records) != 3 || j.Full {
			t.Fatal(j, err)
		}
		for n, r := range j.Records {
			if want := record(n); !r.Time.Equal(want.Time) || r.Run != want.Run || r.Command != want.Command || r.Violation != want.Violation {
				t.Errorf("record %d: %v", n, r)
			}
		}
	}
	if _, err := Append(dir, "k", record(3)); err != nil {
		t.Fatal(err)
	}
	if j, err := Peek(dir, "k"); err != nil || len(j.Records) != 4 {
		t.Fatal(j, err)
	}
	j, err := Take(dir, "k")
	if err != nil || len(j.Records) != 4 {
		t.Fatal(j, err)
	}
	if _, err := Append(dir, "k", record(4)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := j.Done(); err != nil {
			t.Fatal(err)
		}
	}
	if j, err := Take(dir, "k"); err != nil || len(j.Records) != 1 || j.Records[0].Run != record(4).Run {
		t.Fatal(j, err)
	}
}

// TestJournalCountsARunOnce: a crash while records are moved leaves some twice.
func TestJournalCountsARunOnce(t *testing.T) {
	dir := stateDir(t)
	r := record(0)
	for _, name := range []string{"journal", "journal.taken"} {
		if err := os.WriteFile(dir+"/k/"+name, []byte(r.line()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if j, err := Take(dir, "k"); err != nil || len(j.Records) != 1 {
			t.Fatal(j, err)
		}
	}
}

// TestJournalLosesNothing: runs append while loaders take.
func TestJournalLosesNothing(t *testing.T) {
	dir := stateDir(t)
	const writers, each = 8, 200
	var running sync.WaitGroup
	for w := range writers {
		running.Go(func() {
			for n := range each {
				r := record(0)
				r.Run = fmt.Sprintf("r%d-%d", w, n)
				if _, err := Append(dir, "k", r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { running.Wait(); close(finished) }()
	got := 0
	for done := false; !done; {
		select {
		case <-finished:
			done = true
		default:
		}
		j, err := Take(dir, "k")
		if err != nil {
			t.Fatal(err)
		}
		got += len(j.Records)
		if err := j.Done(); err != nil {
			t.Fatal(err)
		}
	}
	if got != writers*each {
		t.Errorf("%d records of %d", got, writers*each)
	}
}

func TestJournalSkipsWhatIsNoRecord(t *testing.T) {
	dir := stateDir(t)
	good := record(1)
	text := "\nv1 1 r c d\nv2 1 r c d -\nv1 01 r c d -\nv1 1  c d -\nv1 1 r c d x y\n" + strings.Repeat("v", 600) + "\n" + good.line() + "v1 1 r c d"
	if err := os.WriteFile(dir+"/k/journal", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if j, err := Take(dir, "k"); err != nil || len(j.Records) != 1 || j.Bad != 8 {
		t.Error(j, err)
	}
}

func TestJournalRefuses(t *testing.T) {
	dir := stateDir(t)
	for _, r := range []Record{{}, {Run: "a b", Command: "c", Revision: "d"}, {Run: "a\nb", Command: "c", Revision: "d"}, {Run: strings.Repeat("x", 600), Command: "c", Revision: "d"}} {
		if _, err := Append(dir, "k", r); err == nil {
			t.Errorf("%v was appended", r)
		}
	}
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, dir+"/k/journal"); err != nil {
		t.Fatal(err)
	}
	if _, err := Append(dir, "k", record(0)); err == nil {
		t.Error("a link was followed")
	}
	if err := os.Chmod(dir+"/k", 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Append(dir, "k", record(0)); err == nil {
		t.Error("a directory that others may write was believed")
	}
}

func FuzzRecord(f *testing.F) {
	good := record(1)
	for _, s := range []string{good.line(), "v1 1 r c d -\n", "v1 -1 r c d -\n", "", "v1\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := parseRecord(s); err == nil && r.line() != s {
			t.Errorf("%q became %q", s, r.line())
		}
	})
}
