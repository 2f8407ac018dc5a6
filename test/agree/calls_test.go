package agree_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"

	"github.com/sbx-project/sbx/internal/syscalls"
)

// call is one system call with its six arguments.
type call struct {
	nr   uint32
	args [6]uint64
}

// item is the call as the probe takes it.
func (c call) item() string {
	var b strings.Builder
	fmt.Fprintf(&b, "s%x", c.nr)
	for _, a := range c.args {
		fmt.Fprintf(&b, ",%x", a)
	}
	return b.String()
}

// name is the call's, or what sbx calls a number without one.
func (c call) name() string {
	if name, ok := syscalls.Name(runtime.GOARCH, c.nr); ok {
		return name
	}
	return fmt.Sprintf("syscall_%d", c.nr)
}

func (c call) String() string { return fmt.Sprintf("%s%#x", c.name(), c.args) }

const (
	// none is no descriptor, no pointer and no known flag: nearly every
	// call refuses it without doing anything.
	none  = ^uint64(0)
	atCwd = ^uint64(99) // AT_FDCWD
	// nobody is no pid: above PID_MAX_LIMIT.
	nobody = 2147483000
	// noFD is a descriptor that the probe does not have.
	noFD = 1000
	x32  = 0x40000000
	high = 1 << 32 // a bit that the kernel does not see in an int
)

// neverRun are calls that are tried only where they are refused, with what
// would happen otherwise.
var neverRun = map[string]string{
	"exit":         "the probe ends",
	"exit_group":   "the probe ends",
	"fork":         "two probes",
	"vfork":        "two probes on one stack",
	"pause":        "it waits for ever",
	"sync":         "it writes back what the whole host has not written yet",
	"rt_sigreturn": "there is no signal frame to return to",
	"syslog":       "whether it may be called at all is for kernel.dmesg_restrict and capabilities",
}

// unfiltered are calls that amd64 kernels let pass any filter, because user
// probes would end programs otherwise (seccomp_uprobe_exception in
// kernel/seccomp.c, since 6.14). They do nothing but end the caller by SIGILL, or
// return ENXIO, where they do not come from the kernel's own trampoline.
var unfiltered = map[string]bool{"uretprobe": true, "uprobe": true}

// vectors are the arguments for calls that none would harm, or whose arguments
// the built-in rules look at. Missing arguments are none.
var vectors = map[string][][]uint64{
	"kill":      {{nobody, 0}},
	"msgget":    {{0x5b5b5b5b, 0}}, // an all-ones flag would make a queue
	"prlimit64": {{0, 9999, 0, 0}, {1, 9999, 0, 0}, {high, 9999, 0, 0}},
	// CLONE_SIGHAND without CLONE_VM is EINVAL before anything is made.
	"clone":      {{0x800}, {0x800 | high}, {0x800 | 0x10000000}, {0x800 | 0x40000000 | high}, {0x800 | 0x02000000}},
	"openat":     {{atCwd, none, 0, 0}, {atCwd, none, 0o100, 0o644}, {atCwd, none, 0o100, 0o4755}, {atCwd, none, 0, 0o4755}, {atCwd, none, 0o100 | high, 0o2644}, {none, none, 0o20200002, 0o6000}},
	"open":       {{none, 0, 0}, {none, 0o100, 0o644}, {none, 0o100, 0o4755}, {none, 0, 0o4755}},
	"creat":      {{none, 0o600}, {none, 0o2600}},
	"chmod":      {{none, 0o755}, {none, 0o4755}, {none, 0o755 | high}, {none, 0o1777}},
	"fchmod":     {{noFD, 0o755}, {noFD, 0o2755}, {noFD, 0o6000 | high}},
	"fchmodat":   {{atCwd, none, 0o644}, {atCwd, none, 0o4644}},
	"fchmodat2":  {{atCwd, none, 0o644, 0}, {atCwd, none, 0o2644, 0}},
	"mkdir":      {{none, 0o700}, {none, 0o2700}},
	"mkdirat":    {{atCwd, none, 0o700}, {atCwd, none, 0o4700}},
	"mknod":      {{none, 0o600}, {none, 0o100600}, {none, 0o010600}, {none, 0o140600}, {none, 0o020600}, {none, 0o060600}, {none, 0o104600}},
	"mknodat":    {{atCwd, none, 0o010644}, {atCwd, none, 0o020644, 0x103}, {atCwd, none, 0o060644}, {atCwd, none, 0o012644}, {atCwd, none, 0o100644 | high}},
	"shmat":      {{none, 0, 0}, {none, 0, 0o100000}, {none, 0, 0o10000}},
	"mmap":       {{0, 0, 1, 0x22, none, 0}, {0, 0, 3, 0x22, none, 0}, {0, 0, 5, 0x22, none, 0}, {0, 0, 7, 0x22, none, 0}, {0, 0, 6, 0x22, none, 0}},
	"mprotect":   {{1, 4096, 1}, {1, 4096, 3}, {1, 4096, 5}, {1, 4096, 7}},
	"setsockopt": {{noFD, 1, 2}, {noFD, 1, 26}, {noFD, 1 | high, 7}, {noFD, 0, 2}, {noFD, 6, 1}, {noFD, 41, 26}},
	"socketpair": {{1, 1, 0, none}, {1, 5, 0, none}, {1, 2, 0, none}, {1, 0x80801, 0, none}, {2, 1, 0, none}, {40, 1, 0, none}, {1 | high, 1, 0, none}},
	// Only families that no module is loaded for may reach the kernel; the
	// generator opens no others.
	"socket": {{1, 1, 0}, {1, 2, 0}, {2, 1, 0}, {2, 2, 0}, {2, 1, 6}, {2, 2, 17}, {2, 3, 1}, {2, 1, 132}, {10, 1, 0}, {10, 2, 17}, {10, 3, 58},
		{16, 3, 0}, {16, 3, 4}, {16, 3, 9}, {17, 3, 0}, {38, 5, 0}, {40, 1, 0}, {40 | high, 1, 0}, {2 | high, 1, 0}, {1, 0x80001, 0}, {0, 1, 0}},
	"personality": {{0xffffffff}, {0}, {0x0400000}, {0x0040000}, {none}, {0xffffffff | high}},
	"ioctl": {{noFD, 0x5401}, {noFD, 0x5412}, {noFD, 0x5412 | high}, {noFD, 0x5413}, {noFD, 0x541b}, {noFD, 0x541c}, {noFD, 0x5423}, {noFD, 0x540e},
		{noFD, 0x5450}, {noFD, 0x8912}, {noFD, 0x8914}, {noFD, 0x40086602}, {noFD, 0x401c5820}, {noFD, 0x40049409}, {noFD, 0xae01}, {noFD, 0x5401 | high}, {noFD, 0}},
	"prctl": {{1}, {2}, {3}, {4}, {8}, {15}, {16}, {21}, {22}, {23}, {24}, {26}, {28}, {29}, {35}, {36}, {38}, {39}, {41}, {47}, {59}, {62}, {65}, {66},
		{22 | high}, {0x53564d41}, {0x59616d61}, {9999}},
}

