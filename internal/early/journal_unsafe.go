package early

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/state"
)

var journalName = [...]byte{'j', 'o', 'u', 'r', 'n', 'a', 'l', 0}

// settled tells whether the journal has room for one more record before a
// loader has to take it into account: that is the long way's.
//
//go:nosplit
//go:norace
func (img *image) settled() bool {
	if img.journal.n == 0 {
		return true
	}
	path := line{at: uintptr(unsafe.Pointer(&pathMemory)), size: unsafe.Sizeof(pathMemory)}
	path.addAt(img.journal.at)
	path.addString("/")
	path.addAt(uintptr(unsafe.Pointer(&journalName)))
	_, _, e := syscall.RawSyscall6(sysFstatat, atCwd, path.at, uintptr(unsafe.Pointer(&status)), 0, 0, 0)
	return !path.full && (e == unix.ENOENT || e == 0 && status.Size < state.SettleSize-state.MaxRecord)
}

// openJournal opens it as state.Append does. false: this run cannot be
// recorded.
//
//go:nosplit
//go:norace
func (s *runState) openJournal(uid uintptr) bool {
	img := theImage()
	if img.journal.n == 0 {
		return true
	}
	dir := openTrusted(img.journal.at, uid, unix.O_RDONLY|unix.O_DIRECTORY)
	if dir == none {
		return false
	}
	s.journal = open(dir, uintptr(unsafe.Pointer(&journalName)), unix.O_RDWR|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	shut(dir)
	return s.journal != none && fstat(s.journal) && status.Mode&unix.S_IFMT == unix.S_IFREG && believed(uid)
}

// note appends the record of a run that ended without a violation, or nothing.
//
//go:nosplit
//go:norace
func (s *runState) note() bool {
	if s.journal == none {
		return true
	}
	syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&clock)), 0)
	text := line{at: uintptr(unsafe.Pointer(&textMemory)), size: unsafe.Sizeof(textMemory)}
	if _, _, e := syscall.RawSyscall(unix.SYS_FLOCK, s.journal, unix.LOCK_EX, 0); e != 0 || !fstat(s.journal) {
		return false
	}
	if status.Size > 0 {
		last := uintptr(unsafe.Pointer(&nameMemory))
		n, _, e := syscall.RawSyscall6(unix.SYS_PREAD64, s.journal, last, 1, uintptr(status.Size-1), 0, 0)
		if e != 0 || n != 1 {
			return false
		}
		if nameMemory[0] != '\n' {
			text.add('\n') // of a record that was cut off
		}
	}
	const second = 1_000_000_000
	text.addString(state.RecordHead)
	text.addString(" ")
	text.addNumber(uint64(clock.Sec)*second+uint64(clock.Nsec), 10)
	text.addString(" ")
	text.addAt(s.runID())
	text.addString(" ")
	text.addAt(theImage().entry.at)
	n, _, e := syscall.RawSyscall(unix.SYS_WRITE, s.journal, text.at, text.n)
	if e == 0 && n == text.n && !text.full {
		return true
	}
	syscall.RawSyscall(unix.SYS_FTRUNCATE, s.journal, uintptr(status.Size), 0)
	return false
}
