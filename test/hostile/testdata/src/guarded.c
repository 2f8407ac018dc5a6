// Line 18: calls that no group opens. Arguments are harmless by
// construction: null or impossible, so that even an open call changes nothing.
#include "hostile.h"
#include <linux/bpf.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/timex.h>
#include <sys/uio.h>

static char scratch[4096];

// call makes system call a with arguments b and c and a scratch page third.
static void call(const struct act *a)
{
	attempt("%s", a->name);
	reach(a->name, sc(a->a, a->b, a->c, scratch, 0, 0, 0));
}

static void null(const struct act *a)
{
	attempt("%s", a->name);
	reach(a->name, sc(a->a, 0, 0, 0, 0, 0, 0));
}

static void uring(const struct act *a)
{
	static uint32_t params[30];
	attempt("%s", a->name);
	if (a->a == 1)
		reach(a->name, sc(SYS_io_uring_enter, -1, 0, 0, 0, 0, 0));
	if (a->a == 2)
		reach(a->name, sc(SYS_io_uring_register, -1, 0, 0, 0));
	reach(a->name, sc(SYS_io_uring_setup, 4, params));
}

static void bpf(const struct act *a)
{
	static union bpf_attr at;
	attempt("%s", a->name);
	if (a->a == BPF_MAP_CREATE) {
		at.map_type = BPF_MAP_TYPE_ARRAY;
		at.key_size = at.value_size = 4;
		at.max_entries = 1;
	} else {
		static const uint64_t exit0[] = {0xb7, 0x95}; // r0 = 0; exit
		at.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
		at.insns = (uint64_t)exit0;
		at.insn_cnt = 2;
		at.license = (uint64_t) "GPL";
	}
	reach(a->name, sc(SYS_bpf, a->a, &at, sizeof at));
}

static void perf(const struct act *a)
{
	static uint32_t attr[32] = {1, 128}; // software, size
	attr[2] = 1;			     // task clock
	attr[10] = 1 << 5;		     // exclude kernel, roughly
	attempt("%s", a->name);
	reach(a->name, sc(SYS_perf_event_open, attr, 0, -1, -1, 0));
}

static void keys(const struct act *a)
{
	attempt("%s", a->name);
	switch (a->a) {
	case 0: reach(a->name, sc(SYS_add_key, "user", "sbx-hostile", "x", 1, -3));
	case 1: reach(a->name, sc(SYS_request_key, "user", "sbx-hostile", NULL, -3));
	case 2: reach(a->name, sc(SYS_keyctl, 0, a->b, 0)); // GET_KEYRING_ID
	case 3: reach(a->name, sc(SYS_keyctl, 1, NULL));    // JOIN_SESSION
	case 4: reach(a->name, sc(SYS_keyctl, 11, -4, scratch, sizeof scratch)); // READ user keyring
	case 5: reach(a->name, sc(SYS_keyctl, 22, -3, 0));  // GET_PERSISTENT-like number
	}
}

static void trace(const struct act *a)
{
	attempt("%s", a->name);
	switch (a->a) {
	case 0: reach(a->name, sc(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0));
	case 1: {
		pid_t p = fork();
		if (!p) {
			sleep_ms(3000);
			_exit(0);
		}
		long r = sc(SYS_ptrace, PTRACE_ATTACH, p, 0, 0);
		kill(p, SIGKILL);
		reach(a->name, r);
	}
	case 2: reach(a->name, sc(SYS_ptrace, PTRACE_SEIZE, 1, 0, 0));
	}
}

static void vmrw(const struct act *a)
{
	static char from[64] = "hostile", to[64];
	static struct iovec l = {to, 8}, r = {from, 8};
	attempt("%s", a->name);
	reach(a->name, sc(a->a, getpid(), &l, 1, &r, 1, 0));
}

static void persona(const struct act *a)
{
	attempt("personality 0x%lx", a->a);
	long r = sc(SYS_personality, a->a);
	if (r >= 0)
		through("personality 0x%lx", a->a);
	held("%s: %ld", a->name, r);
}

static void mounts(const struct act *a)
{
	attempt("%s", a->name);
	long r = -ENOSYS;
	switch (a->a) {
	case 0: r = sc(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL); break;
	case 1: r = sc(SYS_umount2, "/tmp", MNT_DETACH); break;
	case 2: r = sc(SYS_fsopen, "tmpfs", 0); break;
	case 3: r = sc(SYS_fsmount, -1, 0, 0); break;
	case 4: r = sc(SYS_fsconfig, -1, 6, NULL, NULL, 0); break;
	case 5: r = sc(SYS_fspick, AT_FDCWD, "/tmp", 0); break;
	case 6: r = sc(SYS_open_tree, AT_FDCWD, "/tmp", 0); break;
	case 7: r = sc(SYS_open_tree, AT_FDCWD, "/tmp", OPEN_TREE_CLONE); break;
	case 8: r = sc(SYS_move_mount, -1, "", AT_FDCWD, "/tmp", 4); break;
	case 9: r = sc(SYS_mount_setattr, -1, "", 0x1000, scratch, 32); break;
	case 10: r = sc(SYS_pivot_root, "/tmp", "/tmp"); break;
	case 11: r = sc(SYS_chroot, "/tmp"); break;
	}
	reach(a->name, r);
}

