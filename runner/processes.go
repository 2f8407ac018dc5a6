package runner

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxProcesses bounds how many processes of a run are looked at: a run
// without a pids limit can have as many as the host lets it.
const maxProcesses = 1 << 16

// descendants lists the processes below pid, children before grandchildren,
// by proc(5)'s children files (CONFIG_PROC_CHILDREN, Linux 4.2). A process
// that is born or dies meanwhile may be missed.
func descendants(pid int) []int {
	out := []int{}
	for queue := []int{pid}; len(queue) > 0 && len(out) < maxProcesses; queue = queue[1:] {
		base := "/proc/" + strconv.Itoa(queue[0]) + "/task/"
		for _, tid := range entries(base) {
			for _, f := range strings.Fields(readFile(base + tid + "/children")) {
				if n, err := strconv.Atoi(f); err == nil {
					out = append(out, n)
					queue = append(queue, n)
				}
			}
		}
	}
	return out
}

// hostThread finds the thread that has the number inner in the run's PID
// namespace. init is PID 1 of it.
func hostThread(init int, inner uint32) (pid, tid int, ok bool) {
	want := strconv.FormatUint(uint64(inner), 10)
	for _, p := range descendants(init) {
		base := "/proc/" + strconv.Itoa(p) + "/task/"
		for _, t := range entries(base) {
			ns := strings.Fields(statusField(readFile(base+t+"/status"), "NSpid"))
			if len(ns) > 1 && ns[len(ns)-1] == want {
				tid, err := strconv.Atoi(t)
				return p, tid, err == nil
			}
		}
	}
	return 0, 0, false
}

// statusField is one value of /proc/PID/status.
func statusField(status, name string) string {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// privateMemory is the anonymous and shared memory of a process in bytes.
func privateMemory(pid int) uint64 {
	s := readFile("/proc/" + strconv.Itoa(pid) + "/status")
	var sum uint64
	for _, name := range [...]string{"RssAnon", "RssShmem"} {
		kb, _ := strconv.ParseUint(strings.TrimSuffix(statusField(s, name), " kB"), 10, 64)
		sum += kb << 10
	}
	return sum
}

// entries lists a directory of /proc, without . and ..
func entries(path string) []string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var names []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil || n <= 0 {
			return names
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// readFile reads a small file of /proc; what cannot be read is empty.
func readFile(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var out []byte
	buf := make([]byte, 4096)
	for len(out) < 1<<20 {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		out = append(out, buf[:n]...)
	}
	return string(out)
}

// readNumber is readFile for a file with one number.
func readNumber(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var b [32]byte
	n, err := unix.Read(fd, b[:])
	if err != nil || n <= 0 {
		return ""
	}
	return string(b[:n])
}
