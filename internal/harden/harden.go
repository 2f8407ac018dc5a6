// Package harden takes from the daemon what it never needs again: [Bound] the
// capabilities beyond [Keep], before anything else runs; [Seal] the system
// calls that only a break-in would make, once it is set up.
//
// It narrows what somebody who has taken the daemon over can do to the kernel.
// It does not keep him from what the daemon itself can do, which is much: it
// makes namespaces and mounts as root.
package harden

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/syscalls"
)

// Keep lists the capabilities that launching needs; dist/systemd/sbx.service
// has the same with the reason of each, and a test compares the two.
func Keep() []string {
	return []string{
		"SYS_ADMIN", "SETUID", "SETGID", "SETPCAP", "SETFCAP", "NET_ADMIN", "SYS_PTRACE", "KILL", "SYS_RESOURCE", "SYS_TIME",
		"CHOWN", "FOWNER", "FSETID", "DAC_OVERRIDE", "DAC_READ_SEARCH", "BPF", "PERFMON",
	}
}

// numbers are those of capability.h for what Keep names.
var numbers = map[string]uint{
	"CHOWN": unix.CAP_CHOWN, "DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH, "FOWNER": unix.CAP_FOWNER, "FSETID": unix.CAP_FSETID,
	"KILL": unix.CAP_KILL, "SETGID": unix.CAP_SETGID, "SETUID": unix.CAP_SETUID, "SETPCAP": unix.CAP_SETPCAP, "NET_ADMIN": unix.CAP_NET_ADMIN,
	"SYS_PTRACE": unix.CAP_SYS_PTRACE, "SYS_ADMIN": unix.CAP_SYS_ADMIN, "SYS_RESOURCE": unix.CAP_SYS_RESOURCE, "SYS_TIME": unix.CAP_SYS_TIME,
	"SETFCAP": unix.CAP_SETFCAP, "PERFMON": unix.CAP_PERFMON, "BPF": unix.CAP_BPF,
}

// keepMask is Keep as a set.
func keepMask() uint64 {
	var mask uint64
	for _, name := range Keep() {
		mask |= 1 << numbers[name]
	}
	return mask
}

// Bound makes sure that root's bounding set (capabilities(7)) has nothing but
// Keep. The set belongs to a thread, and a Go program has several before main
// begins: it is dropped on one, which then executes this program anew. Bound
// returns when there is nothing left to drop; it does not return when it
// executes. Call it before anything is opened.
func Bound() error {
	if os.Geteuid() != 0 {
		return nil // no capabilities, and none to be had
	}
	have, err := boundingSet()
	if err != nil {
		return err
	}
	if have&^keepMask() == 0 {
		return nil
	}
	runtime.LockOSThread() // not unlocked: the thread ends here, by exec or by the error's end
	for c := range uint(64) {
		if have&^keepMask()&(1<<c) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d from the bounding set: %w", c, err)
		}
	}
	// execve(2) gives all threads of the new program this thread's sets.
	return os.NewSyscallError("execve", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}

// boundingSet is that of the calling thread.
func boundingSet() (uint64, error) {
	text, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if hex, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	return 0, errors.New("no CapBnd in /proc/thread-self/status")
}

// sealed are the calls that Seal takes away: what only root of the host can
// do, and what neither the daemon nor a run in a user namespace of its own
// ever can. Calls that a policy may allow with effect are not among them.
var sealed = []string{
	"init_module", "finit_module", "delete_module", "create_module", "query_module", "get_kernel_syms", "kexec_load", "kexec_file_load",
	"swapon", "swapoff", "acct", "iopl", "ioperm", "settimeofday", "clock_settime", "vhangup", "quotactl", "quotactl_fd", "nfsservctl", "uselib", "lookup_dcookie",
}

// retTrace is SECCOMP_RET_TRACE: nobody traces, so the call is ENOSYS
// (seccomp(2)). Runs are copies of the daemon and inherit its filter. Of two
// filters' answers the kernel takes the stricter; TRACE, unlike ERRNO and KILL,
// gives way to the USER_NOTIF by which a run's own filter reports a violation.
const (
	retUserNotif = 0x7fc00000
	retTrace     = 0x7ff00000
	classRet     = 0x06
)

// Seal gives every thread of this program, and what it starts, no_new_privs and
// a filter without the sealed calls. It cannot be taken back. Foreign ABIs are
// sealed as a whole.
func Seal() error {
	program, err := sealProgram()
	if err != nil {
		return err
	}
	return load(program)
}

// sealProgram compiles the filter.
func sealProgram() ([]byte, error) {
	rules := filter.Ruleset{Arch: runtime.GOARCH, Default: filter.Verdict{Kind: filter.Allow}, Calls: map[uint32]filter.Call{}}
	for _, name := range sealed {
		nr, ok := syscalls.Number(runtime.GOARCH, name)
		if !ok {
			continue // not of this architecture
		}
		rules.Calls[nr] = filter.Call{Default: filter.Verdict{Kind: filter.Violation}}
	}
	compiled, err := filter.Compile(rules)
	if err != nil {
		return nil, err
	}
	program := compiled.Insns
	// struct sock_filter: code u16, jt u8, jf u8, k u32, in the host's order.
	for i := 0; i+8 <= len(program); i += 8 {
		insn := program[i : i+8]
		if binary.NativeEndian.Uint16(insn) == classRet && binary.NativeEndian.Uint32(insn[4:]) == retUserNotif {
			binary.NativeEndian.PutUint32(insn[4:], retTrace)
		}
	}
	return program, nil
}