static void clocks(const struct act *a)
{
	static struct timex tx;
	static struct timeval tv = {1, -1};
	static struct timespec ts = {1, -1}; // tv_nsec is invalid: never sets
	attempt("%s", a->name);
	switch (a->a) {
	case 0: reach(a->name, sc(SYS_clock_settime, CLOCK_REALTIME, &ts));
	case 1: reach(a->name, sc(SYS_settimeofday, &tv, NULL));
	case 2: reach(a->name, sc(SYS_adjtimex, &tx));
	case 3: reach(a->name, sc(SYS_clock_adjtime, CLOCK_REALTIME, &tx));
	}
}

static void listener(const struct act *a)
{
	static struct { uint16_t code; uint8_t jt, jf; uint32_t k; } allow[1] = {{6, 0, 0, 0x7fff0000}};
	static struct { uint16_t len; void *f; } prog = {1, allow};
	attempt("%s", a->name);
	if (a->a == 2)
		reach(a->name, sc(SYS_prctl, PR_SET_SECCOMP, 2, &prog, 0, 0));
	reach(a->name, sc(SYS_seccomp, 1, a->b, &prog));
}

// The listener of the sandbox itself, were it left open.
static void own_listener(const struct act *a)
{
	attempt("%s", a->name);
	for (int fd = 3; fd < 1024; fd++) {
		long r = sc(SYS_ioctl, fd, 0xc0182101, scratch); // NOTIF_RECV size differs: EINVAL or ENOTTY
		if (r != -EBADF && r != -EPERM && r != -ENOSYS && r != -ENOTTY)
			through("descriptor %d answers %ld", fd, r);
	}
	held("no listener");
}

static void pidfd(const struct act *a)
{
	attempt("%s", a->name);
	long fd = sc(SYS_pidfd_open, a->a ? getpid() : 1, 0);
	if (fd < 0)
		held("pidfd_open: %ld", fd);
	reach(a->name, sc(SYS_pidfd_getfd, fd, 0, 0));
}

static void prctls(const struct act *a)
{
	attempt("%s", a->name);
	long r = sc(SYS_prctl, a->a, a->b, a->c, 0, 0);
	if (r >= 0)
		through("%s: %ld", a->name, r);
	held("%s: %ld", a->name, r);
}

#define CALL(n, nr, x, y) {.name = "guard-" n, .fn = call, .a = nr, .b = x, .c = y}
#define NIL(n, nr) {.name = "guard-" n, .fn = null, .a = nr}
#define M(n, w) {.name = "guard-" n, .fn = mounts, .a = w}
static void woken(int sig) { (void)sig; }

// withdraw makes a refused call while a child keeps sending signals: the wait
// for an answer is interrupted, and the call was perhaps never seen.
static void withdraw(const struct act *a)
{
	(void)a;
	struct sigaction act = {.sa_handler = woken};
	sigaction(SIGUSR1, &act, NULL);
	pid_t me = getpid(), child = fork();
	if (child < 0)
		broken("fork");
	if (!child)
		for (;;)
			kill(me, SIGUSR1);
	attempt("a call that a signal withdraws");
	long end = now_ms() + 2000, came = 0, r = 0;
	while (!came && now_ms() < end) {
		r = sc(SYS_syslog, 10, 0);
		if (r != -EINTR)
			break;
		came = now_ms();
	}
	while (came && now_ms() < came + 300)
		;
	kill(child, SIGKILL);
	if (came)
		through("the call was withdrawn and the run goes on");
	reach("syslog", r);
}

