package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// cut is what a power cut would leave of the journal's two files at the worst:
// of each the content of its last fsync(2), and its name from that of the
// directory; of a truncation and a removal, which nobody asked to be made
// durable, that it is.
type cut struct {
	dir     string
	content map[string][]byte // durable, by name
	named   map[string]bool
}

func (c *cut) after(call testenv.Call) {
	path := call.Path()
	name := filepath.Base(path)
	switch call.Number {
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		if path == c.dir {
			for _, name := range []string{journalName, takenName} {
				_, err := os.Stat(c.dir + "/" + name)
				c.named[name] = err == nil
			}
			return
		}
		c.content[name], _ = os.ReadFile(path)
	case unix.SYS_FTRUNCATE:
		b := c.content[name]
		c.content[name] = b[:min(len(b), int(call.Args[1]))]
	case unix.SYS_UNLINKAT:
		for name := range c.named {
			if _, err := os.Stat(c.dir + "/" + name); err != nil {
				c.named[name] = false
			}
		}
	}
}

func (c *cut) has(r Record) bool {
	for name, b := range c.content {
		if c.named[name] && bytes.Contains(b, []byte(r.line())) {
			return true
		}
	}
	return false
}

// TestPowerCutKeepsAnAnsweredViolation: from the moment at which a caller was
// told of a violation in probation, its record is on the disk, whatever the
// loader that takes it has come to.
func TestPowerCutKeepsAnAnsweredViolation(t *testing.T) {
	for _, before := range []string{"", journalName, takenName} {
		dir := stateDir(t)
		c := &cut{dir: dir + "/k", content: map[string][]byte{}, named: map[string]bool{}}
		if before != "" { // a file that is there and durable
			r := record(0)
			must(t, os.WriteFile(dir+"/k/"+before, []byte(r.line()), 0o600))
			c.content[before], c.named[before] = []byte(r.line()), true
		}
		answered, cuts := false, 0
		said := traced(t, "life", dir, func(call testenv.Call) testenv.Act {
			if call.Done && call.Result >= 0 {
				if call.Changes(dir) {
					c.after(call)
				}
				answered = answered || call.Number == unix.SYS_WRITE && call.Args[0] == 1
				if answered {
					cuts++
					if !c.has(late) {
						t.Errorf("%q before: a cut after call %d (%#x) loses the violation", before, call.Number, call.Args)
					}
				}
			}
			return testenv.Act{}
		})
		if !strings.Contains(said, "answered\nend <nil>\n") || cuts < 10 {
			t.Errorf("%q, %d cuts", said, cuts)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryChangeMayFail: there is no room at each change of a file that this
// package makes, one after the other. What was there before stays whole, and
// what is said to be done is.
func TestEveryChangeMayFail(t *testing.T) {
	if !testenv.CanFail {
		t.Skip("making a system call fail is written for amd64")
	}
	old := strings.Repeat("old ", 6000)
	for _, work := range []string{"append", "urgent", "take", "done", "finish", "plan"} {
		reached := false
		for at := 1; !reached; at++ {
			dir := stateDir(t)
			seed(t, dir, work, old)
			seen, hit := 0, testenv.Call{}
			said := traced(t, work, dir, func(call testenv.Call) testenv.Act {
				if call.Done || !call.Changes(dir) {
					return testenv.Act{}
				}
				if seen++; seen != at {
					return testenv.Act{}
				}
				hit = call
				return testenv.Act{Fail: unix.ENOSPC}
			})
			if reached = seen < at; reached && (at == 1 || !strings.HasSuffix(said, "end <nil>\n")) {
				t.Fatalf("%s, nothing failing: %d changes, %q", work, seen, said)
			}
			_, said, whole := strings.Cut(said, "end ")
			if !whole {
				t.Fatalf("%s: change %d: %q", work, at, said)
			}
			ok := said == "<nil>\n"
			if !ok && !strings.Contains(said, unix.ENOSPC.Error()) {
				t.Errorf("%s: change %d: %s", work, at, said)
			}
			if err := left(dir, work, old, ok, hit); err != nil {
				t.Errorf("%s: change %d (call %d), %s: %v", work, at, hit.Number, strings.TrimSpace(said), err)
			}
		}
	}
}

// seed is the state before a child's work.
func seed(t *testing.T, dir, work, old string) {
	t.Helper()
	for n := range 2 {
		r := record(2 * n)
		if work != "finish" && n == 1 {
			r = record(1) // a violation
		}
		if _, err := Append(dir, "k", r); err != nil {
			t.Fatal(err)
		}
	}
	switch work {
	case "finish":
		must(t, MarkUnfinished(dir, "k"))
	case "plan":
		must(t, Write(PlanPath(dir, "k", "tool"), []byte(old)))
	}
}

// left checks what is there after a child's work.
func left(dir, work, old string, ok bool, hit testenv.Call) error {
	j, err := Peek(dir, "k")
	if err != nil {
		return err
	}
	want := 2
	synced := hit.Number == unix.SYS_FSYNC // then the record is there and nobody may rely on it
	switch work {
	case "append", "urgent":
		if ok || work == "urgent" && synced {
			want++
		}
		if ok && work == "urgent" && !Unfinished(dir, "k") {
			return errors.New("nobody looks for the violation")
		}
	case "done":
		if ok && hit.Number == 0 {
			want = 0
		} else if len(j.Records) == 0 {
			want = 0 // Done may have come to its end
		}
	case "finish":
		if ok == Unfinished(dir, "k") {
			return errors.New("the mark does not say so")
		}
	case "plan":
		b, err := os.ReadFile(PlanPath(dir, "k", "tool"))
		if err != nil {
			return err
		}
		if text := string(b); ok && text != strings.Repeat("new ", 5000) || !ok && text != old {
			return errors.New("the plan is neither the old nor the new")
		}
		if found, _ := filepath.Glob(dir + "/k/plans/.*"); len(found) > 0 {
			return errors.New("left behind: " + found[0])
		}
	}
	if len(j.Records) != want || j.Bad > 0 {
		return errors.New("the journal is not whole")
	}
	return nil
}
