// Package systemd speaks with the service manager: sockets that it opened
// ([Sockets]), what it is told of the daemon's state ([Notify]), and its
// watchdog ([Watch]). Where there is no service manager everything here does
// nothing. The protocols are sd_listen_fds(3), sd_notify(3) and
// sd_watchdog_enabled(3).
package systemd

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Sockets takes the listening sockets that the service manager opened for this
// process, by the name that the unit gives them (FileDescriptorName=). The
// files are the caller's; they are close-on-exec. It answers once: the
// environment says nothing of them afterwards. A descriptor that is no
// listening socket is an error, and a name that comes twice.
func Sockets() (map[string]*os.File, error) {
	files := activation.Files(true)
	out := map[string]*os.File{}
	var bad error
	for _, f := range files {
		listens, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		switch {
		case err != nil || listens != 1:
			bad = fmt.Errorf("descriptor %d (%q) from the service manager is no listening socket", f.Fd(), f.Name())
		case out[f.Name()] != nil:
			bad = fmt.Errorf("two sockets named %q from the service manager: FileDescriptorName=", f.Name())
		default:
			out[f.Name()] = f
		}
	}
	if bad != nil {
		for _, f := range files {
			f.Close()
		}
		return nil, bad
	}
	return out, nil
}

// Ready tells that the daemon takes requests; status is one line for
// `systemctl status`.
func Ready(status string) error { return notify(daemon.SdNotifyReady, "STATUS="+line(status)) }

// Reloading tells that a reload begins. Ready ends it.
func Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return err
	}
	return notify(daemon.SdNotifyReloading, "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/1000, 10))
}

// Stopping tells that the daemon ends; status says what it waits for.
func Stopping(status string) error {
	return notify(daemon.SdNotifyStopping, "STATUS="+line(status))
}

func notify(lines ...string) error {
	_, err := daemon.SdNotify(false, strings.Join(lines, "\n"))
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}

// line keeps a text from being more than one assignment.
func line(s string) string { return strings.NewReplacer("\n", " ", "\x00", " ").Replace(s) }

// Watch tells the watchdog that all is well, twice in each of its intervals, as
// long as alive returns nil, until ctx ends. While alive does not return or
// returns an error nothing is told, and the service manager starts the daemon
// again. It returns at once where no watchdog is set. warn gets errors.
func Watch(ctx context.Context, alive func() error, warn func(error)) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		warn(fmt.Errorf("watchdog: %w", err))
		return
	}
	if interval <= 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		if err := alive(); err != nil {
			warn(fmt.Errorf("the watchdog is not told that all is well: %w", err))
		} else if err := notify(daemon.SdNotifyWatchdog); err != nil {
			warn(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
