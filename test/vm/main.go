// Vmexec runs one program in a throw-away QEMU guest with a kernel of
// Debian's, and is meant for the -exec flag of go test:
//
//	go test -count=1 -exec "vmexec -kernel 6.1" ./test/integration
//
// The guest has what a build machine often lacks: every controller of cgroup
// v2, every namespace, a root that pivot_root(2) can leave, an ext4 disk for
// idmapped mounts. Standard output and error are streamed, the exit status is
// the program's own (128+n when signal n ended it), and what the -test flags
// write comes back to where it was asked for.
//
// With -systemd the guest has Debian's systemd as process 1, and the program
// runs in a service of it: for tests of units.
//
// Start reading at host (what happens outside) and guest (what happens as
// process 1 inside); both are in this one executable, which is also the /init
// of the guest. They talk over virtio-serial ports and one disk: see protocol.go.
//
// The harness promises that a guest which crashes, hangs or powers itself off
// is reported as 125 with the end of its console, never as success. It protects
// from nothing: what runs in the guest is trusted not to forge its own result.
package main

import "os"

func main() {
	switch {
	case os.Getpid() == 1:
		guestMain()
	case len(os.Args) == 2 && os.Args[1] == serviceArg:
		serviceMain()
	}
	os.Exit(hostMain(os.Args[1:]))
}
