package testenv

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Guest tells whether this is a guest of test/vm, whose processor is emulated.
func Guest() bool { return os.Getenv("SBX_VM") != "" }

// Turn numbers the guests: the second number of their kernel's release. Where
// tests take turns, one kernel has another turn than the other.
func Turn() int {
	var uts unix.Utsname
	var major, minor int
	if err := unix.Uname(&uts); err == nil {
		fmt.Sscanf(unix.ByteSliceToString(uts.Release[:]), "%d.%d", &major, &minor)
	}
	return minor
}
