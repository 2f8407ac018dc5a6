// Lines 24 and 25: the supervisor's part inside, and the true status.
#include "hostile.h"
#include <dirent.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static void of_init(const struct act *a)
{
	static char p[64];
	snprintf(p, sizeof p, "/proc/1/%s", a->s);
	attempt("open %s", p);
	got(p, sc(SYS_openat, AT_FDCWD, p, a->a | O_NONBLOCK));
}

static void list_init(const struct act *a)
{
	static char p[64], buf[4096];
	snprintf(p, sizeof p, "/proc/1/%s", a->s);
	attempt("list %s", p);
	long fd = sc(SYS_openat, AT_FDCWD, p, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		held("%s: %ld", p, fd);
	long n = sc(SYS_getdents64, fd, buf, sizeof buf);
	if (n > 64) // more than . and ..
		through("%s is listed", p);
	held("%s: %ld", p, n);
}

static void link_init(const struct act *a)
{
	static char p[64], buf[4096];
	snprintf(p, sizeof p, "/proc/1/%s", a->s);
	attempt("readlink %s", p);
	long n = sc(SYS_readlink, p, buf, sizeof buf - 1);
	if (n > 0)
		through("%s -> %.100s", p, buf);
	held("%s: %ld", p, n);
}

static void act_on_init(const struct act *a)
{
	static char buf[64];
	static struct iovec l = {buf, 8}, r = {(void *)0x400000, 8};
	attempt("%s", a->name);
	switch (a->a) {
	case 0: got(a->name, sc(SYS_ptrace, PTRACE_ATTACH, 1, 0, 0));
	case 1: got(a->name, sc(SYS_process_vm_readv, 1, &l, 1, &r, 1, 0));
	case 2: got(a->name, sc(SYS_kcmp, 1, getpid(), 0, 0, 0));
	case 3: { // after SIGKILL to init from inside nothing may have happened
		sc(SYS_kill, 1, SIGKILL);
		sc(SYS_kill, 1, SIGSTOP);
		sleep_ms(300);
		held("init lives");
	}
	case 4: { // a forged status: SIGCHLD with somebody's exit code
		static siginfo_t si;
		si.si_signo = SIGCHLD;
		si.si_code = -1;
		si.si_pid = getpid();
		si.si_status = 0;
		long q = sc(SYS_rt_sigqueueinfo, 1, SIGCHLD, &si);
		sleep_ms(200);
		held("sigqueue: %ld", q);
	}
	case 5: { // TERM, HUP and INT to init must not end the run as cancelled
		sc(SYS_kill, 1, SIGHUP);
		sc(SYS_kill, 1, SIGINT);
		sleep_ms(300);
		held("the run goes on");
	}
	case 6: { // exe of init for writing
		long fd = sc(SYS_openat, AT_FDCWD, "/proc/1/exe", O_WRONLY);
		if (fd == -ETXTBSY)
			through("/proc/1/exe is reachable");
		got(a->name, fd);
	}
	case 7: { // the file behind the running program itself
		long fd = sc(SYS_openat, AT_FDCWD, "/proc/self/exe", O_WRONLY);
		got(a->name, fd == -ETXTBSY ? -EACCES : fd);
	}
	case 8: got(a->name, sc(SYS_prctl, PR_SET_PTRACER, -1, 0, 0, 0) >= 0 && sc(SYS_ptrace, PTRACE_SEIZE, 1, 0, 0) >= 0 ? 0 : -EPERM);
	case 9: { // unlink or replace the program
		long q = sc(SYS_unlink, "/proc/self/exe");
		got(a->name, q);
	}
	}
}

// Statuses: the act ends as told, the driver compares what sbx reports.
static void status(const struct act *a)
{
	attempt("%s", a->name);
	if (a->b) { // daemons in between, whose statuses must not be taken
		for (int i = 0; i < 20; i++)
			if (!fork()) {
				if (fork())
					_exit(7);
				sleep_ms(5 * i);
				_exit(9);
			}
	}
	if (a->a < 0) {
		signal(-a->a, SIG_DFL);
		kill(getpid(), -a->a);
		sleep_ms(2000);
	}
	_exit(a->a);
}

static void orphans(const struct act *a)
{
	(void)a;
	attempt("40 orphans");
	for (int i = 0; i < 40; i++) {
		pid_t p = fork();
		if (!p) {
			if (!fork())
				_exit(0);
			_exit(0);
		}
		waitpid(p, NULL, 0);
	}
	sleep_ms(300);
	DIR *d = opendir("/proc");
	int zombies = 0;
	struct dirent *e;
	static char p[300], buf[512];
	while (d && (e = readdir(d))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9')
			continue;
		snprintf(p, sizeof p, "/proc/%s/stat", e->d_name);
		if (slurp(p, buf, sizeof buf) > 0) {
			char *q = strrchr(buf, ')');
			zombies += q && q[2] == 'Z';
		}
	}
	if (zombies > 4)
		through("%d zombies", zombies);
	held("%d zombies", zombies);
}

static volatile sig_atomic_t caught;
static void on(int s) { caught = s; }

static void forwarded(const struct act *a)
{
	signal(a->a, on);
	say("READY");
	attempt("wait for signal %ld", a->a);
	for (int i = 0; i < 100 && !caught; i++)
		sleep_ms(50);
	if (!caught)
		through("signal %ld did not arrive", a->a); // a failure, not an escape
	held("signal %ld arrived", a->a);
}

static void pid_two(const struct act *a)
{
	(void)a;
	attempt("getpid");
	if (getpid() == 1)
		through("the program is PID 1");
	held("pid %d", getpid());
}

#define O(n, f, m) {.name = "init-" n, .fn = of_init, .s = f, .a = m}
#define L(n, f) {.name = "init-" n, .fn = link_init, .s = f}
#define A(n, w) {.name = "init-" n, .fn = act_on_init, .a = w}
const struct act acts_init[] = {
	O("mem-read", "mem", O_RDONLY), O("mem-write", "mem", O_RDWR), O("maps", "maps", O_RDONLY), O("environ", "environ", O_RDONLY),
	O("auxv", "auxv", O_RDONLY), O("pagemap", "pagemap", O_RDONLY), O("clear-refs", "clear_refs", O_WRONLY),
	O("root-dir", "root/", O_RDONLY), O("cwd-dir", "cwd/", O_RDONLY), O("exe-read", "exe", O_RDONLY), O("ns-mnt-open", "ns/mnt", O_RDONLY),
	O("ns-user-open", "ns/user", O_RDONLY), O("stack", "stack", O_RDONLY), O("io", "io", O_RDONLY),
	O("attr", "attr/exec", O_WRONLY),
	{.name = "init-fd-list", .fn = list_init, .s = "fd"}, {.name = "init-fdinfo-list", .fn = list_init, .s = "fdinfo"},
	{.name = "init-map-files", .fn = list_init, .s = "map_files"}, {.name = "init-task-fd", .fn = list_init, .s = "task/1/fd"},
	L("root-link", "root"), L("cwd-link", "cwd"), L("exe-link", "exe"), L("fd-0-link", "fd/0"), L("ns-net-link", "ns/net"),
	A("ptrace", 0), A("vm-readv", 1), A("kcmp", 2), A("kill", 3), A("forged-sigchld", 4), A("signals", 5), A("exe-write", 6),
	A("own-exe-write", 7), A("set-ptracer", 8), A("own-exe-unlink", 9),
	{.name = "status-42", .fn = status, .a = 42}, {.name = "status-0", .fn = status, .a = 0}, {.name = "status-255", .fn = status, .a = 255},
	{.name = "status-42-orphans", .fn = status, .a = 42, .b = 1}, {.name = "status-term", .fn = status, .a = -SIGTERM},
	{.name = "status-term-orphans", .fn = status, .a = -SIGTERM, .b = 1}, {.name = "status-kill", .fn = status, .a = -SIGKILL},
	{.name = "status-segv", .fn = status, .a = -SIGSEGV}, {.name = "status-hup", .fn = status, .a = -SIGHUP},
	{.name = "status-usr1", .fn = status, .a = -SIGUSR1}, {.name = "status-abrt", .fn = status, .a = -SIGABRT},
	{.name = "status-159", .fn = status, .a = 159}, {.name = "status-124", .fn = status, .a = 124},
	{.name = "orphans-reaped", .fn = orphans}, {.name = "not-pid-1", .fn = pid_two},
	{.name = "forward-usr1", .fn = forwarded, .a = SIGUSR1}, {.name = "forward-hup", .fn = forwarded, .a = SIGHUP},
	{0},
};
