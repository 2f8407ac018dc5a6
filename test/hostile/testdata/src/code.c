// Line 32: memory that is both written and executed.
#include "hostile.h"
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>

// mov eax, 42; ret
static const unsigned char stub[] = {0xb8, 42, 0, 0, 0, 0xc3};

// The processor refuses to fetch from a page without execute permission.
static void refused(int sig)
{
	held("not executable: signal %d", sig);
}

static _Noreturn void run(const char *what, void *p)
{
	signal(SIGSEGV, refused);
	int (*f)(void) = (int (*)(void))p;
	if (f() == 42)
		through("%s: written code ran", what);
	broken("%s: the stub did not run", what);
}

static int failed(long r)
{
	return r < 0 && r > -4096;
}

enum { RWX, W_THEN_X, PKEY, TEXT_RW, X_THEN_W, GROWSDOWN, SHARED_RWX, TWICE, READ_EXEC, STACK, HEAP, NONE_X, MREMAP };
static void anonymous(const struct act *a)
{
	attempt("%s", a->name);
	long p = -ENOSYS, r;
	int base = MAP_PRIVATE | MAP_ANONYMOUS;
	switch (a->a) {
	case RWX: p = sc(SYS_mmap, 0, 4096, 7, base, -1, 0); break;
	case SHARED_RWX: p = sc(SYS_mmap, 0, 4096, 7, MAP_SHARED | MAP_ANONYMOUS, -1, 0); break;
	case GROWSDOWN: p = sc(SYS_mmap, 0, 4096, 7, base | MAP_GROWSDOWN, -1, 0); break;
	case W_THEN_X: case PKEY: case NONE_X: case MREMAP:
		p = sc(SYS_mmap, 0, 4096, 3, base, -1, 0);
		if (failed(p))
			held("mmap RW: %ld", p);
		memcpy((void *)p, stub, sizeof stub);
		if (a->a == MREMAP) {
			long q = sc(SYS_mremap, p, 4096, 4096, 3, p + (1 << 20));
			p = failed(q) ? p : q;
		}
		if (a->a == NONE_X)
			sc(SYS_mprotect, p, 4096, 0);
		r = a->a == PKEY ? sc(SYS_pkey_mprotect, p, 4096, 5, -1) : sc(SYS_mprotect, p, 4096, 5);
		if (r < 0)
			held("%s: %ld", a->name, r);
		run(a->name, (void *)p);
	case TEXT_RW: // the program's own text
		p = (long)&anonymous & ~4095L;
		r = sc(SYS_mprotect, p, 4096, 7);
		got("mprotect of own text", r);
	case X_THEN_W: // executable first, written later
		p = sc(SYS_mmap, 0, 4096, 5, base, -1, 0);
		if (failed(p))
			held("mmap RX: %ld", p);
		r = sc(SYS_mprotect, p, 4096, 7);
		got(a->name, r);
	case READ_EXEC:
		sc(SYS_personality, 0x0400000);
		p = sc(SYS_mmap, 0, 4096, 3, base, -1, 0);
		if (!failed(p)) {
			memcpy((void *)p, stub, sizeof stub);
			run(a->name, (void *)p);
		}
		break;
	case STACK: {
		static char on[8192] __attribute__((aligned(4096)));
		memcpy(on, stub, sizeof stub);
		r = sc(SYS_mprotect, on, 4096, 7);
		if (r < 0)
			held("mprotect of data: %ld", r);
		run(a->name, on);
	}
	}
	if (failed(p))
		held("%s: %ld", a->name, p);
	memcpy((void *)p, stub, sizeof stub);
	run(a->name, (void *)p);
}

// twice: the same object mapped writable and executable.
enum { MEMFD, SYSV, SYSV_EXEC_RO, TMPFILE, RWFILE, SHMFILE, ROFILE, DEVZERO, RWFILE_MPROTECT };
static void twice(const struct act *a)
{
	static char p[4200];
	long fd = -1, w = 0, x, id;
	attempt("%s", a->name);
	switch (a->a) {
	case MEMFD: fd = sc(SYS_memfd_create, "x", a->b); break;
	case TMPFILE: snprintf(p, sizeof p, "/tmp/x"); break;
	case SHMFILE: snprintf(p, sizeof p, "/dev/shm/x"); break;
	case RWFILE: case RWFILE_MPROTECT: snprintf(p, sizeof p, "%s/x", arg("rw")); break;
	case ROFILE: snprintf(p, sizeof p, "%s/file", arg("ro")); break;
	case DEVZERO: fd = sc(SYS_openat, AT_FDCWD, "/dev/zero", O_RDWR); break;
	case SYSV: case SYSV_EXEC_RO:
		id = sc(SYS_shmget, IPC_PRIVATE, 4096, 0700 | IPC_CREAT);
		if (id < 0)
			held("shmget: %ld", id);
		w = sc(SYS_shmat, id, NULL, a->a == SYSV ? 0100000 : 0);
		if (failed(w))
			held("shmat: %ld", w);
		memcpy((void *)w, stub, sizeof stub);
		x = a->a == SYSV ? w : sc(SYS_shmat, id, NULL, 0100000 | SHM_RDONLY | a->b);
		if (failed(x))
			held("shmat SHM_EXEC: %ld", x);
		run(a->name, (void *)x);
	}
	if (p[0])
		fd = a->a == ROFILE ? sc(SYS_openat, AT_FDCWD, p, O_RDONLY) : sc(SYS_openat, AT_FDCWD, p, O_CREAT | O_RDWR, 0700);
	if (fd < 0)
		held("%s: no file: %ld", a->name, fd);
	if (a->a == ROFILE) {
		x = sc(SYS_mmap, 0, 4096, 5, MAP_PRIVATE, fd, 0);
		got(a->name, failed(x) ? x : 0);
	}
	if (a->a != DEVZERO && sc(SYS_ftruncate, fd, 4096) < 0)
		held("ftruncate");
	w = sc(SYS_mmap, 0, 4096, 3, MAP_SHARED, fd, 0);
	if (failed(w))
		held("mmap W: %ld", w);
	memcpy((void *)w, stub, sizeof stub);
	if (a->a == RWFILE_MPROTECT) {
		x = sc(SYS_mmap, 0, 4096, 1, MAP_SHARED, fd, 0);
		long r = sc(SYS_mprotect, x, 4096, 5);
		if (r < 0)
			held("mprotect X: %ld", r);
	} else if (a->a == DEVZERO) {
		x = sc(SYS_mmap, 0, 4096, 7, MAP_PRIVATE, fd, 0);
		if (!failed(x))
			memcpy((void *)x, stub, sizeof stub);
	} else {
		x = sc(SYS_mmap, 0, 4096, 5, MAP_SHARED, fd, 0);
	}
	if (failed(x))
		held("mmap X: %ld", x);
	run(a->name, (void *)x);
}

