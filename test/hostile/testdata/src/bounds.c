// Line 29, the rest: processes, files, output, time, descriptors.
#include "hostile.h"
#include <sys/resource.h>

static void processes(const struct act *a)
{
	int max = atoi(arg("pids")), n = 0;
	attempt("%s", a->name);
	for (; n < max * 3; n++) {
		pid_t p = fork();
		if (p < 0)
			break;
		if (!p) {
			if (a->a) // in own sessions
				setsid();
			sleep_ms(4000);
			_exit(0);
		}
	}
	sleep_ms(500);
	if (n > max)
		through("%d processes over a bound of %d", n, max);
	held("%d processes", n);
}

// A chain: each process makes the next one.
static void chain(const struct act *a)
{
	int max = atoi(arg("pids"));
	attempt("%s", a->name);
	for (int depth = 1; depth <= max * 3; depth++) {
		pid_t p = fork();
		if (p < 0)
			held("depth %d", depth);
		if (p) {
			int st = 0;
			if (a->a)
				_exit(0); // the daemons' way: the parent leaves
			waitpid(p, &st, 0);
			_exit(WIFEXITED(st) ? WEXITSTATUS(st) : EXIT_HELD);
		}
		if (depth > max)
			through("a chain of %d processes", depth);
	}
	held("chain ended");
}

static void threads(const struct act *a)
{
	int max = atoi(arg("pids")), n = 0;
	long flags = 0x00000100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000; // VM FS FILES SIGHAND THREAD SYSVSEM
	attempt("%s", a->name);
	for (; n < max * 3; n++) {
		char *st = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (st == MAP_FAILED)
			break;
		long r;
		// The new thread spins in nanosleep without a libc.
		static struct timespec t = {5, 0};
		__asm__ volatile("syscall\n\t"
				 "test %%eax, %%eax\n\t"
				 "jnz 1f\n\t"
				 "0: mov $35, %%eax\n\t"
				 "lea %[t], %%rdi\n\t"
				 "xor %%esi, %%esi\n\t"
				 "syscall\n\t"
				 "jmp 0b\n"
				 "1:"
				 : "=&a"(r)
				 : "0"(SYS_clone), "D"(flags), "S"(st + 16384), "d"(0L), [t] "m"(t)
				 : "rcx", "r11", "memory");
		if (r < 0)
			break;
	}
	if (n > max)
		through("%d threads over a bound of %d", n, max);
	held("%d threads", n);
}

static void descriptors(const struct act *a)
{
	int max = atoi(arg("nofile")), n = 0;
	(void)a;
	attempt("open many");
	while (n < max * 4 && open("/dev/null", O_RDONLY) >= 0)
		n++;
	if (n > max)
		through("%d descriptors over a bound of %d", n, max);
	held("%d descriptors", n);
}

static void dup_high(const struct act *a)
{
	int max = atoi(arg("nofile"));
	(void)a;
	attempt("dup2 above the bound");
	got("dup2", sc(SYS_dup2, 0, max + 10));
}

// Host-wide objects that no memory bound counts: pseudo terminals.
static void ptys(const struct act *a)
{
	int pipes[2], n = 0;
	(void)a;
	if (pipe(pipes))
		broken("pipe");
	attempt("open /dev/ptmx");
	for (int k = 0; k < 12; k++)
		if (!fork()) {
			while (open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC) >= 0)
				(void)!write(pipes[1], "x", 1);
			sleep_ms(1500);
			_exit(0);
		}
	close(pipes[1]);
	char c[512];
	long r;
	while (n < 4000 && (r = read(pipes[0], c, sizeof c)) > 0)
		n += r;
	if (n > 600)
		through("%d pseudo terminals", n);
	held("%d pseudo terminals", n);
}

