package ctl

import (
	"errors"
	"os"
	"testing"
)

// TestDrain: a call that starts over finds what it has read.
func TestDrain(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
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
}
