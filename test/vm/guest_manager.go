package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Places of a guest with systemd.
const (
	guestManager = "/usr/lib/systemd/systemd"
	// serviceArg makes /init the job's service in place of process 1.
	serviceArg = "guest-service"
)

// hasManager tells whether the boot image has systemd in it.
func hasManager() bool {
	_, err := os.Stat(guestManager)
	return err == nil
}

// becomeManager executes systemd as process 1. What is mounted already it leaves
// alone. It returns only an error.
func becomeManager() error {
	return fmt.Errorf("execute %q: %w", guestManager, unix.Exec(guestManager, []string{guestManager}, []string{"PATH=/usr/sbin:/usr/bin", "TERM=dumb"}))
}

// serviceMain is the job's service (see managerUnits), which systemd starts when
// all else has started. It does not return.
func serviceMain() {
	g := guest{}
	var err error
	if g.ports, err = openPorts(ports); err == nil {
		err = g.work()
	}
	g.end(err)
}
