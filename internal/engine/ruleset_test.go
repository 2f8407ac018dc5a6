package engine

import (
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/syscalls"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

// number of a call on amd64; the call must exist.
func number(t testing.TB, name string) uint32 {
	t.Helper()
	nr, ok := syscalls.Number("amd64", name)
	if !ok {
		t.Fatalf("no call %q", name)
	}
	return nr
}

const high = 0x1_00000000

func args(a ...uint64) (out [6]uint64) { copy(out[:], a); return }

// generous allows whatever can be allowed, so that what is refused under it
// is refused by what is built in.
const generous = `syscalls: {allow: ["@known", clone3, openat2, personality, shmat, io_uring_setup]}`

func TestBuiltinRules(t *testing.T) {
	for _, tt := range []struct {
		name, policy, call string
		args               [6]uint64
		want               string
	}{
		{"thread", generous, "clone", args(0x3d0f00), "allow"},
		{"new user namespace", generous, "clone", args(0x10000000 | 17), "violation"},
		{"new user namespace, stray high bits", generous, "clone", args(high | 0x10000000), "violation"},
		{"every namespace flag", generous, "clone", args(0x02000000), "violation"},
		{"new user namespace, default errno", `syscalls: {default: errno}`, "clone", args(0x10000000 | 17), "errno EPERM"},
		{"clone3, answered", `syscalls: {errno: {EPERM: [clone3]}}`, "clone3", args(), "errno EPERM"},
		{"clone3", generous, "clone3", args(), "errno ENOSYS"},
		{"openat2", generous, "openat2", args(), "errno ENOSYS"},
		{"file_setattr", generous, "file_setattr", args(), "errno ENOSYS"},
		{"chmod", generous, "chmod", args(0, 0o755), "allow"},
		{"chmod setuid", generous, "chmod", args(0, 0o4755), "errno EPERM"},
		{"chmod setgid, high bits", generous, "fchmodat", args(0, 0, high|0o2755), "errno EPERM"},
		{"fchmodat2", generous, "fchmodat2", args(0, 0, 0o6000), "errno EPERM"},
		{"fchmod", generous, "fchmod", args(3, 0o4000), "errno EPERM"},
		{"mkdirat", generous, "mkdirat", args(0, 0, 0o2777), "errno EPERM"},
		{"open for reading, garbage mode", generous, "open", args(0, 0, 0o7777), "allow"},
		{"open creating", generous, "open", args(0, 0o101, 0o644), "allow"},
		{"open creating setuid", generous, "open", args(0, 0o101, 0o4755), "errno EPERM"},
		{"O_TMPFILE setuid", generous, "openat", args(0, 0, 0o20200002, 0o4755), "errno EPERM"},
		{"creat setuid", generous, "creat", args(0, 0o4755), "errno EPERM"},
		{"mknod fifo", generous, "mknod", args(0, 0o010644), "allow"},
		{"mknod regular", generous, "mknodat", args(0, 0, 0o644), "allow"},
		{"mknod block", generous, "mknod", args(0, 0o060644), "errno EPERM"},
		{"mknod char", generous, "mknodat", args(0, 0, 0o020644), "errno EPERM"},
		{"mknod setuid", generous, "mknodat", args(0, 0, 0o104755), "errno EPERM"},
		{"TCGETS", generous, "ioctl", args(0, 0x5401), "allow"},
		{"TIOCSTI", generous, "ioctl", args(0, 0x5412), "errno EPERM"},
		{"TIOCSTI, high bits (CVE-2019-10063)", generous, "ioctl", args(0, high|0x5412), "errno EPERM"},
		{"TIOCLINUX", generous, "ioctl", args(0, 0x541c), "errno EPERM"},
		{"other ioctl", generous, "ioctl", args(0, 0xdead), "errno ENOTTY"},
		{"FS_IOC_FSSETXATTR", generous, "ioctl", args(0, 0x401c5820), "errno EPERM"},
		{"PR_SET_NAME", generous, "prctl", args(15), "allow"},
		{"PR_SET_MM", generous, "prctl", args(35), "errno EPERM"},
		{"PR_SET_SECCOMP", generous, "prctl", args(22), "errno EPERM"},
		{"own limits", generous, "prlimit64", args(0, 7), "allow"},
		{"another's limits", generous, "prlimit64", args(1, 7), "errno EPERM"},
		{"own limits, high bits", generous, "prlimit64", args(high, 7), "allow"},
		{"shmat", generous, "shmat", args(0, 0, 0), "allow"},
		{"shmat SHM_EXEC", generous, "shmat", args(0, 0, 0o100000), "errno EPERM"},
		{"personality query", generous, "personality", args(0xffffffff), "allow"},
		{"READ_IMPLIES_EXEC", generous, "personality", args(0x0400000), "errno EPERM"},
		{"personality query without permission", `{}`, "personality", args(0xffffffff), "allow"},
		{"personality without permission", `{}`, "personality", args(0), "errno EPERM"},

		{"rename", generous, "renameat2", args(0, 0, 0, 0, 1), "allow"},
		{"RENAME_WHITEOUT", generous, "renameat2", args(0, 0, 0, 0, 4), "errno EINVAL"},
		{"RENAME_WHITEOUT among others, high bits", `{}`, "renameat2", args(0, 0, 0, 0, high|5), "errno EINVAL"},
		{"own priority", `{}`, "setpriority", args(0, 0, 19), "allow"},
		{"own priority, high bits", `{}`, "setpriority", args(high, high, 19), "allow"},
		{"init's priority", `{}`, "setpriority", args(0, 1, 19), "errno EPERM"},
		{"init's priority under everything", generous, "setpriority", args(0, 1, 19), "errno EPERM"},
		{"priority of the group", `{}`, "setpriority", args(1, 0, 19), "errno EPERM"},
		{"priority of the user", `{}`, "setpriority", args(2, 0, 19), "errno EPERM"},
		{"own processors", `{}`, "sched_setaffinity", args(0, 8), "allow"},
		{"init's processors", `{}`, "sched_setaffinity", args(1, 8), "errno EPERM"},
		{"init's class", `syscalls: {allow: ["@resources"]}`, "sched_setscheduler", args(1, 5), "errno EPERM"},
		{"init's class, high bits", `syscalls: {allow: [sched_setscheduler]}`, "sched_setscheduler", args(high|1, 5), "errno EPERM"},
		{"own class", `syscalls: {allow: ["@resources"]}`, "sched_setscheduler", args(0, 5), "allow"},
		{"init's class by attributes", generous, "sched_setattr", args(1), "errno EPERM"},
		{"init's parameters", generous, "sched_setparam", args(1), "errno EPERM"},
		{"own I/O class", generous, "ioprio_set", args(1, 0, 0x6000), "allow"},
		{"init's I/O class", generous, "ioprio_set", args(1, 1, 0x6000), "errno EPERM"},
		{"the user's I/O class", generous, "ioprio_set", args(3, 0, 0x6000), "errno EPERM"},
		{"init's processors, high bits", generous, "sched_setaffinity", args(high|1, 8), "errno EPERM"},
		{"sched_setattr", `{}`, "sched_setattr", args(0), "errno EPERM"},
		{"sched_setparam", `{}`, "sched_setparam", args(0), "errno EPERM"},
		{"sched_setscheduler", `{}`, "sched_setscheduler", args(0), "errno EPERM"},
		{"ioprio_set", `{}`, "ioprio_set", args(1, 0), "errno EPERM"},
		{"F_SETLK", generous, "fcntl", args(3, 6), "allow"},
		{"F_SETLEASE", generous, "fcntl", args(3, 1024), "errno EPERM"},
		{"F_GETLEASE", generous, "fcntl", args(3, 1025), "allow"},
		{"F_NOTIFY, high bits", `{}`, "fcntl", args(3, high|1026), "errno EPERM"},

		{"no families", generous, "socket", args(2, 1, 0), "errno EAFNOSUPPORT"},
		{"no families, vsock by a high bit", generous, "socket", args(high|40, 1, 0), "errno EAFNOSUPPORT"},
		{"no families under base", `{}`, "socket", args(1, 1, 0), "errno EAFNOSUPPORT"},
		{"no families under nothing", `extends: []`, "socket", args(1, 1, 0), "errno EAFNOSUPPORT"},
		{"denied socket", `syscalls: {deny: [socket]}`, "socket", args(1, 1, 0), "violation"},
		{"pair stream", `{}`, "socketpair", args(1, 1|0o2000000), "allow"},
		{"pair seqpacket", `{}`, "socketpair", args(1, 5), "allow"},
		{"pair datagram", generous, "socketpair", args(1, 2), "errno EAFNOSUPPORT"},
		{"pair inet", generous, "socketpair", args(2, 1), "errno EAFNOSUPPORT"},
		{"loopback tcp", `network: {mode: loopback}`, "socket", args(2, 1|0o2004000, 0), "allow"},
		{"loopback udp6", `network: {mode: loopback}`, "socket", args(10, 2, 17), "allow"},
		{"loopback raw", `network: {mode: loopback}`, "socket", args(2, 3, 1), "errno EAFNOSUPPORT"},
		{"loopback sctp", `network: {mode: loopback}`, "socket", args(2, 1, 132), "errno EAFNOSUPPORT"},
		{"loopback unix", `network: {mode: loopback}`, "socket", args(1, 1, 0), "errno EAFNOSUPPORT"},
		{"loopback connect", `network: {mode: loopback}`, "connect", args(), "allow"},
		{"no network connect", `{}`, "connect", args(), "violation"},
		{"netlink route", `sockets: [netlink]`, "socket", args(16, 3, 0), "allow"},
		{"netlink netfilter", `sockets: [netlink]`, "socket", args(16, 3, 12), "errno EAFNOSUPPORT"},
		{"setsockopt", `{}`, "setsockopt", args(3, 1, 7), "allow"},
		{"SO_ATTACH_FILTER", `{}`, "setsockopt", args(3, 1, 26), "errno ENOPROTOOPT"},

		{"guarded by no group", generous, "ptrace", args(), "violation"},
		{"guarded by name", `syscalls: {allow: [ptrace]}`, "ptrace", args(), "allow"},
		{"base answers", `{}`, "io_uring_setup", args(), "errno ENOSYS"},
		{"base answers, opened by name", generous, "io_uring_setup", args(), "allow"},
		{"deny beats allow", `syscalls: {allow: [read], deny: ["@basic-io"]}`, "read", args(), "violation"},
		{"deny beats a guarded name", `syscalls: {allow: [ptrace], deny: ["@debug"]}`, "ptrace", args(), "violation"},
		{"deny with default errno", `syscalls: {deny: [read], default: errno}`, "read", args(), "errno EPERM"},
		{"default errno", `syscalls: {default: errno}`, "mount", args(), "errno EPERM"},
		{"errno beats a group's allow", `syscalls: {errno: {EIO: [read]}}`, "read", args(), "errno EIO"},
		{"errno of a group beats base's own names", `syscalls: {errno: {EIO: ["@network-io"]}}`, "sendto", args(), "errno EIO"},
		{"base answers, opened by its group", `syscalls: {allow: ["@memlock"]}`, "mlock", args(), "allow"},
		{"base answers, opened by its group with all others", `syscalls: {allow: ["@system-service"]}`, "io_setup", args(), "allow"},
		{"base answers, guarded in the group", `syscalls: {allow: ["@aio"]}`, "io_uring_setup", args(), "errno ENOSYS"},
		{"base answers, opened by its number", `syscalls: {allow: ["nr:462"]}`, "mseal", args(), "allow"},
		{"base allows, answered by its number", `syscalls: {errno: {EIO: ["nr:16"]}}`, "ioctl", args(0, 0x5401), "errno EIO"},
		{"nothing but @default", `extends: []`, "openat", args(), "violation"},
		{"nothing but @default, exit", `extends: []`, "exit_group", args(), "allow"},

		{"second exec", `{}`, "execve", args(), "violation"},
		{"second exec, answered", `syscalls: {errno: {EACCES: [execve]}}`, "execve", args(), "errno EACCES"},
		{"second exec, answered by the other call", `syscalls: {errno: {EACCES: [execve]}}`, "execveat", args(), "violation"},
		{"second exec, answered in a group", `syscalls: {errno: {EACCES: ["@process"]}}`, "execveat", args(), "errno EACCES"},
		{"second exec, answered and denied", `syscalls: {errno: {EACCES: [execve]}, deny: [execve]}`, "execve", args(), "violation"},
		{"second exec, default errno", `syscalls: {default: errno}`, "execve", args(), "errno EPERM"},
		{"exec list, answered", `{filesystem: {exec: [view]}, syscalls: {errno: {EACCES: [execve]}}}`, "execve", args(), "errno EACCES"},
		{"exec list", `filesystem: {exec: [/bin/sh]}`, "execve", args(), "allow"},
		{"exec view", `filesystem: {exec: [view]}`, "execveat", args(), "allow"},
		{"plug-ins", `filesystem: {exec: [/usr/lib/plugins]}`, "execve", args(), "violation"},
		{"exec list and deny", `{filesystem: {exec: [/bin/sh]}, syscalls: {deny: [execve]}}`, "execve", args(), "violation"},

		{"rule widens ioctl", `syscalls: {rules: [{names: [ioctl], args: [{index: 1, op: eq, value: 0xdead}], action: allow}]}`, "ioctl", args(0, high|0xdead), "allow"},
		{"rule cannot open TIOCSTI", `syscalls: {rules: [{names: [ioctl], args: [{index: 1, op: ge, value: 0}], action: allow}]}`, "ioctl", args(0, 0x5412), "errno EPERM"},
		{"rule cannot open clone", `syscalls: {rules: [{names: [clone], args: [{index: 0, op: ge, value: 0}], action: allow}]}`, "clone", args(0x10000000), "violation"},
		{"rule cannot open chmod", `syscalls: {rules: [{names: [chmod], args: [{index: 1, op: ge, value: 0}], action: allow}]}`, "chmod", args(0, 0o4755), "errno EPERM"},
		{"rule cannot open init's priority", `syscalls: {rules: [{names: [setpriority], args: [{index: 1, op: eq, value: 1}], action: allow}]}`, "setpriority", args(0, 1), "errno EPERM"},
		{"rule cannot open whiteouts", `syscalls: {rules: [{names: [renameat2], args: [{index: 4, op: ge, value: 0}], action: allow}]}`, "renameat2", args(0, 0, 0, 0, 4), "errno EINVAL"},
		{"exec refused by its group", `syscalls: {deny: ["@process"]}`, "execve", args(), "violation"},
		{"rule cannot open a family", `syscalls: {rules: [{names: [socket], args: [{index: 0, op: eq, value: 40}], action: allow}]}`, "socket", args(40), "errno EAFNOSUPPORT"},
		{"rule refuses", `syscalls: {rules: [{names: [kill], args: [{index: 1, op: eq, value: 9}], action: errno, errno: EPERM}]}`, "kill", args(1, high|9), "errno EPERM"},
		{"rules answer differently", `syscalls: {rules: [{names: [kill], args: [{index: 1, op: eq, value: 9}], action: errno, errno: EACCES}, {names: [kill], args: [{index: 0, op: eq, value: 1}], action: errno, errno: EPERM}]}`, "kill", args(1, 9), "errno EPERM"},
		{"rules answer differently, in the other order", `syscalls: {rules: [{names: [kill], args: [{index: 0, op: eq, value: 1}], action: errno, errno: EPERM}, {names: [kill], args: [{index: 1, op: eq, value: 9}], action: errno, errno: EACCES}]}`, "kill", args(1, 9), "errno EPERM"},
		{"rule refuses, else", `syscalls: {rules: [{names: [kill], args: [{index: 1, op: eq, value: 9}], action: kill}]}`, "kill", args(1, 15), "allow"},
		{"rule opens a guarded call", `syscalls: {rules: [{names: [ptrace], args: [{index: 0, op: eq, value: 0}], action: allow}]}`, "ptrace", args(0), "allow"},
		{"rule opens no more of it", `syscalls: {rules: [{names: [ptrace], args: [{index: 0, op: eq, value: 0}], action: allow}]}`, "ptrace", args(high), "violation"},
		{"unknown width, allowed strictly", `syscalls: {rules: [{names: [swapon], args: [{index: 1, op: eq, value: 2}], action: allow}]}`, "swapon", args(0, high|2), "violation"},
		{"unknown width, refused strictly", `syscalls: {rules: [{names: [getcpu], args: [{index: 2, op: eq, value: 2}], action: errno, errno: EIO}]}`, "getcpu", args(0, 0, high|2), "errno EIO"},
		{"unknown width, not equal", `syscalls: {rules: [{names: [swapon], args: [{index: 1, op: ne, value: 2}], action: allow}]}`, "swapon", args(0, high|2), "violation"},

		{"W and X by MDWE", `{}`, "mmap", args(0, 4096, 7), "errno EPERM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rs, err := Ruleset(merged(t, tt.policy))
			if err != nil {
				t.Fatal(err)
			}
			got := rs.Evaluate(number(t, tt.call), tt.args)
			if got.String() != tt.want {
				t.Errorf("%s%x = %s, want %s", tt.call, tt.args, got, tt.want)
			}
			// The program says the same as the ruleset.
			if _, err := compileFilter(rs); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWriteExecuteRules(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy string
		call   string
		args   [6]uint64
		want   string
	}{
		{"mmap W X", `{}`, "mmap", args(0, 4096, 7), "errno EPERM"},
		{"mmap R X", `{}`, "mmap", args(0, 4096, 5), "allow"},
		{"mmap R W", `{}`, "mmap", args(0, 4096, 3), "allow"},
		{"mprotect X", `{}`, "mprotect", args(0, 4096, 5), "errno EPERM"},
		{"pkey_mprotect X", `syscalls: {allow: [pkey_mprotect]}`, "pkey_mprotect", args(0, 4096, 4), "errno EPERM"},
		{"mprotect W", `{}`, "mprotect", args(0, 4096, 3), "allow"},
		{"not asked for", `memory_deny_write_execute: false`, "mprotect", args(0, 4096, 7), "allow"},
		{"shared memory all the same", `memory_deny_write_execute: false`, "shmat", args(0, 0, 0o100000), "errno EPERM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := merged(t, tt.policy)
			in.Features = without("mdwe")
			rs, err := Ruleset(in)
			if err != nil {
				t.Fatal(err)
			}
			if got := rs.Evaluate(number(t, tt.call), tt.args); got.String() != tt.want {
				t.Errorf("%s = %s, want %s", tt.call, got, tt.want)
			}
		})
	}
}

// TestUnknownNumbers: a call that the table does not know is refused without
// a violation, so that programs built for newer kernels go on.
func TestUnknownNumbers(t *testing.T) {
	rs, err := Ruleset(merged(t, `syscalls: {allow: ["nr:4000"], errno: {EIO: ["nr:4001"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	hole := uint32(0)
	for nr := uint32(0); nr < syscalls.Last("amd64"); nr++ {
		if _, ok := syscalls.Name("amd64", nr); !ok {
			hole = nr
		}
	}
	for nr, want := range map[uint32]string{
		4000: "allow", 4001: "errno EIO", 4002: "errno ENOSYS", hole: "errno ENOSYS", syscalls.Last("amd64") + 1: "errno ENOSYS",
	} {
		if got := rs.Evaluate(nr, args()); got.String() != want {
			t.Errorf("call %d = %s, want %s", nr, got, want)
		}
	}
}

// TestGuardedCallsStayClosed: whatever groups a policy allows, no guarded
// call passes, but for those that are open without harm.
func TestGuardedCallsStayClosed(t *testing.T) {
	in := merged(t, `{}`)
	for _, g := range syscalls.Groups() {
		in.Policy.Syscalls.Allow = append(in.Policy.Syscalls.Allow, policy.Name{Text: g})
	}
	for _, arch := range syscalls.Arches() {
		in.Arch = arch
		rs, err := Ruleset(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range syscalls.GuardedNames() {
			nr, ok := syscalls.Number(arch, name)
			if !ok || name == "clone" || name == "personality" {
				continue // by argument, see TestBuiltinRules
			}
			if got := rs.Evaluate(nr, args()); got.Kind == filter.Allow {
				t.Errorf("%s: %s is allowed by groups alone", arch, name)
			}
		}
	}
}

// FuzzRuleset: no policy opens what is built in, and both compilers agree.
func FuzzRuleset(f *testing.F) {
	for _, s := range []string{
		generous, `{}`, `extends: []`, `network: {mode: loopback}`,
		`syscalls: {rules: [{names: [chmod, clone, "@known"], args: [{index: 0, op: lt, value: 5}, {index: 1, op: ne, value: 0x100000000}], action: allow}]}`,
		`syscalls: {rules: [{names: [ioctl], args: [{index: 1, op: masked_eq, value: 0x12, mask: 0xff}], action: errno, errno: EIO}]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := registry.ParsePolicy("policy.yaml", []byte(text))
		if err != nil {
			return
		}
		if p, err = Resolve(p); err != nil {
			return
		}
		rs, err := Ruleset(Input{Arch: "amd64", Policy: p, Features: everything()})
		if err != nil {
			return
		}
		if _, err := compileFilter(rs); err != nil {
			if strings.Contains(err.Error(), "bug") {
				t.Error(err)
			}
			return
		}
		for _, c := range []struct {
			name string
			args [6]uint64
		}{
			{"clone", args(0x10000000)}, {"clone3", args()}, {"openat2", args()}, {"chmod", args(0, 0o4755)}, {"fchmodat", args(0, 0, 0o2755)},
			{"openat", args(0, 0, 0o101, 0o4755)}, {"mknod", args(0, 0o060000)}, {"ioctl", args(0, 0x5412)}, {"ioctl", args(0, high|0x541c)},
			{"socketpair", args(1, 2)}, {"prlimit64", args(5)}, {"setpriority", args(0, 1)}, {"sched_setaffinity", args(1)},
			{"renameat2", args(0, 0, 0, 0, 4)}, {"fcntl", args(3, 1024)}, {"shmat", args(0, 0, 0o100000)}, {"socket", args(high|40, 1)},
		} {
			if c.name == "socket" && len(p.Sockets) > 0 {
				continue
			}
			if got := rs.Evaluate(number(t, c.name), c.args); got.Kind == filter.Allow {
				t.Errorf("%s%x is allowed by %q", c.name, c.args, text)
			}
		}
	})
}
