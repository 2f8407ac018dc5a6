package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestStrangersLeavesAreTheirs: a leaf is not reported while a process that
// this one did not start lives for it, and is when nobody does.
func TestStrangersLeavesAreTheirs(t *testing.T) {
	Root(t)
	mount := CgroupMount()
	if mount == "" {
		missing(t, "no cgroup v2 hierarchy is mounted")
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(mount, "sbx-leak-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(place, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(place) })
	for _, tt := range []struct {
		name  string
		pid   int
		found bool
	}{
		{"a stranger's", 1, false},
		{"our own", os.Getpid(), true},
		{"one whose maker has gone", gone.ProcessState.Pid(), true},
	} {
		leaf := filepath.Join(place, "run-x-"+strconv.Itoa(tt.pid))
		if err := os.Mkdir(leaf, 0o755); err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(leaves(readFamily()), leaf); got != tt.found {
			t.Errorf("the leaf of %s: reported %v, want %v", tt.name, got, tt.found)
		}
		if err := os.Remove(leaf); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFamily: who counts as started here.
func TestFamily(t *testing.T) {
	self := strconv.Itoa(os.Getpid())
	all := family{
		"1": {"init", "0"}, self: {"testenv.test", "1"}, "1000001": {"tool", self}, "1000002": {"tool", "1000001"},
		"1000003": {"integration.tes", "1"}, "1000004": {"tool", "1000003"}, "1000005": {"tool", "1"},
	}
	got := all.left([]string{"tool"})
	slices.Sort(got)
	if want := "1000001 tool,1000002 tool,1000005 tool"; strings.Join(got, ",") != want {
		t.Errorf("left = %q, want %q", got, want)
	}
	for pid, want := range map[string]bool{"1": true, self: false, "1000002": false, "1000004": true, "1000009": false} {
		if got := all.stranger(pid); got != want {
			t.Errorf("stranger(%s) = %v, want %v", pid, got, want)
		}
	}
}

func TestIsTest(t *testing.T) {
	for comm, want := range map[string]bool{"nsexec.test": true, "integration.tes": true, "hostile": false, "a.t": false, "x.go": false, "integrationABC.": false} {
		if got := isTest(comm); got != want {
			t.Errorf("isTest(%q) = %v, want %v", comm, got, want)
		}
	}
}
