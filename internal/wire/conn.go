package wire

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Type of a message.
type Type byte

// The messages; see the package comment for who says which when.
const (
	// TypeRequest: a Request and its descriptors.
	TypeRequest Type = iota + 1
	// TypeNeed: a Need.
	TypeNeed
	// TypeGiven: one descriptor (O_PATH) for each path of the Need.
	TypeGiven
	// TypeBegun: init's pid, as 8 bytes.
	TypeBegun
	// TypeText: bytes for the caller's stdout: the help of a command.
	TypeText
	// TypeDone: the report. It is the last message.
	TypeDone
	// TypeElsewhere: run it by yourself. The body is the daemon's build; this is
	// so in every version. It is the last message.
	TypeElsewhere
	// TypeSignal: one byte, the number of a signal for the workload.
	TypeSignal
	// TypeWanted: Wanted; ask again with what it names. It is the last message.
	TypeWanted
)

const (
	// MaxBody bounds a message in bytes: what execve(2) takes as arguments
	// and environment by default (2 MiB), and some for the rest.
	MaxBody = 2<<20 + 256<<10
	// Packet is how much goes into one packet. The kernel's default bound of
	// a sender (net.core.wmem_default, 212992) is above it with its overhead;
	// half of it doubles the calls of a large request, which is rare.
	Packet = 64 << 10
	// head of a packet: the type, and whether more of the message follows.
	head = 2
)

// ErrEnd says that the other side has gone.
var ErrEnd = errors.New("the other side has gone")

// ErrTooLarge says that a message is larger than is taken.
var ErrTooLarge = errors.New("message too large")

// Conn is one side of a connection. It waits for ever where the caller has
// set no SO_RCVTIMEO and no SO_SNDTIMEO; with those set it fails with EAGAIN.
// It is not safe for concurrent use, but for one that sends and one that
// receives.
type Conn struct {
	// FD is the socket. It belongs to who made the Conn.
	FD int
	// Limit bounds what is received, in bytes; 0 means MaxBody.
	Limit int
	// Until is when a message that comes in pieces must be there, give or take
	// SO_RCVTIMEO, which is for each of them; zero: whenever it is.
	Until time.Time
}

// Send sends one message with descriptors, which stay the caller's.
func (c *Conn) Send(t Type, body []byte, fds ...int) error {
	if len(body) > MaxBody {
		return ErrTooLarge
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	buf := make([]byte, 0, head+min(len(body), Packet))
	for {
		n := min(len(body), Packet)
		more := byte(0)
		if n < len(body) {
			more = 1
		}
		buf = append(append(buf[:0], byte(t), more), body[:n]...)
		if err := c.send(buf, rights); err != nil {
			return err
		}
		if body, rights = body[n:], nil; more == 0 {
			return nil
		}
	}
}

func (c *Conn) send(b, rights []byte) error {
	for {
		err := unix.Sendmsg(c.FD, b, rights, nil, unix.MSG_NOSIGNAL)
		switch err {
		case unix.EINTR:
			continue
		case unix.EPIPE, unix.ECONNRESET:
			return ErrEnd
		}
		return err
	}
}

// Receive takes one message and its descriptors, which are the caller's to
// close and close-on-exec. It accepts as many descriptors as maxFDs; with more,
// or when the message is larger than Limit, late or broken in itself, it returns
// an error and has closed them all. ErrEnd: the other side has gone.
func (c *Conn) Receive(maxFDs int) (t Type, body []byte, fds []int, err error) {
	limit := c.Limit
	if limit == 0 {
		limit = MaxBody
	}
	buf := make([]byte, head+Packet)
	oob := make([]byte, unix.CmsgSpace(4*max(maxFDs, 1)))
	for first := true; ; first = false {
		n, got, err := c.packet(buf, oob)
		fds = append(fds, got...)
		switch {
		case err != nil:
		case n < head || buf[1] > 1 || !first && (Type(buf[0]) != t || len(got) > 0), len(fds) > maxFDs:
			err = ErrMalformed
		case buf[1] == 1 && n == head: // would go on for ever
			err = ErrMalformed
		case len(body)+n-head > limit:
			err = ErrTooLarge
		}
		if err != nil {
			CloseAll(fds)
			return 0, nil, nil, err
		}
		t = Type(buf[0])
		if body = append(body, buf[head:n]...); buf[1] == 0 {
			return t, body, fds, nil
		}
		if !c.Until.IsZero() && time.Now().After(c.Until) {
			CloseAll(fds)
			return 0, nil, nil, unix.EAGAIN
		}
	}
}

// packet receives one packet. Descriptors that do not fit are closed by the
// kernel, and it says so (MSG_CTRUNC of recvmsg(2)).
func (c *Conn) packet(buf, oob []byte) (int, []int, error) {
	var n, oobn, flags int
	var err error
	for {
		n, oobn, flags, _, err = unix.Recvmsg(c.FD, buf, oob, unix.MSG_CMSG_CLOEXEC)
		// ECONNRESET comes once, and before what was sent, when the other side
		// has gone with a message of ours unread (net/unix/af_unix.c,
		// unix_release_sock): a signal that came with the end of a run.
		if err != unix.EINTR && err != unix.ECONNRESET {
			break
		}
	}
	if err == nil && n == 0 {
		err = ErrEnd
	}
	if oobn == 0 || n < 0 {
		if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
			err = ErrMalformed
		}
		return n, nil, err
	}
	var fds []int
	list, perr := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range list {
		if some, e := unix.ParseUnixRights(&list[i]); e == nil {
			fds = append(fds, some...)
		}
	}
	if err == nil && (perr != nil || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0) {
		err = ErrMalformed
	}
	return n, fds, err
}

// CloseAll closes descriptors.
func CloseAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
