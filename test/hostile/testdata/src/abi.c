// Lines 15, 16 and 19: foreign ABIs, stray bits, calls newer than the tables.
#include "hostile.h"
#include <sys/prctl.h>

// The 32-bit entry: a is the i386 number, b..c its first arguments. Any
// answer but ENOSYS means that the entry is open; a machine without the entry
// answers ENOSYS or kills by SIGSEGV.
static void entry32(const struct act *a)
{
	attempt("int 0x80, call %ld", a->a);
	long r = i386(a->a, a->b, a->c, 0, 0, 0);
	if (r == -ENOSYS || r == -EPERM)
		held("%s: %ld", a->name, r);
	through("%s: %ld", a->name, r);
}

// A child of the program uses the foreign entry and dies; the program itself
// must not go on.
static void child32(const struct act *a)
{
	(void)a;
	attempt("int 0x80 in a child");
	pid_t p = fork();
	if (!p)
		_exit(i386(20) == -ENOSYS ? 5 : 6);
	int st = 0;
	waitpid(p, &st, 0);
	if (WIFEXITED(st) && WEXITSTATUS(st) == 5)
		held("ENOSYS");
	sleep_ms(300);
	if (WIFEXITED(st))
		through("the child used the foreign entry");
	through("the child was killed by signal %d and the program went on", WTERMSIG(st));
}

// A far call into the 32-bit code segment: `int 0x80` and `syscall` from
// real 32-bit code.
static void far32(const struct act *a)
{
	(void)a;
	long r = 0;
	attempt("far call to segment 0x23");
	// getpid by int 0x80 in 32-bit mode, then a far return.
	__asm__ volatile(
		"sub $256, %%rsp\n\t"
		"pushq $0x23\n\t"
		"lea 1f(%%rip), %%rcx\n\t"
		"push %%rcx\n\t"
		"lea 3f(%%rip), %%rdx\n\t"
		"mov %%rsp, %%rbx\n\t"
		"lretq\n"
		".code32\n"
		"1:\tmov $20, %%eax\n\t"
		"int $0x80\n\t"
		"ljmp $0x33, $2f\n"
		".code64\n"
		"2:\tmov %%rbx, %%rsp\n\t"
		"add $16, %%rsp\n\t"
		"jmp 4f\n"
		"3:\tnop\n"
		"4:\tadd $256, %%rsp\n\t"
		: "=a"(r)
		:
		: "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc");
	r = (int)r;
	if (r > 0)
		through("32-bit code made getpid: %ld", r);
	held("32-bit getpid: %ld", r);
}

static void x32(const struct act *a)
{
	static char buf[512];
	attempt("x32 call %ld", a->a);
	long r = sc(a->a | X32BIT, a->b, buf, a->c);
	if (r == -ENOSYS || r == -EPERM)
		held("%s: %ld", a->name, r);
	through("%s: %ld", a->name, r);
}

// A number with high bits: the kernel looks at the low 32 only.
static void wide_number(const struct act *a)
{
	attempt("call 0x%lx", a->a);
	reach(a->name, sc(a->a, a->b, a->c));
}

