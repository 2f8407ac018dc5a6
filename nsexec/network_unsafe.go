package nsexec

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// network makes the run's network namespace on the supervisor's own thread
// while init, which is cloned already, puts the view together on another
// processor: the namespace alone takes as long as half of that (the kernel
// registers some hundred sysctl tables), and the supervisor would only wait.
//
// The thread enters the new namespace by unshare(2), sends its descriptor to
// init over the control socket and goes back. That works for who may come
// back, which is tried before anything is made: root in the user namespace
// that owns the thread's own network namespace. Everybody else gets the
// namespace from clone3(2).
type network struct {
	own     int // the thread's own namespace; -1: clone3 makes the run's
	control int // the supervisor's end of the control socket
	self    [len(threadNet) + 1]byte
	msg     msghdr
	iov     [2]uintptr
	oob     descriptorMessage
	byte    byte
}

const threadNet = "/proc/thread-self/ns/net"

// ErrNetwork wraps the errno of a network namespace that could not be made.
type ErrNetwork struct{ Errno syscall.Errno }

func (e *ErrNetwork) Error() string { return "make a network namespace: " + e.Errno.Error() }
func (e *ErrNetwork) Unwrap() error { return e.Errno }

// msghdr is struct msghdr on 64 bits: name, namelen, iov, iovlen, control,
// controllen, flags.
type msghdr [7]uintptr

// descriptorMessage is struct cmsghdr on 64 bits with one descriptor.
type descriptorMessage struct {
	size        uint64
	level, kind int32
	fd          int32
	_           int32
}

// descriptorSize is what counts of a descriptorMessage.
const descriptorSize = 16 + 4

// prepare finds out whether the supervisor can make the namespace; own is -1
// afterwards when it cannot.
//
//go:nosplit
//go:norace
func (n *network) prepare(control int) {
	n.own, n.control = -1, control
	for i := range len(threadNet) {
		n.self[i] = threadNet[i]
	}
	own, _, e := syscall.RawSyscall6(unix.SYS_OPENAT, atCwd, uintptr(unsafe.Pointer(&n.self)), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if e != 0 {
		return
	}
	// Every thread of a process without network tricks is in the same
	// namespace, so it does not matter should the goroutine move here.
	if _, _, e := syscall.RawSyscall(unix.SYS_SETNS, own, unix.CLONE_NEWNET, 0); e != 0 {
		syscall.RawSyscall(unix.SYS_CLOSE, own, 0, 0)
		return
	}
	n.own = int(own)
	n.iov = [2]uintptr{uintptr(unsafe.Pointer(&n.byte)), 1}
	n.oob = descriptorMessage{size: descriptorSize, level: unix.SOL_SOCKET, kind: unix.SCM_RIGHTS}
	n.msg = msghdr{0, 0, uintptr(unsafe.Pointer(&n.iov)), 1, uintptr(unsafe.Pointer(&n.oob)), unsafe.Sizeof(n.oob), 0}
}

// give makes the namespace and sends it to init.
func (n *network) give() error {
	if n.own < 0 {
		return nil
	}
	made, back := n.visit()
	if back != 0 {
		// prepare has just come back to it: this cannot happen. Go must not
		// run anything else on a thread in a run's namespace.
		panic("bug: no way back into the thread's own network namespace: " + back.Error())
	}
	if made != 0 {
		return &ErrNetwork{made}
	}
	return nil
}

// close lets the thread's own namespace go.
func (n *network) close() {
	if n.own >= 0 {
		unix.Close(n.own)
		n.own = -1
	}
}

// visit is the part on which the thread is elsewhere. With every signal
// blocked nothing of Go can run on it in between, nor can the goroutine
// change threads: it is nosplit and makes raw system calls only. (Locking the
// goroutine to its thread would start one more.)
//
//go:noinline
//go:nosplit
//go:norace
func (n *network) visit() (made, back syscall.Errno) {
	var old uint64
	all := ^uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	if _, _, made = syscall.RawSyscall(unix.SYS_UNSHARE, unix.CLONE_NEWNET, 0, 0); made == 0 {
		var fd uintptr
		fd, _, made = syscall.RawSyscall6(unix.SYS_OPENAT, atCwd, uintptr(unsafe.Pointer(&n.self)), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
		if made == 0 {
			n.oob.fd = int32(fd)
			_, _, made = syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(n.control), uintptr(unsafe.Pointer(&n.msg)), unix.MSG_NOSIGNAL)
			if made == unix.EPIPE {
				made = 0 // init has failed; its record says why
			}
			syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
		}
		_, _, back = syscall.RawSyscall(unix.SYS_SETNS, uintptr(n.own), unix.CLONE_NEWNET, 0)
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	return made, back
}

// joinNetwork: init enters the namespace that the supervisor makes. It needs
// init's rights in the host's user namespace, so it comes before ids and
// capabilities are given up; nothing of the workload has run by then.
func (p *program) joinNetwork() {
	if p.net.own < 0 && (p.image == nil || !p.image.network) {
		return // clone3 has made it
	}
	ns := p.receiveDescriptors(1, "the network namespace")[0]
	p.begin("enter", "", "the network namespace")
	p.add(unix.SYS_SETNS, 0, unix.CLONE_NEWNET).arg(0, ns)
	p.add(unix.SYS_CLOSE).arg(0, ns)
}

// receiveDescriptors takes n descriptors that the supervisor sends in one
// message. One that did not come is -1.
func (p *program) receiveDescriptors(n int, what string) []int {
	p.begin("receive", "", what)
	const header = 16 // struct cmsghdr on 64 bits
	oob := p.mem.alloc(header + 4*n)
	for i := range oob {
		oob[i] = 0xff // no descriptor
	}
	iov := put(&p.mem, [2]uintptr{addr(p.mem.alloc(8)), 8})
	msg := put(&p.mem, msghdr{0, 0, iov, 1, addr(oob), uintptr(len(oob)), 0})
	p.add(unix.SYS_RECVMSG, control, msg, unix.MSG_CMSG_CLOEXEC)
	slots := make([]int, n)
	for i := range slots {
		slots[i] = p.into(p.add(opLoad32, addr(oob)+header+uintptr(4*i)))
	}
	return slots
}
