package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The rows of memory.
const (
	nameMemoryCold = "memory of a sandbox, one-shot"
	nameMemoryWarm = "memory of a sandbox, by the daemon"
)

// memoryRuns are how many sandboxes the daemon has while its memory is looked
// at: what it takes for itself from time to time is shared by as many.
const memoryRuns = 20

// pss is the proportional set size of a process in KiB
// (Documentation/filesystems/proc.rst, smaps_rollup): a page that n processes
// have counts as the n-th part of it.
func pss(pid int) (float64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
			return strconv.ParseFloat(f[1], 64)
		}
	}
	return 0, fmt.Errorf("process %d: no Pss", pid)
}

// initOf reads the pid of a run's init from the file of --result, whose first
// line is there when the workload runs, or a moment later by a daemon.
func initOf(file string) (int, error) {
	for end := time.Now().Add(crowdLimit); ; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		line, _, whole := strings.Cut(string(text), "\n")
		if whole {
			_, rest, _ := strings.Cut(line, ":")
			return strconv.Atoi(strings.Trim(rest, "} "))
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("%s has no first line", file)
		}
	}
}

// memoryCold is init and supervisor, which is sbx itself, of one sandbox in
// MiB; several times, one after the other.
func memoryCold(s *site) *figure {
	f := &figure{}
	for range sustainParts {
		inits, h, err := holdReported(s, 1, "--direct")
		if err == nil {
			var sum float64
			if sum, err = pssOf(append(inits, h.cmds[0].Process.Pid)); err == nil {
				f.values = append(f.values, sum/1024)
			}
		}
		if h != nil {
			_, ended := h.release()
			err = errors.Join(err, ended)
		}
		if err != nil {
			return &figure{problem: err}
		}
	}
	return f
}

// memoryWarm is what each of several sandboxes of the daemon adds to the
// memory of their inits and of the daemon, in KiB. The client is the caller's
// process and not in it.
func memoryWarm(s *site, daemon int) *figure {
	f := &figure{}
	for range sustainParts {
		before, err := pss(daemon)
		if err != nil {
			return &figure{problem: err}
		}
		inits, h, err := holdReported(s, memoryRuns)
		if err == nil {
			var sum float64
			if sum, err = pssOf(append(inits, daemon)); err == nil {
				f.values = append(f.values, (sum-before)/memoryRuns)
			}
		}
		if h != nil {
			_, ended := h.release()
			err = errors.Join(err, ended)
		}
		if err != nil {
			return &figure{problem: err}
		}
	}
	return f
}

func pssOf(pids []int) (sum float64, err error) {
	for _, pid := range pids {
		one, err := pss(pid)
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// holdReported holds n runs of the command hold and returns the pids of their
// inits.
func holdReported(s *site, n int, flags ...string) (inits []int, h *held, err error) {
	file := func(i int) string { return filepath.Join(s.dir, "result-"+strconv.Itoa(i)) }
	defer func() {
		for i := range n {
			os.Remove(file(i))
		}
	}()
	h, err = hold(n, func(i int) *command {
		return s.run("hold", append(flags[:len(flags):len(flags)], "--result", file(i))...)
	})
	for i := 0; err == nil && i < n; i++ {
		var pid int
		pid, err = initOf(file(i))
		inits = append(inits, pid)
	}
	return inits, h, err
}
