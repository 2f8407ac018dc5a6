package ctl

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDrain: a call that starts over finds what it has read.
func TestDrain(t *testing.T) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], 0); err != nil { // as they come from a shell
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(ends[0]), "r"), os.NewFile(uintptr(ends[1]), "w")
	defer r.Close()
	if _, err := w.WriteString("value\n"); err != nil {
		t.Fatal(err)
	}
	v := &Invocation{}
	if _, err := v.drain(int(w.Fd()), 9); err == nil {
		t.Error("the writing end was read")
	}
	w.Close()
	for range 2 {
		if b, err := v.drain(int(r.Fd()), 6); err != nil || string(b) != "value\n" {
			t.Errorf("got %q, %v", b, err)
		}
	}
	if _, err := v.drain(int(r.Fd()), 5); !errors.Is(err, errTooMuch) {
		t.Errorf("more than asked for: %v", err)
	}
	if _, err := v.drain(987654, 9); err == nil {
		t.Error("a descriptor that is not open was read")
	}
	for name, flags := range map[string]int{"of this process's own": unix.O_RDONLY | unix.O_CLOEXEC, "that only names a file": unix.O_PATH} {
		fd, err := unix.Open("/dev/null", flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if b, err := v.drain(fd, 9); !errors.Is(err, errNotOpen) {
			t.Errorf("a descriptor %s was read: %q, %v", name, b, err)
		}
	}
}
