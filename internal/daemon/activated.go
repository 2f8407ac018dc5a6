package daemon

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/ctl"
)

// take uses a socket that the service manager made in dir and listens on as
// long as its unit does. Callers look for it by the registry's key, which the
// unit cannot know: the file gets that name as well, and keeps it, so that a
// call finds the socket, and thereby starts the daemon, while none runs.
//
// Trust boundary. Who controls the input: the service manager, by the unit.
// What privilege is held: the daemon's. What has been checked: it listens
// (internal/systemd), dir is trusted. What fails closed: another kind of
// socket, or one outside of dir, whose access nobody has checked, is refused.
func (s *socket) take(dir *os.File, key string, given *os.File) error {
	defer given.Close()
	fd := int(given.Fd())
	fail := func(what string, err error) error {
		return fmt.Errorf("take the socket of the service manager: %s: %w", what, err)
	}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return fail("type", fmt.Errorf("%d is not seqpacket (ListenSequentialPacket=)", kind))
	}
	address, err := unix.Getsockname(fd)
	if err != nil {
		return fail("name", err)
	}
	local, ok := address.(*unix.SockaddrUnix)
	if !ok || filepath.Dir(local.Name) != filepath.Clean(dir.Name()) {
		return fail("name", fmt.Errorf("it is not in %q", dir.Name()))
	}
	base, name := filepath.Base(local.Name), ctl.SocketName(key)
	if base == ctl.UnitSocket && !ctl.SystemKey(key) {
		return fail("name", fmt.Errorf("callers take %s for the system's registry, and this daemon serves another one: name it otherwise", base))
	}
	if base != name {
		if err := unix.Linkat(int(dir.Fd()), base, int(dir.Fd()), name, 0); err != nil {
			return fail("give it the name "+name, err)
		}
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fail("duplicate", err)
	}
	if err := unix.SetNonblock(own, true); err != nil {
		unix.Close(own)
		return fail("nonblocking", err)
	}
	s.fd, s.kept = own, true
	return nil
}
