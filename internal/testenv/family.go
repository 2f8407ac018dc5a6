package testenv

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// family is who started whom, by pid.
type family map[string]process

// process is one entry of it.
type process struct{ comm, parent string }

// readFamily reads /proc once.
func readFamily() family {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	all := make(family)
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		// "pid (comm) state ppid ...": comm may hold spaces and brackets
		// (proc_pid_stat(5)), so it ends at the last one.
		stat := read("/proc/" + e.Name() + "/stat")
		open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
		if open < 0 || end < open {
			continue
		}
		if f := strings.Fields(stat[end+1:]); len(f) > 1 {
			all[e.Name()] = process{comm: stat[open+1 : end], parent: f[1]}
		}
	}
	return all
}

// above tells whether a process, or one that it descends from, satisfies is.
func (all family) above(pid string, is func(pid string, p process) bool) bool {
	for {
		p, ok := all[pid]
		if !ok {
			return false
		}
		if is(pid, p) {
			return true
		}
		pid = p.parent
	}
}

// mine tells whether a process is this one or was started by it.
func (all family) mine(pid string) bool {
	self := strconv.Itoa(os.Getpid())
	return all.above(pid, func(pid string, _ process) bool { return pid == self })
}

// stranger tells whether a process lives that this one did not start.
func (all family) stranger(pid string) bool {
	_, lives := all[pid]
	return lives && !all.mine(pid)
}

// left lists the descendants of this process, and whatever runs one of the
// programs without being a descendant of another test binary. (An orphan has
// no test binary above it any more: it counts.)
func (all family) left(programs []string) []string {
	self := strconv.Itoa(os.Getpid())
	var out []string
	for pid, p := range all {
		named := slices.Contains(programs, p.comm)
		if exe, err := os.Readlink("/proc/" + pid + "/exe"); err == nil {
			named = named || slices.Contains(programs, filepath.Base(exe))
		}
		mine := all.mine(pid)
		if named && !mine {
			mine = !all.above(pid, func(_ string, p process) bool { return isTest(p.comm) })
		}
		if mine && pid != self {
			out = append(out, pid+" "+p.comm)
		}
	}
	return out
}

// isTest tells whether comm is that of a test binary, of which the kernel
// keeps the first 15 bytes.
func isTest(comm string) bool {
	_, suffix, ok := strings.Cut(comm, ".")
	return ok && (suffix == "test" || len(comm) == 15 && suffix != "" && strings.HasPrefix("test", suffix))
}
