//go:build weak

package weak

import (
	"strings"
	"syscall"
)

// Built tells whether this build can be weakened.
const Built = true

// Off tells whether SBX_WEAK, a list separated by commas, names a measure.
func Off(measure string) bool {
	list, _ := syscall.Getenv("SBX_WEAK")
	for name := range strings.SplitSeq(list, ",") {
		if name == measure {
			return true
		}
	}
	return false
}

// Fault is what SBX_FAULT says: the name of a step of the supervisor, or init:N
// or work:N for operation N of one of nsexec's lists. Empty: nothing fails.
func Fault() string {
	s, _ := syscall.Getenv("SBX_FAULT")
	return s
}

// Err is EIO for the step that SBX_FAULT names, else nil.
func Err(step string) error {
	if f := Fault(); f != "" && f == step {
		return syscall.EIO
	}
	return nil
}