const struct act acts_guarded[] = {
	{.name = "guard-io-uring-setup", .fn = uring}, {.name = "guard-io-uring-enter", .fn = uring, .a = 1},
	{.name = "guard-io-uring-register", .fn = uring, .a = 2},
	{.name = "guard-userfaultfd", .fn = call, .a = SYS_userfaultfd, .b = 1},
	{.name = "guard-userfaultfd-kernel", .fn = call, .a = SYS_userfaultfd},
	{.name = "guard-bpf-map", .fn = bpf, .a = BPF_MAP_CREATE}, {.name = "guard-bpf-prog", .fn = bpf, .a = BPF_PROG_LOAD},
	{.name = "guard-perf", .fn = perf},
	{.name = "guard-add-key", .fn = keys}, {.name = "guard-request-key", .fn = keys, .a = 1},
	{.name = "guard-keyctl-session", .fn = keys, .a = 2, .b = -3}, {.name = "guard-keyctl-user", .fn = keys, .a = 2, .b = -4},
	{.name = "guard-keyctl-join", .fn = keys, .a = 3}, {.name = "guard-keyctl-read", .fn = keys, .a = 4},
	{.name = "guard-keyctl-persistent", .fn = keys, .a = 5},
	{.name = "guard-ptrace-traceme", .fn = trace}, {.name = "guard-ptrace-attach", .fn = trace, .a = 1},
	{.name = "guard-ptrace-seize-init", .fn = trace, .a = 2},
	{.name = "guard-process-vm-readv", .fn = vmrw, .a = SYS_process_vm_readv},
	{.name = "guard-process-vm-writev", .fn = vmrw, .a = SYS_process_vm_writev},
	CALL("kcmp", SYS_kcmp, 1, 1), {.name = "guard-pidfd-getfd-init", .fn = pidfd}, {.name = "guard-pidfd-getfd-self", .fn = pidfd, .a = 1},
	{.name = "guard-personality-norandom", .fn = persona, .a = 0x0040000},
	{.name = "guard-personality-readexec", .fn = persona, .a = 0x0400000},
	{.name = "guard-personality-linux32", .fn = persona, .a = 8},
	{.name = "guard-personality-uname26", .fn = persona, .a = 0x0020000},
	CALL("name-to-handle", SYS_name_to_handle_at, -100, (long)"/"), CALL("open-by-handle", SYS_open_by_handle_at, -100, 0),
	M("mount", 0), M("umount", 1), M("fsopen", 2), M("fsmount", 3), M("fsconfig", 4), M("fspick", 5), M("open-tree", 6),
	M("open-tree-clone", 7), M("move-mount", 8), M("mount-setattr", 9), M("pivot-root", 10), M("chroot", 11),
	CALL("setns", SYS_setns, -1, 0), CALL("quotactl", SYS_quotactl, 0x800007 << 8, 0), CALL("quotactl-fd", 443, -1, 0),
	NIL("acct", SYS_acct), NIL("swapon", SYS_swapon), NIL("swapoff", SYS_swapoff), NIL("reboot", SYS_reboot),
	CALL("syslog-size", SYS_syslog, 10, 0), CALL("syslog-read", SYS_syslog, 3, (long)scratch),
	{.name = "guard-clock-settime", .fn = clocks}, {.name = "guard-settimeofday", .fn = clocks, .a = 1},
	{.name = "guard-adjtimex", .fn = clocks, .a = 2}, {.name = "guard-clock-adjtime", .fn = clocks, .a = 3},
	NIL("fanotify-init", SYS_fanotify_init), CALL("fanotify-mark", SYS_fanotify_mark, -1, 0), CALL("modify-ldt-read", SYS_modify_ldt, 0, (long)scratch),
	CALL("modify-ldt-write", SYS_modify_ldt, 1, (long)scratch),
	NIL("mbind", SYS_mbind), NIL("set-mempolicy", SYS_set_mempolicy), NIL("migrate-pages", SYS_migrate_pages),
	NIL("move-pages", SYS_move_pages), NIL("get-mempolicy", SYS_get_mempolicy), CALL("set-mempolicy-home", 450, 0, 0),
	CALL("ioperm", SYS_ioperm, 0x80, 1), CALL("iopl", SYS_iopl, 3, 0), NIL("init-module", SYS_init_module),
	CALL("finit-module", SYS_finit_module, -1, 0), NIL("delete-module", SYS_delete_module), NIL("create-module", SYS_create_module),
	CALL("kexec-load", SYS_kexec_load, 0, 99), CALL("kexec-file-load", SYS_kexec_file_load, -1, -1), CALL("vmsplice", SYS_vmsplice, -1, (long)scratch),
	{.name = "guard-seccomp-listener", .fn = listener, .b = 8}, {.name = "guard-seccomp-filter", .fn = listener, .b = 0},
	{.name = "guard-prctl-seccomp", .fn = listener, .a = 2},
	{.name = "guard-own-listener", .fn = own_listener}, {.name = "guard-withdraw", .fn = withdraw},
	NIL("lookup-dcookie", SYS_lookup_dcookie), NIL("uselib", SYS_uselib), NIL("nfsservctl", SYS_nfsservctl), NIL("sysfs", SYS_sysfs),
	NIL("ustat", SYS_ustat), NIL("sysctl", SYS__sysctl), CALL("vhangup", SYS_vhangup, 0, 0), CALL("memfd-secret", 447, 0, 0),
	CALL("process-madvise", SYS_process_madvise, -1, 0), CALL("process-mrelease", 448, -1, 0), CALL("remap-file-pages", SYS_remap_file_pages, 0, 0),
	{.name = "guard-prctl-mm", .fn = prctls, .a = PR_SET_MM, .b = PR_SET_MM_BRK},
	{0},
};
