//go:build weak

package weak

// measure is one thing that a sandbox is made of, and the tests of test/hostile
// that must fall without it.
type measure struct {
	line int    // of what a sandbox must hold (CONTRIBUTING.md, SECURITY.md)
	off  string // SBX_WEAK
	what string
	// tests is a pattern as of go test -run; the callers are root and user.
	tests string
}

// acts is the pattern for acts of one line of the battery.
func acts(caller, line, names string) string {
	return "^TestBattery$/^(" + caller + ")$/^" + line + "$/^(" + names + ")$"
}

func outside(line, name string) string { return "^TestFromOutside$/^root$/^" + line + "$/" + name }

// measures: at least one for every line. Where two walls stand behind each
// other both are taken away.
var measures = []measure{
	{1, "ids", "host ids that own nothing", outside("01", "program-uid")},
	{2, "capabilities", "empty capability sets", acts("root", "02", "cap-permitted|cap-effective|cap-bounding")},
	{2, "capabilities,no_new_privs", "no_new_privs", acts("root", "02", "no-new-privs")},
	{2, "nosuid,no_new_privs,noexec,once,landlock,capabilities", "set-user-id programs of trees", acts("root|user", "02", "exec-suid-root|exec-sgid-root|exec-file-cap")},
	{3, "rule:chmod,rule:fchmod,rule:fchmodat", "no set-user-id bit in a write tree", acts("user", "03", "chmod-suid|fchmod-suid|fchmodat-suid")},
	{3, "rule:openat", "no file is made with a set-user-id bit", acts("user", "03", "openat-suid")},
	{3, "rule:renameat2", "no whiteout", acts("root|user", "03", "rename-whiteout")},
	{4, "rlimits", "hard limits", acts("root", "04", "raise-.*|setrlimit-.*")},
	{4, "rule:setpriority,rule:sched_setaffinity", "init keeps its processor time", acts("root", "04", "init-nice|init-affinity|nice-user")},
	{5, "timens", "a time namespace", outside("05", "namespace-time")},
	{5, "rule:clone,usermax", "no further namespaces by clone", acts("root", "05", "clone-user|clone-stray-user")},
	{5, "guarded,usermax", "no further namespaces by unshare", acts("root", "05", "unshare-user")},
	{6, "pivot,landlock", "a root of its own", acts("root", "06", "secret-.*|host-.*")},
	{7, "readonly,landlock", "read-only trees", acts("user", "07", "ro-write|ro-create|ro-unlink|ro-mkdir")},
	{7, "landlock", "FIFOs of read-only trees", acts("user", "07", "ro-fifo-write")},
	{8, "recursive", "recursive binds", acts("root", "08", "hidden-beneath")},
	{9, "rule:socket,rule:socketpair", "no socket file is reached", acts("root", "09", "unix-stream-ro|unix-pair-dgram-sendto")},
	{10, "proc", "the run's own, read-only /proc", acts("root", "10", "read-interrupts|read-cmdline|read-swaps|write-proc-self-comm")},
	{11, "sys", "no /sys", acts("root", "11", "read-sys-.*|sys-write|cgroup-write")},
	{12, "dev", "a /dev of its own", acts("root", "12", "dev-list")},
	{12, "nodev", "device nodes of trees", acts("root", "12", "ro-device-node|rw-device-node")},
	{13, "tmp,landlock", "a /tmp of its own", "^TestNothingSurvives$/^user$"},
	{14, "hostname", "a host name of its own", acts("root", "14", "host-name")},
	{14, "timens", "clocks that do not tell the host's uptime", acts("root", "14", "uptime-.*")},
	{15, "abi", "other ABIs", acts("root", "15", "i386-getpid|x32-getpid|i386-open")},
	{16, "width", "arguments compared as wide as the kernel takes them", acts("root", "16", "family-inet-stray|family-netlink-stray")},
	{17, "rule:socket", "address families", acts("root", "17", "family-inet|family-netlink-route|family-sweep")},
	{18, "guarded", "guarded calls", acts("root", "18", "guard-.*")},
	{18, "rule:prctl", "options of prctl", acts("root", "18", "guard-prctl-.*")},
	{19, "default", "what nobody allowed is refused", acts("root", "19", "new-listmount|new-statmount|new-lsm-list|new-mseal")},
	{20, "descriptors", "inherited descriptors", acts("root", "20", "fd-any|fd-file|fd-dir|fd-1500")},
	{21, "env", "the policy's environment", acts("root", "21", "env-secret|environ-everywhere")},
	{21, "hide", "the supervisor's arguments", outside("21", "init-cmdline")},
	{22, "umask", "umask", acts("root", "22", "umask-inherited")},
	{22, "signals", "the signal mask and what is ignored", acts("root", "22", "mask-inherited|ignored-inherited")},
	{22, "personality", "personality and timer slack", acts("root", "22", "personality-inherited|timerslack-inherited")},
	{23, "session", "a session of its own", acts("root", "23", "ctty-inherited|tty-open-dev-tty")},
	{23, "rule:ioctl", "what a terminal answers", acts("root", "23", "tiocsti.*|tty-.*")},
	{24, "dumpable", "an undumpable init", acts("user", "24", "init-maps|init-environ|init-auxv|init-fd-list|init-root-link|init-mem-read")},
	{25, "status", "the true status", acts("root", "25", "status-42|status-term")},
	{26, "orphan", "the run ends with its supervisor", "^TestKillLeavesNothing$/^root$"},
	{27, "grace", "the run ends 2 s after sbx was told to", "^TestTermEndsTheRun$/^root$/^terminated$"},
	{28, "linger", "the run ends with its main process", acts("root", "28", "daemons-hold")},
	{29, "limits", "memory and processes", acts("root", "29", "mem-one|pids-fork")},
	{29, "rlimits", "descriptors and file size", acts("root", "29", "nofile|file-size-rw")},
	{29, "oom", "a score of its own for the memory killer", outside("29", "memory-killer")},
	{29, "output", "bytes of output", acts("root", "29", "flood-stdout")},
	{30, "rlimits", "no core file", outside("22", "core")},
	{31, "leaf", "control groups go with their runs", "^TestLeftovers$/^root$"},
	{32, "mdwe", "no memory that is writable and executable", acts("root", "32", "wx-mmap|wx-mprotect|wx-data")},
	{32, "once,noexec,landlock", "registered code only", acts("root", "32", "exec-rw|exec-tmp|exec-echo")},
	{33, "args", "arguments byte for byte", "^TestArguments$/^root$/^empty$"},
}
