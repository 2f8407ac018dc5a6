package state

import (
	"errors"
	"os"
	"testing"

	"github.com/sbx-project/sbx/internal/safefs"
)

// TestTornLineSpoilsNoOther: what a full disk or a power cut left of a line
// takes no verdict with it.
func TestTornLineSpoilsNoOther(t *testing.T) {
	for _, name := range []string{journalName, takenName} {
		dir := stateDir(t)
		if err := os.WriteFile(dir+"/k/"+name, []byte("v1 1000 r7 db.back"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Append(dir, "k", record(1)); err != nil {
			t.Fatal(err)
		}
		j, err := Take(dir, "k")
		if err != nil || j.Bad != 1 || len(j.Records) != 1 || j.Records[0].Violation != "ptrace" {
			t.Errorf("%s: %+v, %v", name, j, err)
		}
	}
}

// TestMarkStaysForALateViolation: a violation comes between a loader's Take and
// its end.
func TestMarkStaysForALateViolation(t *testing.T) {
	dir := stateDir(t)
	if err := MarkUnfinished(dir, "k"); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(dir, "k"); err != nil {
		t.Fatal(err)
	}
	if _, err := AppendUrgent(dir, "k", record(1)); err != nil {
		t.Fatal(err)
	}
	if err := MarkFinished(dir, "k"); err != nil || !Unfinished(dir, "k") {
		t.Errorf("nobody looks for the violation (%v)", err)
	}
	if _, err := Take(dir, "k"); err != nil {
		t.Fatal(err)
	}
	if err := MarkFinished(dir, "k"); err != nil || Unfinished(dir, "k") {
		t.Errorf("the mark stays (%v)", err)
	}
}

// TestForgedJournal: a journal that belongs to another user, as one could lie
// in a sticky directory, is not read and not written.
func TestForgedJournal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a file away needs root")
	}
	for _, name := range []string{journalName, takenName} {
		dir := stateDir(t)
		forged := record(1)
		if err := os.WriteFile(dir+"/k/"+name, []byte(forged.line()), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir+"/k/"+name, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		var owner *safefs.OwnerError
		if j, err := Take(dir, "k"); !errors.As(err, &owner) {
			t.Errorf("%s: %+v, %v", name, j, err)
		}
		if j, err := Peek(dir, "k"); !errors.As(err, &owner) {
			t.Errorf("%s: %+v, %v", name, j, err)
		}
		if name != journalName {
			continue
		}
		if _, err := Append(dir, "k", record(2)); !errors.As(err, &owner) {
			t.Errorf("appended to it: %v", err)
		}
	}
}
