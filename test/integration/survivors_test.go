package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// survivors are the processes that run sbx, sbxd or the workload of this test
// binary, by the identity of their executable: names can be changed, this
// cannot. Zombies have none.
func survivors() []int {
	var own []unix.Stat_t
	for _, name := range []string{"act", "sbx", "sbxd"} {
		var st unix.Stat_t
		if unix.Stat(bin+"/"+name, &st) == nil {
			own = append(own, st)
		}
	}
	var pids []int
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		var st unix.Stat_t
		if unix.Stat(link, &st) != nil {
			continue
		}
		for _, o := range own {
			if o.Dev == st.Dev && o.Ino == st.Ino {
				pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// nothingLeft fails the test when something of a run is still there after
// the time, on a machine that has room.
func nothingLeft(t testing.TB, within time.Duration) {
	t.Helper()
	for watch := testenv.Begin(); ; time.Sleep(2 * time.Millisecond) {
		pids := survivors()
		if len(pids) == 0 {
			return
		}
		if watch.Over(slow(within)) {
			for _, pid := range pids {
				t.Errorf("process %d is left after %v: %s", pid, slow(within), state(pid))
			}
			for late := time.Now(); len(survivors()) > 0 && time.Since(late) < slow(5*time.Second); time.Sleep(time.Millisecond) {
			}
			t.Logf("%d of %d are there %v after the end", len(survivors()), len(pids), watch.Took())
			for _, pid := range survivors() {
				unix.Kill(pid, unix.SIGKILL)
			}
			return
		}
	}
}

// state is what the kernel says of a process that should not be there.
func state(pid int) string {
	dir := fmt.Sprintf("/proc/%d/", pid)
	line, _ := os.ReadFile(dir + "cmdline")
	text := fmt.Sprintf("%q", line)
	status, _ := os.ReadFile(dir + "status")
	for line := range strings.Lines(string(status)) {
		switch key, value, _ := strings.Cut(line, ":"); key {
		case "State", "PPid", "NSpid", "Threads", "SigPnd", "ShdPnd":
			text += ", " + key + " " + strings.TrimSpace(value)
		}
	}
	for _, name := range []string{"wchan", "stack"} {
		if b, err := os.ReadFile(dir + name); err == nil {
			text += ", " + name + " " + strings.TrimSpace(string(b))
		}
	}
	return text
}
