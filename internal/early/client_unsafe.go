package early

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/internal/wire"
	"github.com/sbx-project/sbx/runner"
)

// This file is the client's side of a run by the daemon, as internal/ctl has it:
// which socket, who may be behind it, the request, and its plain answer. It asks
// as soon as it has found a socket that it believes; whatever the daemon says
// but Begun, and Done of a run that was ok, is left for the runtime to read.

// session is a request that was made.
type session struct {
	// conn is the connection. asked: it is for the runtime to see to the rest.
	conn  uintptr
	asked bool
	// request is the body of the request.
	request line
	iov     [2][2]uintptr
	msg     [7]uintptr // struct msghdr
	rights  struct {
		size        uint64
		level, kind int32
		fds         [wire.Descriptors]int32
	}
	head [2]byte
	// answer is the beginning of what has come.
	answer   [64]byte
	peer     unix.Ucred
	size     uint32
	patience unix.Timeval
	address  unix.RawSockaddrUnix
}

// served has the daemon carry the call out, and does not come back from a run
// that was ok. true: it was asked, and the runtime is to see to the rest.
//
//go:nosplit
//go:norace
func (c *call) served() bool {
	if c.exec || c.direct || c.reports {
		return false
	}
	var list [3]uintptr
	n, last := c.registries(&list), -1
	for i := range n {
		if isRegistry(list[i]) {
			last = i
		}
	}
	if last < 0 {
		return c.dialed(0, true)
	}
	for i := range n {
		if isRegistry(list[i]) && c.dialed(list[i], i == last) {
			return true
		}
	}
	return false
}

// registries are ctl.Registries: addresses of paths, in order.
//
//go:nosplit
//go:norace
func (c *call) registries(list *[3]uintptr) int {
	if list[0] = c.registry; c.registry != 0 {
		return 1
	}
	if list[0] = c.vars[varRegistry]; list[0] != 0 && byteAt(list[0]) != 0 {
		return 1
	}
	list[0] = uintptr(unsafe.Pointer(&systemRegistry))
	if c.uid == 0 {
		return 1
	}
	own := line{at: uintptr(unsafe.Pointer(&cutMemory)), size: unsafe.Sizeof(cutMemory)}
	switch config, home := c.vars[varConfig], c.vars[varHome]; {
	case config != 0 && byteAt(config) == '/':
		own.addAt(config)
		own.addString("/sbx/registry")
	case home != 0 && byteAt(home) == '/':
		own.addAt(home)
		own.addString("/.config/sbx/registry")
	default:
		return 1
	}
	if list[1] = own.at; own.full {
		return 1
	}
	return 2
}

//go:nosplit
//go:norace
func isRegistry(path uintptr) bool {
	_, _, e := syscall.RawSyscall6(sysFstatat, atCwd, path, uintptr(unsafe.Pointer(&status)), 0, 0, 0)
	return e == 0
}

// dialed looks for the socket of a registry (0: of the built-in one) in the
// directories of ctl.runtimeDirs, and asks the daemon behind it.
//
//go:nosplit
//go:norace
func (c *call) dialed(registry uintptr, builtin bool) bool {
	given, run := c.vars[varRuntime], c.vars[varXDGRuntime]
	if given != 0 && byteAt(given) == '/' {
		return c.socket(given, "", registry) && c.converse(builtin)
	}
	if given != 0 && byteAt(given) != 0 {
		return false // a relative one: about that the long way decides
	}
	if c.socket(0, "/run/sbx", registry) && c.converse(builtin) {
		return true
	}
	// A unit's socket, behind which a daemon may be about to start, comes before
	// the user's own: about that the long way decides.
	return c.uid != 0 && run != 0 && byteAt(run) == '/' && !isRegistry(uintptr(unsafe.Pointer(&unitSocket))) && c.socket(run, "/sbx", registry) && c.converse(builtin)
}

