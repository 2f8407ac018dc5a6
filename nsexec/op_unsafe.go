package nsexec

import "unsafe"

// op is one entry of the flat list that a cloned child carries out: a system
// call with its arguments, or one of the special operations. Everything that
// it points to lives in the program's arena and was laid out before the
// clone, because the child may neither allocate nor call Go.
type op struct {
	a [6]uintptr
	// nr is a system call number or one of the special operations.
	nr uint32
	// save, when not 0, is 1 + the slot that takes the result.
	save uint16
	// from, when not 0, is 1 + the slot whose value replaces argument to.
	from [2]uint16
	to   [2]uint8
	// step is the entry of the program's steps that names this operation.
	step uint16
	// skip is how many of the following operations are left out when the
	// call fails with an errno that may names.
	skip uint16
	may  fault
	// degrade, when not 0, is 1 + the bit that a failure named by may sets
	// in the report.
	degrade uint8
}

// fault says which failure of an operation does not end the launch.
type fault uint8

const (
	never           fault = iota // every failure ends the launch
	mayMissing                   // ENOENT, ENOTDIR: an optional source
	mayNotPermitted              // EPERM, EACCES, ENOENT: a right that another way does without
	mayBadFile                   // EBADFD, EINVAL, ENOMSG: a descriptor that Landlock does not judge, or no rights
	mayBeLower                   // EPERM: a resource limit whose bound is lower than this one already, or cannot be as high
	mayExist                     // EEXIST: a directory that is there already
	mayLack                      // ENOSYS, EINVAL, EOPNOTSUPP, ENOENT, ENOSPC: the kernel has no such thing
)

// The special operations have numbers that no kernel uses.
const (
	opVerify       = 0xf000 + iota // compare the stat at a[0] with the wanted one at a[1]
	opLoad32                       // slot = int32 at a[0]
	opStore32                      // uint32 at a[0] = a[1], usually from a slot
	opNeed                         // fails with ENOENT when a[0], from a slot, was never set
	opNeedNot                      // fails with EEXIST when a[0], from a slot, was set
	opSame                         // fails with EBADF when a[0] was set and is not a[1], with ENOENT when it was not set
	opZero                         // clear a[1] bytes at a[0]
	opCopy                         // copy a[2] bytes from a[1] to a[0]
	opDropBounding                 // empty the capability bounding set but for the bits of a[0]
	opSpawn                        // clone PID 2, which goes on with the workload's list
)

// stepName says what an operation is for, in an error message. It is put
// together only when there is one.
type stepName struct{ verb, source, path string }

// String gives the step in the form `mount "proc" on "/proc"`.
func (s stepName) String() string {
	switch {
	case s.source != "" && s.path != "":
		return s.verb + ` "` + s.source + `" on "` + s.path + `"`
	case s.path != "":
		return s.verb + ` "` + s.path + `"`
	case s.source != "":
		return s.verb + ` "` + s.source + `"`
	}
	return s.verb
}

// arena hands out memory that stays where it is until the launch is done.
// Go's heap does not move; keep holds every chunk for the collector, since
// the operations refer to it by number only.
type arena struct {
	free []byte
	keep [][]byte
	// bounded: free is all there is; what does not fit sets full, and comes
	// from elsewhere so that nobody has to ask at every step.
	bounded, full bool
}

func (m *arena) alloc(n int) []byte {
	n = (n + 7) &^ 7
	const chunk = 16 << 10 // a usual launch fits
	if n > chunk/2 && n > len(m.free) {
		m.full = m.bounded
		own := make([]byte, n)
		m.keep = append(m.keep, own)
		return own
	}
	if n > len(m.free) {
		m.full = m.bounded
		m.free = make([]byte, chunk)
		m.keep = append(m.keep, m.free)
	}
	b := m.free[:n:n]
	m.free = m.free[n:]
	return b
}

// str copies s with a terminating NUL and returns its address.
func (m *arena) str(s string) uintptr {
	b := m.alloc(len(s) + 1)
	copy(b, s)
	return addr(b)
}

// vector lays out a NULL-terminated array of the addresses of ss at dst,
// which must have room for len(ss)+1 words.
func (m *arena) vector(dst uintptr, ss []string) {
	for i, s := range ss {
		*(*uintptr)(pointer(dst + uintptr(i)*wordSize)) = m.str(s)
	}
	*(*uintptr)(pointer(dst + uintptr(len(ss))*wordSize)) = 0
}

const wordSize = unsafe.Sizeof(uintptr(0))

func addr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// put copies a plain structure without pointers into the arena.
func put[T any](m *arena, v T) uintptr {
	b := m.alloc(int(unsafe.Sizeof(v)))
	p := (*T)(unsafe.Pointer(unsafe.SliceData(b)))
	*p = v
	return uintptr(unsafe.Pointer(p))
}

// pointer turns an address in the arena or in a mapping of ours back into a
// pointer. The memory is reachable through arena.keep or is not Go's.
//
//go:nosplit
//go:norace
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }
