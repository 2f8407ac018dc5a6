package cgroup

import (
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Events counts what happened to the leaf since it was made. A count whose
// controller is missing is 0.
type Events struct {
	// OOM is how often memory.max could not be kept by reclaim.
	OOM uint64
	// OOMKill is how many tasks the memory killer ended; one process with
	// several threads can count more than once (measured on 6.1 and 6.12).
	OOMKill uint64
	// OOMGroupKill is how often it ended the leaf as a whole (Linux 5.17).
	OOMGroupKill uint64
	// PidsMax is how often a fork or clone met pids.max.
	PidsMax uint64
}

// Events reads memory.events and pids.events. Read it after the leaf is
// empty and before Delete.
func (l *Leaf) Events() (Events, error) {
	var e Events
	memory, err := optional(l.fd, "memory.events")
	if err != nil {
		return e, wrap("read events of", l.Path(), err)
	}
	pids, err := optional(l.fd, "pids.events")
	if err != nil {
		return e, wrap("read events of", l.Path(), err)
	}
	e.OOM = value(memory, "oom")
	e.OOMKill = value(memory, "oom_kill")
	e.OOMGroupKill = value(memory, "oom_group_kill")
	e.PidsMax = value(pids, "max")
	return e, nil
}

// Usage is what the leaf has used since it was made. What the host does not
// count is 0.
type Usage struct {
	// CPUUser and CPUSys are processor time; every version 2 hierarchy has
	// them, controllers or not.
	CPUUser, CPUSys time.Duration
	// MemPeak is the highest memory use in bytes (Linux 5.19).
	MemPeak uint64
	// PidsPeak is the highest number of processes and threads (Linux 6.1).
	PidsPeak uint64
	// IORead and IOWrite are bytes to and from block devices.
	IORead, IOWrite uint64
}

// Usage reads cpu.stat, memory.peak, pids.peak and io.stat.
func (l *Leaf) Usage() (Usage, error) {
	var u Usage
	var texts [4]string
	for i, name := range [...]string{"cpu.stat", "memory.peak", "pids.peak", "io.stat"} {
		text, err := optional(l.fd, name)
		if err != nil {
			return u, wrap("read usage of", l.Path(), err)
		}
		texts[i] = text
	}
	u.CPUUser = time.Duration(value(texts[0], "user_usec")) * time.Microsecond
	u.CPUSys = time.Duration(value(texts[0], "system_usec")) * time.Microsecond
	u.MemPeak = number(texts[1])
	u.PidsPeak = number(texts[2])
	u.IORead, u.IOWrite = ioBytes(texts[3])
	return u, nil
}

// optional reads a file that exists only with its controller; "" without.
func optional(fd int, name string) (string, error) {
	text, err := readFile(fd, name)
	return text, gone(err)
}

// value finds the line "key N" and gives N; 0 when there is none.
func value(text, key string) uint64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key); ok && rest != "" && rest[0] == ' ' {
			return number(rest)
		}
	}
	return 0
}

// number parses one decimal number with white space around it; 0 for anything
// else.
func number(s string) uint64 {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// ioBytes sums rbytes= and wbytes= over the devices of io.stat.
func ioBytes(text string) (read, write uint64) {
	for field := range strings.FieldsSeq(text) {
		if n, ok := strings.CutPrefix(field, "rbytes="); ok {
			read += number(n)
		} else if n, ok := strings.CutPrefix(field, "wbytes="); ok {
			write += number(n)
		}
	}
	return read, write
}

// Populated reports whether the leaf or a group below it has a process.
func (l *Leaf) Populated() (bool, error) {
	text, err := readFile(l.fd, "cgroup.events")
	if isErrno(err, unix.ENODEV) {
		return false, nil
	}
	return value(text, "populated") != 0, wrap("read", l.Path(), err)
}