// one file larger than the policy's file size
static void one_file(const struct act *a)
{
	static char block[1 << 20];
	const char *p = a->s[0] == '/' ? a->s : path(a->s, "big");
	long bound = atol(arg("fsize")), n = 0;
	signal(SIGXFSZ, SIG_IGN);
	attempt("write %s", p);
	int fd = open(p, O_CREAT | O_WRONLY, 0600);
	if (fd < 0)
		held("%s: %s", p, strerror(errno));
	if (a->a) {
		long r = a->a == 1 ? sc(SYS_ftruncate, fd, bound * 4 << 20) : sc(SYS_fallocate, fd, 0, 0, bound * 4 << 20);
		got(a->name, r);
	}
	while (n < bound * 4 && write(fd, block, sizeof block) == sizeof block)
		n++;
	close(fd);
	unlink(p);
	if (n > bound)
		through("%ld MiB in one file", n);
	held("%ld MiB in one file", n);
}

// The sum of files: a MiB allowed, told by the argument of that name.
static void sum(const struct act *a)
{
	static char block[1 << 20], f[4200];
	long allowed = atol(arg(a->t)), n = 0;
	const char *dir = a->s[0] == '/' ? a->s : arg(a->s);
	signal(SIGXFSZ, SIG_IGN);
	attempt("fill %s", dir);
	for (int i = 0; n <= allowed + 32; i++) {
		snprintf(f, sizeof f, "%s/sum%d", dir, i);
		int fd = open(f, O_CREAT | O_WRONLY, 0600);
		if (fd < 0)
			break;
		int k = 0;
		while (k < 4 && write(fd, block, sizeof block) == sizeof block)
			k++;
		n += k;
		close(fd);
		if (k < 4)
			break;
	}
	if (n > allowed + 4)
		through("%ld MiB in %s, bound %ld", n, dir, allowed);
	held("%ld MiB in %s", n, dir);
}

