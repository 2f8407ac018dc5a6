// Package systemd installs sbx as dist/README.md says, on a machine whose
// process 1 is systemd, and asks of the units what they promise: a start that is
// done when the daemon serves, a start by the socket, control groups below the
// unit's own with limits that hold, a restart by the watchdog, reload and drain.
//
// It changes /usr, /etc and /run, so it runs only with SBX_TEST_SYSTEMD=1, in a
// machine to throw away:
//
//	make test-vm-systemd
package systemd