// socket connects as ctl.dial does.
//
//go:nosplit
//go:norace
func (c *call) socket(dir uintptr, rest string, registry uintptr) bool {
	s := &theSession
	if registry != 0 && !isRegistry(registry) {
		return false
	}
	dev, ino := status.Dev, status.Ino
	path := line{at: uintptr(unsafe.Pointer(&s.address.Path)), size: unsafe.Sizeof(s.address.Path)}
	path.addAt(dir)
	path.addString(rest)
	end := path.n
	path.addString("/")
	if registry != 0 {
		path.addString(state.RegistryPrefix)
		path.addNumber(dev, 16)
		path.addString("-")
		path.addNumber(ino, 16)
	} else {
		path.addString(state.BuiltinKey)
	}
	path.addString(".sock")
	if path.full || !c.ours(path.at, unix.S_IFSOCK) {
		return false
	}
	*(*byte)(pointer(path.at + end)) = 0
	believed := c.ours(path.at, unix.S_IFDIR) && status.Mode&0o022 == 0
	*(*byte)(pointer(path.at + end)) = '/'
	if !believed {
		return false
	}
	fd, _, e := syscall.RawSyscall(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if e != 0 {
		return false
	}
	const seconds = 5 // as in ctl.dial
	s.patience = unix.Timeval{Sec: seconds}
	s.address.Family = unix.AF_UNIX
	size := unsafe.Offsetof(s.address.Path) + path.n + 1
	_, _, e = syscall.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, uintptr(unsafe.Pointer(&s.patience)), unsafe.Sizeof(s.patience), 0)
	if e == 0 {
		_, _, e = syscall.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&s.address)), size)
	}
	if e == 0 {
		s.size = uint32(unsafe.Sizeof(s.peer))
		_, _, e = syscall.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERCRED, uintptr(unsafe.Pointer(&s.peer)), uintptr(unsafe.Pointer(&s.size)), 0)
	}
	if e != 0 || s.peer.Uid != 0 && uintptr(s.peer.Uid) != c.uid {
		shut(fd)
		return false
	}
	s.conn = fd
	return true
}

// ours tells whether a path leads, by no link, to a file of that kind that
// belongs to root or the caller.
//
//go:nosplit
//go:norace
func (c *call) ours(path uintptr, kind uint32) bool {
	_, _, e := syscall.RawSyscall6(sysFstatat, atCwd, path, uintptr(unsafe.Pointer(&status)), unix.AT_SYMLINK_NOFOLLOW, 0, 0)
	return e == 0 && status.Mode&unix.S_IFMT == kind && (status.Uid == 0 || uintptr(status.Uid) == c.uid)
}

// converse sends the request and takes the answer. false: the daemon was not
// asked, and nothing is left.
//
//go:nosplit
//go:norace
func (c *call) converse(builtin bool) bool {
	s := &theSession
	here := open(atCwd, uintptr(unsafe.Pointer(&dot)), unix.O_PATH|unix.O_DIRECTORY)
	if c.envp.N <= uintptr(len(envMemory)) {
		c.compact()
	}
	if here == none || !c.compose(builtin) {
		shut(here)
		shut(s.conn)
		return false
	}
	theState.block(^uint64(0))
	sent := s.send(here)
	shut(here)
	if !sent {
		// It has not begun, since it has not got all.
		theState.block(0)
		shut(s.conn)
		return false
	}
	if s.ended() {
		exit(0)
	}
	theState.takeSignals()
	theState.block(0)
	s.asked = true
	return true
}

// compose encodes a wire.Request. Preconditions: compact was called.
//
//go:nosplit
//go:norace
func (c *call) compose(builtin bool) bool {
	r := &theSession.request
	most := c.areaSize + 8*(c.argv.N+c.envp.N) + unsafe.Sizeof(cwdMemory) + 4096
	if most > wire.MaxBody || c.envp.N > uintptr(len(envMemory)) {
		return false
	}
	at, _, e := syscall.RawSyscall6(unix.SYS_MMAP, 0, most, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, none, 0)
	if e != 0 {
		return false
	}
	*r = line{at: at, size: most}
	r.addInt(wire.Version, 8)
	r.addInt(uint64(len(buildinfo.Build)), 4)
	r.addString(buildinfo.Build)
	r.addInt(uint64(c.args.N+1), 4)
	r.addText(c.word)
	for i := range c.args.N {
		r.addText(c.args.String(i))
	}
	yes := uint64(0)
	if builtin {
		yes = 1
	}
	r.addInt(yes, 8)
	r.addInt(0, 4) // Expect
	r.addInt(0, 4) // Limits
	r.addInt(0, 8) // Timeout
	r.addInt(0, 4) // Chdir
	r.addInt(0, 8) // Usage
	env := &launched.Env
	r.addInt(uint64(env.N), 4)
	for i := range env.N {
		r.addText(env.String(i))
	}
	r.addInt(0, 4) // Env
	r.addText(uintptr(unsafe.Pointer(&cwdMemory)))
	r.addInt(0, 4) // Secrets
	return !r.full
}