// Arguments with stray high bits, made with care that the true call is a
// guarded one.
static void stray(const struct act *a)
{
	static uint64_t args[16];
	attempt("%s", a->name);
	switch (a->a) {
	case 0: reach(a->name, sc(SYS_personality, HIGH | 0x0040000)); // ADDR_NO_RANDOMIZE
	case 1: got(a->name, sc(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, HIGH | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	case 2: reach(a->name, sc(SYS_keyctl, HIGH | 0, -3, 0));
	case 3: reach(a->name, sc(SYS_ptrace, HIGH | 0, 0, 0, 0));
	case 4: reach(a->name, sc(SYS_bpf, HIGH | 0, args, 72));
	case 5: reach(a->name, sc(SYS_prctl, 0xdeadbeef00000000UL | PR_SET_MM, 1, 0, 0, 0));
	case 7: reach(a->name, sc(SYS_seccomp, HIGH | 1, HIGH | (1 << 3), args));
	case 8: got(a->name, sc(SYS_memfd_create, "x", HIGH));
	case 10: reach(a->name, sc(SYS_io_uring_setup, HIGH | 4, args));
	case 12: got(a->name, sc(SYS_userfaultfd, HIGH | O_CLOEXEC));
	case 13: reach(a->name, sc(SYS_perf_event_open, args, HIGH, -1, -1, 0));
	case 14: got(a->name, sc(SYS_open, path("ro", "file"), HIGH | O_WRONLY));
	}
}

// newer: a call by number that must not reach the kernel.
static void newer(const struct act *a)
{
	static uint64_t x[32];
	attempt("call %ld", a->a);
	reach(a->name, sc(a->a, a->b, x, a->c));
}

// lsm_list_modules answers well-formed questions, so it is asked one.
static void lsm_list(const struct act *a)
{
	static uint64_t ids[64];
	static uint32_t size = sizeof ids;
	(void)a;
	attempt("lsm_list_modules");
	reach("lsm_list_modules", sc(461, ids, &size, 0));
}

static void listmount(const struct act *a)
{
	static struct { uint32_t size, spare; uint64_t id, param; } req = {24, 0, ~0UL, 0};
	static uint64_t out[64];
	attempt("%s", a->name);
	if (a->a == 457) {
		req.id = 1;
		req.param = 0x3f;
	}
	reach(a->name, sc(a->a, &req, out, a->a == 457 ? sizeof out : 64, 0));
}

static void sweep_new(const struct act *a)
{
	attempt("calls %ld to %ld", a->a, a->b);
	for (long n = a->a; n < a->b; n++) {
		long r = sc(n, -1, -1, -1, -1, -1, -1);
		if (r != -ENOSYS && r != -EPERM)
			through("call %ld answers %ld", n, r);
	}
	held("all refused");
}

#define E32(n, nr, x, y) {.name = "i386-" n, .fn = entry32, .a = nr, .b = x, .c = y}
#define X(n, nr, x, y) {.name = "x32-" n, .fn = x32, .a = nr, .b = x, .c = y}
#define NEW(n, nr, x, y) {.name = "new-" n, .fn = newer, .a = nr, .b = x, .c = y}
const struct act acts_abi[] = {
	E32("getpid", 20, 0, 0), E32("write", 4, 1, 0), E32("open", 5, 0, 0), E32("execve", 11, 0, 0),
	E32("ipc", 117, 23, 0), E32("socketcall", 102, 1, 0), E32("mount", 21, 0, 0), E32("ptrace", 26, 0, 0),
	E32("keyctl", 288, 0, -3), E32("unshare", 310, 0, 0), E32("mmap", 90, 0, 0), E32("personality", 136, 0x0040000, 0),
	E32("vm86", 113, 0, 0), E32("modify-ldt", 123, 0, 0), E32("set-thread-area", 243, 0, 0),
	{.name = "i386-far-call", .fn = far32}, {.name = "i386-in-child", .fn = child32},
	X("getpid", SYS_getpid, 0, 0), X("read", SYS_read, 0, 0), X("ioctl", 514, 0, 0), X("execve", 520, 0, 0),
	X("ptrace", 521, 0, 0), X("mount", SYS_mount, 0, 0), X("bpf", SYS_bpf, 0, 0), X("process-vm-readv", 539, 1, 0),
	X("keyctl", SYS_keyctl, 0, 0), X("waitid", 529, 0, 0),
	{.name = "number-high-mount", .fn = wide_number, .a = HIGH | SYS_mount},
	{.name = "number-high-ptrace", .fn = wide_number, .a = HIGH | SYS_ptrace},
	{.name = "number-negative", .fn = wide_number, .a = -2},
	{.name = "number-sign-bit", .fn = wide_number, .a = 0x80000000L | SYS_ptrace},
	{.name = "number-huge", .fn = wide_number, .a = 0x7fffffff},
	{.name = "number-hole-335", .fn = wide_number, .a = 337},
	{.name = "number-hole-400", .fn = wide_number, .a = 400},
	{.name = "stray-personality", .fn = stray, .a = 0}, {.name = "stray-mmap-wx", .fn = stray, .a = 1},
	{.name = "stray-keyctl", .fn = stray, .a = 2}, {.name = "stray-ptrace", .fn = stray, .a = 3},
	{.name = "stray-bpf", .fn = stray, .a = 4}, {.name = "stray-prctl-mm", .fn = stray, .a = 5},
	{.name = "stray-seccomp", .fn = stray, .a = 7}, {.name = "stray-memfd", .fn = stray, .a = 8},
	{.name = "stray-io-uring", .fn = stray, .a = 10}, {.name = "stray-userfaultfd", .fn = stray, .a = 12},
	{.name = "stray-perf", .fn = stray, .a = 13}, {.name = "stray-open", .fn = stray, .a = 14},
	{.name = "new-listmount", .fn = listmount, .a = 458}, {.name = "new-statmount", .fn = listmount, .a = 457},
	{.name = "new-lsm-list", .fn = lsm_list},
	NEW("lsm-get-self", 459, 100, 0), NEW("lsm-set-self", 460, 100, 0), NEW("mseal", 462, 1, 0),
	NEW("setxattrat", 463, -100, 0), NEW("getxattrat", 464, -100, 0), NEW("listxattrat", 465, -100, 0),
	NEW("removexattrat", 466, -100, 0), NEW("open-tree-attr", 467, -100, 0), NEW("file-getattr", 468, -100, 0),
	NEW("file-setattr", 469, -100, 0), NEW("listns", 470, 0, 0),
	NEW("memfd-secret", 447, 0, 0), NEW("process-mrelease", 448, -1, 0), NEW("quotactl-fd", 443, -1, 0),
	NEW("set-mempolicy-home", 450, 0, 0), NEW("mount-setattr", 442, -1, 0),
	NEW("pidfd-getfd", 438, -1, 0),
	{.name = "new-sweep-470-600", .fn = sweep_new, .a = 470, .b = 600},
	{.name = "new-sweep-537-600", .fn = sweep_new, .a = 512, .b = 548},
	{0},
};
