package main

import (
	"bytes"
	"sync"
)

// tailSize is how much of the console a report of a crash shows: a panic with
// its registers and stack is 3 to 5 KiB.
const tailSize = 8 << 10

// tail is a writer that keeps the last tailSize bytes. The zero value is empty.
// It is safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

// String returns what was kept, with the line ends of a terminal made plain.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.ReplaceAll(t.buf, []byte("\r\n"), []byte("\n")))
}
