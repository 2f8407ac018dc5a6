package early

import (
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/nsexec"
)

// systemRegistry is the registry of root, as the kernel takes it.
var systemRegistry = [...]byte{'/', 'e', 't', 'c', '/', 's', 'b', 'x', '/', 'r', 'e', 'g', 'i', 's', 't', 'r', 'y', 0}

// unitSocket is where a service manager waits for callers.
var unitSocket = [...]byte{'/', 'r', 'u', 'n', '/', 's', 'b', 'x', '/', 's', 'b', 'x', '.', 's', 'o', 'c', 'k', 0}

// All that an early run has to work with: there is no heap yet, and frames are
// kept small, since what runs without a runtime has 800 bytes of stack in all
// as far as the linker is concerned. Pages that nobody touches cost nothing.
var (
	// noThread stands for thread-local storage; see Entry.
	//
	//lint:ignore U1000 entry_*.s uses it
	noThread [64]byte
	// theCall is the call; launched is what was made of it.
	theCall    call
	launched   nsexec.ImageCall
	theState   runState
	theSession session

	keyMemory  [8 << 10]byte
	cwdMemory  [unix.PathMax]byte
	pathMemory [2 * unix.PathMax]byte
	nameMemory [256]byte
	// textMemory takes what is read of small files.
	textMemory [4 << 10]byte
	// listMemory takes what getdents64(2) tells.
	listMemory [32 << 10]byte
	cutMemory  [unix.PathMax]byte
	envMemory  [512]uintptr
	stack      [nsexec.StackSize]byte
	status     unix.Stat_t
	statfs     unix.Statfs_t
	clock      unix.Timespec
	pollfd     [1]unix.PollFd
	action     [4]uintptr // struct sigaction
	record     nsexec.Record
)
