package watch

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// TestLimits runs the tests of limits in a user namespace of their own, where
// the limits of inotify are its own as well (namespaces(7), /proc/sys/user).
func TestLimits(t *testing.T) {
	for _, name := range []string{"TestInsideWatches", "TestInsideInstances"} {
		t.Run(name, func(t *testing.T) {
			testenv.UserNamespaces(t)
			cmd := exec.Command("/proc/self/exe", "-test.run=^"+name+"$", "-test.v", "-test.count=1")
			cmd.Env = append(os.Environ(), "SBX_TEST_INSIDE=1")
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: "+name) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func inside(t *testing.T) {
	if os.Getenv("SBX_TEST_INSIDE") == "" {
		t.Skip("run by TestLimits")
	}
}

// TestInsideWatches: the limit of watches is reached; everything is polled,
// which is said, and when the limit is gone all is watched again.
func TestInsideWatches(t *testing.T) {
	inside(t)
	root := t.TempDir()
	for _, dir := range []string{"a", "b", "c", "d"} {
		must(t, os.Mkdir(root+"/"+dir, 0o755))
	}
	write(t, "/proc/sys/user/max_inotify_watches", "3")
	w := begin(t, root, Options{Check: 5 * time.Millisecond, Poll: 500 * time.Millisecond})
	if !errors.Is(w.Err(), unix.ENOSPC) {
		t.Fatalf("err %v, want ENOSPC", w.Err())
	}
	for range 3 {
		w.until("everything", func(h Hint) bool { return h.All })
	}
	write(t, "/proc/sys/user/max_inotify_watches", "100")
	for deadline := time.Now().Add(patience); w.Err() != nil; {
		if time.Now().After(deadline) {
			t.Fatalf("still %v", w.Err())
		}
		w.until("everything", func(h Hint) bool { return h.All })
	}
	// A poll may come at the same moment and take the name in: once more then.
	w.until("d/f by name", func(h Hint) bool {
		write(t, root+"/d/f", "x")
		return slices.Contains(h.Paths, root+"/d/f")
	})

	// And the limit is reached later, by a directory that is new.
	write(t, "/proc/sys/user/max_inotify_watches", "5")
	must(t, os.Mkdir(root+"/e", 0o755))
	for deadline := time.Now().Add(patience); !errors.Is(w.Err(), unix.ENOSPC); {
		if time.Now().After(deadline) {
			t.Fatalf("err %v, want ENOSPC", w.Err())
		}
		w.until("everything", func(h Hint) bool { return h.All || len(h.Paths) > 0 })
	}
}

// TestInsideInstances: no instance of inotify can be had.
func TestInsideInstances(t *testing.T) {
	inside(t)
	write(t, "/proc/sys/user/max_inotify_instances", "0")
	root := t.TempDir()
	w := begin(t, root, Options{Check: 5 * time.Millisecond, Poll: never})
	if !errors.Is(w.Err(), unix.EMFILE) {
		t.Fatalf("err %v, want EMFILE", w.Err())
	}
	for range 3 {
		w.until("everything", func(h Hint) bool { return h.All })
	}
}
