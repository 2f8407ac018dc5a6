package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// portDeadline bounds the wait for the ports, which appear one by one after the
// driver is loaded: milliseconds with KVM, half a second without.
const portDeadline = 30 * time.Second

// openPorts waits for the named virtio-serial ports and opens them.
func openPorts(names []string) (map[string]*os.File, error) {
	open := map[string]*os.File{}
	for deadline := time.Now().Add(portDeadline); len(open) < len(names); {
		files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			name := strings.TrimSpace(string(b))
			if err != nil || name == "" || open[name] != nil {
				continue
			}
			// A blocking descriptor, kept from Go's poller: a write then
			// returns when QEMU has the bytes, so none are lost at the reset.
			fd, err := unix.Open("/dev/"+filepath.Base(filepath.Dir(f)), unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err == nil {
				open[name] = os.NewFile(uintptr(fd), name)
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("virtio-serial ports: %d of %d after %v", len(open), len(names), portDeadline)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return open, nil
}

// patientReader hides that a virtio-serial port reads as ended while nobody is
// connected on the host's side, as at the moment of resuming.
type patientReader struct{ f *os.File }

func (p patientReader) Read(b []byte) (int, error) {
	for {
		n, err := p.f.Read(b)
		if n > 0 || err != nil && err != io.EOF {
			return n, err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// pump returns the write end of a pipe that is copied to the port, and a channel
// that is closed when all writers are gone and everything is copied.
func pump(port *os.File) (*os.File, <-chan struct{}, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.Close()
		io.Copy(port, r)
	}()
	return w, done, nil
}
