package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// hostState is what runs must leave on the host as they found it. Everything is a count.
type hostState struct {
	descriptors, mounts, groups, namespaces int
	files                                   int // open files of the whole host
	kernel                                  int // bytes of the kernel's own that nobody can reclaim
}

func readState() hostState {
	s := hostState{namespaces: netObjects(), groups: len(leaves())}
	fds, _ := os.ReadDir("/proc/self/fd")
	s.descriptors = len(fds)
	text, _ := os.ReadFile("/proc/self/mountinfo")
	s.mounts = strings.Count(string(text), "\n")
	text, _ = os.ReadFile("/proc/sys/fs/file-nr")
	fmt.Sscan(string(text), &s.files)
	text, _ = os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch f[0] {
		case "SUnreclaim:", "KernelStack:", "PageTables:", "Percpu:":
			kib, _ := strconv.Atoi(f[1])
			s.kernel += kib << 10
		}
	}
	return s
}

// kernelLog is where the kernel's log ends now, and what was in it since the
// position from that tells of a fault of its own (dmesg(1)).
func kernelLog(from int) (end int, faults []string) {
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, nil // not for everybody
	}
	defer f.Close()
	buf := make([]byte, 8<<10)
	for {
		// One record each: "level,sequence,time,flags;text" (Documentation/ABI/testing/dev-kmsg).
		n, err := unix.Read(int(f.Fd()), buf)
		if err == unix.EPIPE || err == unix.EINTR {
			continue // overwritten meanwhile
		}
		if err != nil || n <= 0 {
			return end, faults
		}
		head, text, _ := strings.Cut(string(buf[:n]), ";")
		if fields := strings.Split(head, ","); len(fields) > 1 {
			end, _ = strconv.Atoi(fields[1])
		}
		for _, word := range []string{"BUG:", "WARNING:", "Call Trace", "refcount_t", "general protection", "blocked for more than"} {
			if end > from && strings.Contains(text, word) {
				faults = append(faults, strings.TrimSpace(text))
			}
		}
	}
}

// TestSoak makes many runs in a row, of every kind, and compares the host
// before and after. SBX_TEST_RUNS is how many; `make soak` says 100,000.
func TestSoak(t *testing.T) {
	runs := rounds(400)
	if s := os.Getenv("SBX_TEST_RUNS"); s != "" {
		runs = mustInt(t, s)
	}
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "tool", bin+"/act", "")
		kinds := []struct {
			args   []string
			status int
		}{
			{[]string{"exit", "0"}, 0}, {[]string{"args", "a", "b"}, 0}, {[]string{"exit", "7"}, 7}, {[]string{"exit", "0"}, 0},
			{[]string{"forbid"}, 159}, {[]string{"die", "TERM"}, 143}, {[]string{"write", "/tmp/file", "text"}, 0}, {[]string{"exit", "0"}, 0},
		}
		one := func(i int) error {
			kind := kinds[i%len(kinds)]
			own := *h
			r, err := own.try(call{verb: "run", plain: true, flags: []string{"--registry", h.path("registry")}, words: append([]string{"tool"}, kind.args...)})
			if err == nil && r.status != kind.status {
				err = fmt.Errorf("run %d: want status %d\n%s", i, kind.status, r)
			}
			return err
		}
		for i := range 50 { // what is made once and kept does not count
			if err := one(i); err != nil {
				t.Fatal(err)
			}
		}
		log, _ := kernelLog(0)
		before, begin := settled(hostState{}), time.Now()
		var next atomic.Int64
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				for i := int(next.Add(1)); i <= runs && !t.Failed(); i = int(next.Add(1)) {
					if err := one(i); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		took := time.Since(begin)
		nothingLeft(t, time.Second)
		// Others use the host too; a leak is what grows with the runs.
		bound := max(runs/10, 40)
		after := settled(hostState{namespaces: before.namespaces + bound, groups: before.groups + bound, files: before.files + 50*bound})
		_, faults := kernelLog(log)
		t.Logf("%d runs in %v, %.0f a second", runs, took.Round(time.Millisecond), float64(runs)/took.Seconds())
		t.Logf("before %+v", before)
		t.Logf("after  %+v", after)
		for _, line := range faults {
			t.Errorf("the kernel says: %s", line)
		}
		if after.descriptors > before.descriptors || after.mounts > before.mounts {
			t.Errorf("descriptors or mounts of this process have grown")
		}
		if after.groups-before.groups > bound || after.namespaces-before.namespaces > bound || after.files-before.files > 50*bound {
			t.Errorf("control groups, network namespaces or open files have grown with the runs")
		}
		// Half a KiB is less than any object of a run that could stay; 32 MiB
		// is what caches of others move.
		if grown := after.kernel - before.kernel; grown > 512*runs+32<<20 {
			t.Errorf("the kernel holds %d KiB more that cannot be reclaimed", grown>>10)
		}
		if found, _ := filepath.Glob(h.path("state") + "/*/tmp*"); len(found) > 0 {
			t.Errorf("left in the state: %q", found)
		}
	})
}

// settled is the state as soon as the kernel's worker has taken down what runs
// left to it: when the number of network namespaces no longer falls and there is
// no more than most; of that, zero is anything.
func settled(most hostState) hostState {
	s := readState()
	for end := time.Now().Add(patience()); time.Now().Before(end); {
		time.Sleep(200 * time.Millisecond)
		next := readState()
		few := next.namespaces <= most.namespaces && next.groups <= most.groups && next.files <= most.files
		if next.namespaces >= s.namespaces && (few || most == (hostState{})) {
			return next
		}
		s = next
	}
	return s
}