// /proc/self/mem writes into mappings that are not writable.
__attribute__((noinline, aligned(64))) int victim(void)
{
	__asm__ volatile("nop; nop; nop; nop; nop; nop; nop; nop");
	return 7;
}

static void selfmem(const struct act *a)
{
	static char p[64];
	static struct { void *b; long n; } l = {(void *)stub, sizeof stub}, r = {(void *)victim, sizeof stub};
	long n;
	attempt("%s", a->name);
	if (a->a == 2) {
		n = sc(SYS_process_vm_writev, getpid(), &l, 1, &r, 1, 0);
	} else {
		snprintf(p, sizeof p, a->a ? "/proc/%d/task/%d/mem" : "/proc/self/mem", getpid(), getpid());
		long fd = sc(SYS_openat, AT_FDCWD, p, O_RDWR);
		if (fd < 0)
			held("%s: %ld", p, fd);
		n = sc(SYS_pwrite64, fd, stub, sizeof stub, victim);
	}
	if (n < 0)
		held("%s: %ld", a->name, n);
	if (((int (*volatile)(void))victim)() == 42)
		through("%s: own text was rewritten", a->name);
	held("%s: no effect", a->name);
}

// a child of this one is traced and its text rewritten
static void poketext(const struct act *a)
{
	(void)a;
	attempt("PTRACE_TRACEME in a child");
	pid_t c = fork();
	if (!c) {
		if (sc(SYS_ptrace, 0, 0, 0, 0) < 0)
			_exit(0);
		kill(getpid(), SIGSTOP);
		_exit(victim());
	}
	int st;
	waitpid(c, &st, 0);
	if (!WIFSTOPPED(st))
		held("no tracing");
	long r = sc(SYS_ptrace, 4, c, victim, 0xc30000002ab8L);
	r = r < 0 ? r : sc(SYS_ptrace, 4, c, (char *)victim + 5, 0xc3);
	kill(c, SIGKILL);
	got("POKETEXT", r);
}

const struct act acts_code[] = {
	{.name = "wx-mmap", .fn = anonymous, .a = RWX}, {.name = "wx-mmap-shared", .fn = anonymous, .a = SHARED_RWX},
	{.name = "wx-mmap-growsdown", .fn = anonymous, .a = GROWSDOWN}, {.name = "wx-mprotect", .fn = anonymous, .a = W_THEN_X},
	{.name = "wx-pkey-mprotect", .fn = anonymous, .a = PKEY}, {.name = "wx-text", .fn = anonymous, .a = TEXT_RW},
	{.name = "wx-exec-then-write", .fn = anonymous, .a = X_THEN_W}, {.name = "wx-personality", .fn = anonymous, .a = READ_EXEC},
	{.name = "wx-data", .fn = anonymous, .a = STACK}, {.name = "wx-none-exec", .fn = anonymous, .a = NONE_X},
	{.name = "wx-mremap", .fn = anonymous, .a = MREMAP},
	{.name = "wx-memfd", .fn = twice, .a = MEMFD}, {.name = "wx-memfd-exec", .fn = twice, .a = MEMFD, .b = 0x10},
	{.name = "wx-sysv-rwx", .fn = twice, .a = SYSV}, {.name = "wx-sysv-twice", .fn = twice, .a = SYSV_EXEC_RO},
	{.name = "wx-sysv-stray", .fn = twice, .a = SYSV_EXEC_RO, .b = HIGH},
	{.name = "wx-tmp-file", .fn = twice, .a = TMPFILE}, {.name = "wx-shm-file", .fn = twice, .a = SHMFILE},
	{.name = "wx-rw-file", .fn = twice, .a = RWFILE}, {.name = "wx-rw-file-mprotect", .fn = twice, .a = RWFILE_MPROTECT},
	{.name = "wx-ro-file-exec", .fn = twice, .a = ROFILE}, {.name = "wx-dev-zero", .fn = twice, .a = DEVZERO},
	{.name = "wx-self-mem", .fn = selfmem}, {.name = "wx-task-mem", .fn = selfmem, .a = 1}, {.name = "wx-vm-writev", .fn = selfmem, .a = 2},
	{.name = "wx-poketext", .fn = poketext},
	{0},
};
