package testenv

import (
	"strconv"
	"strings"
	"time"
)

// Stopwatch measures how long something takes on a machine that has room for
// it: a second in which no processor had anything to spare, or waited for a
// disk, does not count. A bound on time that is promised is held against it, so
// that a test does not fail for what else the machine does; something that
// waits for nothing, or for ever, lets processors idle and is as late as ever.
type Stopwatch struct {
	begin time.Time
	idle  time.Duration
}

// Begin starts one.
func Begin() Stopwatch { return Stopwatch{begin: time.Now(), idle: idleTime(read("/proc/stat"))} }

// Took is the time since Begin, and no more than all processors together have
// been idle since.
func (s Stopwatch) Took() time.Duration {
	return min(time.Since(s.begin), idleTime(read("/proc/stat"))-s.idle)
}

// atMost is how long a machine may be busy with other things before Over gives
// up on it.
const atMost = 2 * time.Minute

// Over tells whether more than d has passed, for who waits: in the end also on
// a machine that never has anything to spare.
func (s Stopwatch) Over(d time.Duration) bool {
	return s.Took() > d || time.Since(s.begin) > d+atMost
}

// tick is the unit of /proc/stat: USER_HZ, which is 100 on every architecture
// that sbx runs on (time(7)).
const tick = time.Second / 100

// idleTime is how long processors have had nothing to do since the boot, by the
// text of /proc/stat (proc_stat(5)): the fourth number of its first line. It has
// no disk waits, which are the fifth. Where it cannot be read, all of the time
// counts.
func idleTime(stat string) time.Duration {
	line, _, _ := strings.Cut(stat, "\n")
	if f := strings.Fields(line); len(f) > 4 && f[0] == "cpu" {
		if n, err := strconv.ParseInt(f[4], 10, 64); err == nil {
			return time.Duration(n) * tick
		}
	}
	return time.Duration(time.Now().UnixNano())
}
