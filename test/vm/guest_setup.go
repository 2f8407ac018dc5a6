package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// loadModules loads every file of dir in the order of the names. Debian's newer
// kernels have theirs compressed and unpack them themselves (since Linux 5.17).
func loadModules(dir string) error {
	files, err := filepath.Glob(dir + "/*.ko*")
	if err != nil {
		return err
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		flags := 0
		if !strings.HasSuffix(file, ".ko") {
			flags = unix.MODULE_INIT_COMPRESSED_FILE
		}
		err = unix.FinitModule(int(f.Fd()), "", flags)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load module %q: %w", file, err)
		}
	}
	return os.RemoveAll(dir)
}

// settle sets what a distribution's start would: host name, loopback, the
// ordinary user's home, modes that a cpio of directories does not carry.
func settle() error {
	if err := unix.Sethostname([]byte(guestHostname)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	return errors.Join(
		os.Chown("/home/tester", 1000, 1000),
		os.Chmod("/var/tmp", 0o777|os.ModeSticky),
		os.MkdirAll("/run/lock", 0o755),
	)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// delegate gives every controller to the children of the root cgroup and makes
// the program's leaf, as a service manager does for a unit with Delegate=yes.
// The root is exempt from the rule that a cgroup has either processes or
// controllers for its children (Control Group v2, "No Internal Process Constraint").
func delegate() error {
	b, err := os.ReadFile(guestCgroup + "/cgroup.controllers")
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(b)) {
		if err := os.WriteFile(guestCgroup+"/cgroup.subtree_control", []byte("+"+c), 0); err != nil {
			return fmt.Errorf("delegate controller %s: %w", c, err)
		}
	}
	return os.Mkdir(guestLeaf, 0o755)
}