static void count(const struct act *a)
{
	static char f[4200];
	long allowed = atol(arg(a->t)), n = 0;
	const char *dir = a->s[0] == '/' ? a->s : arg(a->s);
	attempt("many files in %s", dir);
	for (; n <= allowed + 1000; n++) {
		snprintf(f, sizeof f, "%s/n%ld", dir, n);
		long r = a->a == 1 ? sc(SYS_mkdirat, AT_FDCWD, f, 0700)
		       : a->a == 2 ? sc(SYS_symlinkat, "x", AT_FDCWD, f)
				   : sc(SYS_openat, AT_FDCWD, f, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		if (r < 0)
			break;
		if (!a->a)
			close(r);
	}
	if (n > allowed + 16)
		through("%ld files in %s, bound %ld", n, dir, allowed);
	held("%ld files in %s", n, dir);
}

// flood writes 8 MiB; the driver counts what arrives.
static void flood(const struct act *a)
{
	static char block[65536];
	memset(block, 'y', sizeof block);
	attempt("flood");
	for (int i = 0; i < 128; i++)
		for (int fd = 1; fd < 3; fd++)
			if (a->a & fd)
				if (write(fd, block, sizeof block) < 0)
					_exit(0);
	_exit(0);
}

// Programs that do not end: sbx must end them, status 124.
static void endless(const struct act *a)
{
	static struct timespec second = {1, 0};
	sigset_t all;
	for (int s = 1; s < 65; s++)
		signal(s, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	say("READY");
	attempt("%s", a->name);
	switch (a->a) {
	case 0: for (;;) __asm__ volatile("pause");
	case 1: for (;;) sleep_ms(1000);
	case 2: // children that spin in own sessions
		for (int i = 0; i < 6; i++)
			if (!fork()) {
				setsid();
				for (;;) __asm__ volatile("pause");
			}
		for (;;) sleep_ms(1000);
	case 3: // a relay: the process is always another one
		signal(SIGCHLD, SIG_DFL);
		for (;;) {
			pid_t p = fork();
			if (!p)
				continue;
			if (p > 0)
				waitpid(p, NULL, 0);
		}
	case 4: // vfork-like: the parent cannot be interrupted while the child sleeps
		if (!sc(SYS_clone, 0x4000 | 0x100 | SIGCHLD))
			for (;;)
				sc(SYS_nanosleep, &second, 0);
		for (;;) sleep_ms(1000);
	case 5: { // standard output is full and nobody reads
		static char block[65536];
		for (;;)
			(void)!write(1, block, sizeof block);
	}
	case 6: kill(getpid(), SIGSTOP); for (;;) sleep_ms(1000);
	}
}

// spin: CPU time used by four processes in about three seconds of wall time.
static void spin(const struct act *a)
{
	(void)a;
	attempt("spin");
	long end = now_ms() + 3000;
	pid_t p[4];
	for (int i = 0; i < 4; i++)
		if (!(p[i] = fork())) {
			while (now_ms() < end)
				for (volatile int k = 0; k < 100000; k++)
					;
			_exit(0);
		}
	for (int i = 0; i < 4; i++)
		waitpid(p[i], NULL, 0);
	struct rusage u;
	getrusage(RUSAGE_CHILDREN, &u);
	long ms = u.ru_utime.tv_sec * 1000 + u.ru_utime.tv_usec / 1000 + u.ru_stime.tv_sec * 1000 + u.ru_stime.tv_usec / 1000;
	long allowed = 30 * atol(arg("cpu")); // per cent of 3 s
	if (ms > allowed * 13 / 10)
		through("%ld ms of CPU in 3 s, bound %ld", ms, allowed);
	held("%ld ms of CPU", ms);
}

static void core(const struct act *a)
{
	static struct rlimit l = {RLIM_INFINITY, RLIM_INFINITY};
	sc(SYS_prlimit64, 0, RLIMIT_CORE, &l, NULL);
	if (a->a)
		(void)!chdir(arg("rw"));
	attempt("dump core");
	signal(SIGABRT, SIG_DFL);
	kill(getpid(), SIGABRT);
	sleep_ms(1000);
}

const struct act acts_bounds[] = {
	{.name = "pids-fork", .fn = processes}, {.name = "pids-sessions", .fn = processes, .a = 1},
	{.name = "pids-chain", .fn = chain}, {.name = "pids-threads", .fn = threads},
	{.name = "nofile", .fn = descriptors}, {.name = "nofile-dup", .fn = dup_high}, {.name = "ptys", .fn = ptys},
	{.name = "file-size-tmp", .fn = one_file, .s = "/tmp/big"}, {.name = "file-size-rw", .fn = one_file, .s = "rw"},
	{.name = "file-size-truncate", .fn = one_file, .s = "rw", .a = 1}, {.name = "file-size-fallocate", .fn = one_file, .s = "rw", .a = 2},
	{.name = "sum-tmp", .fn = sum, .s = "/tmp", .t = "tmpmib"}, {.name = "sum-shm", .fn = sum, .s = "/dev/shm", .t = "shmmib"},
	{.name = "sum-rw", .fn = sum, .s = "rw", .t = "rwmib"},
	{.name = "count-tmp", .fn = count, .s = "/tmp", .t = "tmpfiles"}, {.name = "count-tmp-dirs", .fn = count, .s = "/tmp", .t = "tmpfiles", .a = 1},
	{.name = "count-tmp-links", .fn = count, .s = "/tmp", .t = "tmpfiles", .a = 2},
	{.name = "count-shm", .fn = count, .s = "/dev/shm", .t = "shmfiles"}, {.name = "count-rw", .fn = count, .s = "rw", .t = "rwfiles"},
	{.name = "flood-stdout", .fn = flood, .a = 1}, {.name = "flood-stderr", .fn = flood, .a = 2}, {.name = "flood-both", .fn = flood, .a = 3},
	{.name = "endless-spin", .fn = endless, .a = 0}, {.name = "endless-sleep", .fn = endless, .a = 1},
	{.name = "endless-children", .fn = endless, .a = 2}, {.name = "endless-relay", .fn = endless, .a = 3},
	{.name = "endless-vfork", .fn = endless, .a = 4}, {.name = "endless-write", .fn = endless, .a = 5},
	{.name = "endless-stopped", .fn = endless, .a = 6},
	{.name = "cpu-spin", .fn = spin},
	{.name = "core-dump", .fn = core}, {.name = "core-dump-rw", .fn = core, .a = 1},
	{0},
};
