package nsexec

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// victim is what the test binary does inside a sandbox.
func victim(args []string) int {
	switch args[0] {
	case "exit":
		n, _ := strconv.Atoi(args[1])
		return n
	case "kill":
		n, _ := strconv.Atoi(args[1])
		unix.Kill(os.Getpid(), syscall.Signal(n))
		time.Sleep(time.Minute)
		return 1
	case "ptrace":
		unix.RawSyscall(unix.SYS_PTRACE, 0x1234, 0, 0)
		return 0
	case "child":
		// The parent ends with 0 whatever happens to its child.
		pid, err := syscall.ForkExec("/proc/self/exe", []string{"victim", "ptrace"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
		if err != nil {
			return 1
		}
		syscall.Wait4(pid, nil, 0, nil)
		return 0
	case "thread":
		go func() { unix.RawSyscall(unix.SYS_PTRACE, 0x1234, 0, 0) }()
		time.Sleep(time.Minute)
		return 0
	case "status":
		status()
	case "look":
		look(args[1:])
	}
	return 0
}

func status() {
	fmt.Println("pid", os.Getpid())
	sid, _ := unix.Getsid(0)
	fmt.Println("sid", sid)
	fmt.Println("uid", os.Getuid())
	h, _ := os.Hostname()
	fmt.Println("hostname", h)
	wd, _ := os.Getwd()
	fmt.Println("cwd", wd)
	fmt.Printf("umask %03o\n", unix.Umask(0))
	b, err := os.ReadFile("/proc/self/status")
	fmt.Println(string(b), err)
	var fds []string
	ents, _ := os.ReadDir("/proc/self/fd")
	for _, e := range ents {
		// Go's own poller and the directory itself are not inherited.
		if l, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(l, "anon_inode:") && !strings.HasPrefix(l, "/proc/") {
			fds = append(fds, e.Name())
		}
	}
	sort.Strings(fds)
	fmt.Println("fds", strings.Join(fds, " "))
	network, _ := os.Readlink("/proc/self/ns/net")
	fmt.Println("net", network)
	fmt.Println("env", strings.Join(os.Environ(), " "))
	_, err = os.ReadFile("/proc/1/environ")
	if os.IsPermission(err) {
		fmt.Println("init environ EACCES")
	}
	b, _ = os.ReadFile("/proc/1/cmdline")
	fmt.Println("init cmdline", strings.Trim(string(b), "\x00"))
	if err := os.WriteFile("/x", nil, 0o644); err != nil {
		if pe, ok := err.(*os.PathError); ok && pe.Err == unix.EROFS {
			fmt.Println("root ro")
		}
	}
}
