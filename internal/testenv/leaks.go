package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// leakWait is how long NoLeaks waits for what is being torn down. The kernel
// ends namespaces in a worker after the wait (milliseconds; emulated guests are
// ten times slower); twice as long only makes a failing test slower.
const leakWait = 5 * time.Second

// Watch says what NoLeaks looks at besides the fixed list. The zero value adds
// nothing.
type Watch struct {
	// Globs are patterns (path/filepath) of entries that must not appear,
	// besides sbx* in /run, /dev/shm and the directory for temporary files
	// (TMPDIR, which tests that run side by side do not share).
	Globs []string
	// Programs are names of workloads: no process whose comm, or the base
	// name of whose executable, is one of them may be left. A comm has at
	// most 15 bytes. Those below another test binary are that one's.
	Programs []string
}

// NoLeaks notes the state of the host now and fails the test if, when it ends,
// something is there that was not: control-group leaves of sbx, mounts, open
// descriptors of this process, child processes, watched programs and paths,
// System V objects, keys. What goes away within a few seconds is no leak.
//
// It must be called before anything whose removal is a Cleanup of the test,
// and not in parallel tests: descriptors and children belong to the process.
// What belongs to a living process that this one did not start is not looked
// at: another test binary may run at the same time. It does not see mounts of
// other mount namespaces.
func NoLeaks(t testing.TB, watch ...Watch) {
	t.Helper()
	var w Watch
	for _, one := range watch {
		w.Globs = append(w.Globs, one.Globs...)
		w.Programs = append(w.Programs, one.Programs...)
	}
	before := snapshot(w)
	t.Cleanup(func() {
		leaked := added(before, snapshot(w))
		for watch := Begin(); len(leaked) > 0 && !watch.Over(leakWait); {
			// There is no event for most of this, so it is polled. Only what
			// is there every time counts: others may use the host too.
			time.Sleep(10 * time.Millisecond)
			leaked = both(leaked, added(before, snapshot(w)))
		}
		for _, item := range leaked {
			t.Errorf("left behind: %s", item)
		}
	})
}

// snapshot is everything that counts as a leftover, each item a line that
// begins with its kind; sorted.
func snapshot(w Watch) []string {
	var items []string
	add := func(kind string, names ...string) {
		for _, name := range names {
			items = append(items, kind+" "+name)
		}
	}
	family := readFamily()
	add("cgroup", leaves(family)...)
	add("mount", mounts()...)
	add("descriptor", descriptors()...)
	add("process", family.left(w.Programs)...)
	for _, glob := range append([]string{"/run/sbx*", os.TempDir() + "/sbx*", "/dev/shm/sbx*"}, w.Globs...) {
		matches, err := filepath.Glob(glob)
		if err != nil {
			// A bad pattern would never match: that is a bug of the test.
			panic(fmt.Sprintf("bug: pattern %q: %v", glob, err))
		}
		add("path", matches...)
	}
	for _, kind := range []string{"shm", "sem", "msg"} {
		add("sysv", sysv(kind)...)
	}
	add("key", keys()...)
	slices.Sort(items)
	return slices.Compact(items)
}

// added lists what is in after and not in before.
func added(before, after []string) []string {
	var out []string
	for _, item := range after {
		if _, ok := slices.BinarySearch(before, item); !ok {
			out = append(out, item)
		}
	}
	return out
}

// both lists what is in a and in b; b is sorted.
func both(a, b []string) []string {
	return slices.DeleteFunc(a, func(item string) bool {
		_, ok := slices.BinarySearch(b, item)
		return !ok
	})
}

// leaves lists the directories below the places for leaves: "sbx" at the mount
// point, and what a test made beside it under a name that begins with "sbx-".
// A leaf in which, or for which, a stranger lives is his.
func leaves(all family) []string {
	mount := CgroupMount()
	if mount == "" {
		return nil
	}
	var out []string
	for _, pattern := range []string{"/sbx/*/cgroup.procs", "/sbx-*/cgroup.procs", "/sbx-*/*/cgroup.procs"} {
		files, _ := filepath.Glob(mount + pattern)
		for _, file := range files {
			dir := filepath.Dir(file)
			if !slices.ContainsFunc(append(strings.Fields(read(file)), makers(dir[len(mount):])...), all.stranger) {
				out = append(out, dir)
			}
		}
	}
	return out
}

// makers are the pids in the names of a leaf and of the place that it is in:
// run-TIME-PID of a run, sbx-test-PID and what follows of a test.
func makers(path string) []string {
	var pids []string
	for _, name := range strings.Split(path, "/") {
		f := strings.Split(name, "-")
		if len(f) == 3 && f[0] == "run" || len(f) >= 3 && f[0] == "sbx" && f[1] == "test" {
			pids = append(pids, f[2])
		}
	}
	return pids
}

// mounts lists this mount namespace without the ids, which are reused.
func mounts() []string {
	var out []string
	for line := range strings.Lines(read("/proc/self/mountinfo")) {
		if f := strings.Fields(line); len(f) > 5 {
			out = append(out, f[4]+" "+f[3]+" "+f[2])
		}
	}
	return out
}

// descriptors lists the open descriptors of this process with what they are.
func descriptors() []string {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		// The descriptor that read the directory is closed by now. The
		// runtime's poller stays for the life of the process.
		if err != nil || strings.HasPrefix(target, "anon_inode:[event") {
			continue
		}
		out = append(out, e.Name()+" "+target)
	}
	return out
}

// sysv lists the System V objects of one kind by id and key.
func sysv(kind string) []string {
	var out []string
	for i, line := range strings.Split(read("/proc/sysvipc/"+kind), "\n") {
		if f := strings.Fields(line); i > 0 && len(f) > 1 {
			out = append(out, kind+" "+f[1]+" key "+f[0])
		}
	}
	return out
}

// keys lists the keys that this process may see, without the columns that
// change by themselves: uses and expiry (keyrings(7), /proc/keys).
func keys() []string {
	var out []string
	for line := range strings.Lines(read("/proc/keys")) {
		if f := strings.Fields(line); len(f) > 8 {
			out = append(out, f[0]+" "+f[7]+" "+f[8])
		}
	}
	return out
}

// read is the text of a file, or nothing when it cannot be read: a process may
// end at any moment, and a kernel may lack the file.
func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}