// allCalls are the calls that every policy is tried with: each number of the
// table, those with built-in rules several times, numbers beyond it, and the
// x32 ABI.
func allCalls() []call {
	var out []call
	last := syscalls.Last(runtime.GOARCH)
	for nr := uint32(0); nr <= last; nr++ {
		name, _ := syscalls.Name(runtime.GOARCH, nr)
		list := vectors[name]
		if list == nil {
			list = [][]uint64{nil}
		}
		for _, args := range list {
			out = append(out, newCall(nr, args...))
		}
	}
	for _, nr := range []uint32{last + 1, last + 2, last + 40, 600, 1023, 0x3fffffff} {
		out = append(out, newCall(nr))
	}
	if runtime.GOARCH == "amd64" {
		for _, nr := range []uint32{0, 1, 39, 101, 231, 520, 545, 9999} {
			out = append(out, newCall(x32|nr))
		}
	}
	return out
}

func newCall(nr uint32, args ...uint64) call {
	c := call{nr, [6]uint64{none, none, none, none, none, none}}
	copy(c.args[:], args)
	return c
}

// testable are calls for argument rules of a policy: with a descriptor that is
// not there they do nothing, whatever the other arguments are. free are the
// arguments that a rule may test, wide those of 64 bits.
var testable = []struct {
	name       string
	free, wide []uint8
}{
	{"lseek", []uint8{0, 1, 2}, []uint8{1}},
	{"fcntl", []uint8{0, 1, 2}, []uint8{2}},
	{"ioctl", []uint8{0, 1, 2}, []uint8{2}},
	{"ftruncate", []uint8{0, 1}, []uint8{1}},
	{"fallocate", []uint8{0, 1, 2, 3}, []uint8{2, 3}},
	{"fadvise64", []uint8{0, 1, 2, 3}, []uint8{1, 2}},
	{"fchown", []uint8{0, 1, 2}, nil},
	{"flock", []uint8{0, 1}, nil},
	{"getsockopt", []uint8{0, 1, 2}, nil},
	{"listen", []uint8{0, 1}, nil},
	{"shutdown", []uint8{0, 1}, nil},
	{"dup3", []uint8{0, 2}, nil},
	{"epoll_ctl", []uint8{0, 1, 2}, nil},
	{"timerfd_settime", []uint8{0, 1}, nil},
	// Not in the engine's table of widths: the rule must be strict in both.
	{"readahead", []uint8{0, 1, 2}, []uint8{1, 2}},
	{"sync_file_range", []uint8{0, 1, 2, 3}, []uint8{1, 2}},
}

// test is one comparison of a rule that the generator wrote.
type test struct {
	index       uint8
	value, mask uint64
}

// around returns calls for a rule: each tested value, what lies beside it, and
// what differs from it only in a bit that the kernel may not see.
func around(r *rand.Rand, nr uint32, tests []test) []call {
	var out []call
	base := func() call {
		c := newCall(nr, noFD, r.Uint64N(8), r.Uint64N(8), r.Uint64N(8), r.Uint64N(8), r.Uint64N(8))
		for _, t := range tests {
			c.args[t.index] = t.value
		}
		return c
	}
	out = append(out, base())
	for _, t := range tests {
		for _, v := range []uint64{t.value + 1, t.value - 1, t.value | high, t.value | 1<<63, t.value &^ t.mask, t.value | ^t.mask, 0, none} {
			c := base()
			c.args[t.index] = v
			out = append(out, c)
		}
	}
	// Never a descriptor that is open.
	for i := range out {
		if uint32(out[i].args[0]) < 100 {
			out[i].args[0] = noFD
		}
	}
	return out
}