// compact collects the environment: as in os.Environ the first of a name counts.
//
//go:nosplit
//go:norace
func (c *call) compact() {
	to := &launched.Env
	to.At, to.N = uintptr(unsafe.Pointer(&envMemory)), 0
	for i := range c.envp.N {
		e := c.envp.String(i)
		if n := nameLength(e); byteAt(e) != 0 && (byteAt(e+n) != '=' || !listed(to, e, n)) {
			envMemory[to.N] = e
			to.N++
		}
	}
}

// addInt adds an integer of n bytes, the lowest first.
//
//go:nosplit
//go:norace
func (l *line) addInt(v uint64, n int) {
	for range n {
		l.add(byte(v))
		v >>= 8
	}
}

// addText adds a string with its length.
//
//go:nosplit
//go:norace
func (l *line) addText(p uintptr) {
	l.addInt(uint64(length(p)), 4)
	l.addAt(p)
}

// send is wire.Conn.Send of the request with its descriptors.
//
//go:nosplit
//go:norace
func (s *session) send(here uintptr) bool {
	s.head[0] = byte(wire.TypeRequest)
	s.rights.size, s.rights.level, s.rights.kind = uint64(unsafe.Offsetof(s.rights.fds)+unsafe.Sizeof(s.rights.fds)), unix.SOL_SOCKET, unix.SCM_RIGHTS
	for i := range 3 {
		s.rights.fds[i] = int32(i)
	}
	s.rights.fds[3] = int32(here)
	s.iov[0] = [2]uintptr{uintptr(unsafe.Pointer(&s.head)), uintptr(len(s.head))}
	s.msg = [7]uintptr{0, 0, uintptr(unsafe.Pointer(&s.iov)), 2, uintptr(unsafe.Pointer(&s.rights)), unsafe.Sizeof(s.rights), 0}
	for at, left := s.request.at, s.request.n; ; {
		n := min(left, wire.Packet)
		if s.head[1] = 0; n < left {
			s.head[1] = 1
		}
		s.iov[1] = [2]uintptr{at, n}
		if _, _, e := syscall.RawSyscall(unix.SYS_SENDMSG, s.conn, uintptr(unsafe.Pointer(&s.msg)), unix.MSG_NOSIGNAL); e != 0 {
			return false
		}
		s.msg[4], s.msg[5] = 0, 0
		if at, left = at+n, left-n; left == 0 {
			return true
		}
	}
}

// ended takes the daemon's words up to the one that says that the run was ok.
// false: it said something else, which
// was not read, or nothing for too long.
//
//go:nosplit
//go:norace
func (s *session) ended() bool {
	for {
		pollfd[0] = unix.PollFd{Fd: int32(s.conn), Events: unix.POLLIN}
		clock.Sec, clock.Nsec = 0, patience
		if n, _, e := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&pollfd)), 1, uintptr(unsafe.Pointer(&clock)), 0, 0, 0); e != 0 || n == 0 {
			return false
		}
		n, ok := s.receive(unix.MSG_PEEK)
		switch {
		case !ok || n < 2 || theState.signaled():
			return false
		case s.answer[0] == byte(wire.TypeBegun) && s.answer[1] == 0:
			s.receive(0)
		case s.answer[0] == byte(wire.TypeDone) && n > endAt:
			return s.wasOK()
		default:
			return false
		}
	}
}

// Where things are in a Done: the type, whether more follows, wire.Report's
// ExitCode and Signal of 8 bytes each, the length of its Outcome, the Outcome.
const (
	lengthAt  = 2 + 8 + 8
	outcomeAt = lengthAt + 4
	endAt     = outcomeAt + 4
)

// wasOK tells whether a Done is that of a run whose outcome is ok. Of every other
// one there is something to say or to keep.
//
//go:nosplit
//go:norace
func (s *session) wasOK() bool {
	for i := 2; i < lengthAt; i++ {
		if s.answer[i] != 0 {
			return false
		}
	}
	ok := string(runner.OK)
	return s.answer[lengthAt] == byte(len(ok)) && after(uintptr(unsafe.Pointer(&s.answer[outcomeAt])), ok) != 0
}

//go:nosplit
//go:norace
func (s *session) receive(flags uintptr) (n uintptr, ok bool) {
	n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, s.conn, uintptr(unsafe.Pointer(&s.answer)), unsafe.Sizeof(s.answer), flags|unix.MSG_DONTWAIT, 0, 0)
	return n, e == 0
}
