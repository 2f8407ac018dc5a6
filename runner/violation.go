package runner

import (
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/syscalls"
	"github.com/sbx-project/sbx/nsexec"
)

// describe turns init's record into a Call. Every process of the run is
// stopped meanwhile, so what is read of it belongs to the refused call.
//
// Trust boundary. Who controls the input: the workload, which chose the
// arguments and the memory behind them. What privilege is held: the
// supervisor's. What has been checked: the record is init's and has a fixed
// size. What fails closed: memory is only copied, bounded to a few hundred
// bytes, and shown quoted; nothing depends on it.
func describe(r nsexec.Record, init int, f *plan.Filter) Call {
	c := Call{Kind: "syscall", NR: r.NR, Arch: archName(r.Arch), Args: r.Args, PID: r.PID, Rule: "not in syscalls.allow"}
	if r.Known == 0 {
		c.NR, c.Syscall, c.Rule = -1, "unknown", "withdrawn by a signal before it could be read"
		return c
	}
	native := c.Arch == runtime.GOARCH
	if name, ok := syscalls.Name(runtime.GOARCH, uint32(r.NR)); ok && native {
		c.Syscall, c.AllowWith = name, "syscalls: {allow: ["+name+"]}"
		if name == "execve" || name == "execveat" {
			c.Rule, c.AllowWith = "only the registered program is executed", "filesystem: {exec: [PATH]}"
		}
	} else {
		c.Syscall = "syscall_" + strconv.Itoa(int(r.NR))
	}
	if !native || r.NR&x32Bit != 0 {
		c.Rule = "foreign ABI"
		if native {
			c.Arch = "x32"
		}
		c.AllowWith = ""
	}
	switch nr := uint32(r.NR); {
	case c.Rule == "foreign ABI":
	case slices.Contains(f.Denied, nr):
		c.Rule, c.AllowWith = "in syscalls.deny", ""
	case slices.Contains(f.ByArgs, nr):
		c.Rule, c.AllowWith = "not with these arguments", ""
	}
	pid, tid, ok := hostThread(init, r.PID)
	if !ok {
		return c
	}
	c.Comm = strings.TrimSuffix(readFile("/proc/"+strconv.Itoa(pid)+"/task/"+strconv.Itoa(tid)+"/comm"), "\n")
	if native {
		if i, ok := pathArgument(c.Syscall); ok {
			c.Path = readString(pid, r.Args[i])
		}
		if c.Syscall == "connect" || c.Syscall == "bind" {
			c.Address = readAddress(pid, r.Args[1], r.Args[2])
		}
	}
	return c
}

// x32Bit marks the x32 ABI in an x86-64 call number.
const x32Bit = 0x40000000

// archName names an AUDIT_ARCH value of linux/audit.h.
func archName(a uint32) string {
	switch a {
	case unix.AUDIT_ARCH_X86_64:
		return "amd64"
	case unix.AUDIT_ARCH_AARCH64:
		return "arm64"
	case unix.AUDIT_ARCH_I386:
		return "i386"
	case unix.AUDIT_ARCH_ARM:
		return "arm"
	}
	return "0x" + strconv.FormatUint(uint64(a), 16)
}

// pathArgument says which argument of a call is the path of what it acts on.
func pathArgument(name string) (int, bool) {
	switch name {
	case "open", "stat", "lstat", "access", "chdir", "rename", "mkdir", "rmdir", "creat", "link", "unlink", "symlink",
		"readlink", "chmod", "chown", "lchown", "truncate", "execve", "mknod", "chroot", "pivot_root", "swapon", "swapoff",
		"acct", "umount2", "statfs", "mount", "utime", "utimes", "setxattr", "getxattr", "removexattr", "uselib":
		return 0, true
	case "openat", "openat2", "mkdirat", "mknodat", "fchownat", "newfstatat", "unlinkat", "renameat", "linkat", "readlinkat",
		"fchmodat", "fchmodat2", "faccessat", "faccessat2", "execveat", "name_to_handle_at", "open_tree", "mount_setattr", "statx", "move_mount", "quotactl":
		return 1, true
	}
	return 0, false
}

// readMemory copies at most n bytes of a process.
func readMemory(pid int, at uint64, n int) []byte {
	b := make([]byte, n)
	for n > 0 {
		// Up to the end of the page first: a copy over a hole gives nothing.
		got, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: uint64(n)}}, []unix.RemoteIovec{{Base: uintptr(at), Len: n}}, 0)
		if err == nil && got > 0 {
			return b[:got]
		}
		short := int(4096 - at%4096)
		if err != nil && n > short {
			n = short
			continue
		}
		return nil
	}
	return nil
}

func readString(pid int, at uint64) string {
	b := readMemory(pid, at, 256)
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// readAddress shows a socket address.
func readAddress(pid int, at, size uint64) string {
	b := readMemory(pid, at, int(min(size, 110)))
	if len(b) < 8 {
		return ""
	}
	port := strconv.Itoa(int(b[2])<<8 | int(b[3]))
	switch uint16(b[0]) | uint16(b[1])<<8 {
	case unix.AF_UNIX:
		s, _, _ := strings.Cut(string(b[2:]), "\x00")
		if s == "" && len(b) > 3 {
			s = "@" + string(b[3:])
		}
		return "unix:" + s
	case unix.AF_INET:
		return strconv.Itoa(int(b[4])) + "." + strconv.Itoa(int(b[5])) + "." + strconv.Itoa(int(b[6])) + "." + strconv.Itoa(int(b[7])) + ":" + port
	case unix.AF_INET6:
		return "[inet6]:" + port
	}
	return ""
}
