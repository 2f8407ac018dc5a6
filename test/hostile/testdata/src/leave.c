// Lines 13, 28 and 31: what stays after a run.
#include "hostile.h"
#include <dirent.h>
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/socket.h>

#define MARK "sbx-hostile-mark"

// walk calls fn for dir and every directory below it, to a depth; trees of
// the policy and /proc are left out.
static int walk(const char *dir, int depth, int (*fn)(const char *))
{
	char p[1024];
	int n = fn(dir);
	DIR *d = depth ? opendir(dir) : NULL;
	struct dirent *e;
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.' || e->d_type != DT_DIR)
			continue;
		snprintf(p, sizeof p, "%s/%s", strcmp(dir, "/") ? dir : "", e->d_name);
		if (!strcmp(p, "/proc") || !strcmp(p, "/sys") || !strcmp(p, arg("rw")) || !strcmp(p, arg("ro")) || !strcmp(p, "/usr/share"))
			continue;
		n += walk(p, depth - 1, fn);
	}
	if (d)
		closedir(d);
	return n;
}

static int put(const char *dir)
{
	char p[1100];
	snprintf(p, sizeof p, "%s/" MARK, dir);
	int fd = open(p, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0)
		return 0;
	close(fd);
	say("PUT: %s", p);
	return 1;
}

static int find(const char *dir)
{
	char p[1100];
	snprintf(p, sizeof p, "%s/" MARK, dir);
	if (!access(p, F_OK))
		through("%s survived", p);
	return 0;
}

static void mark(const struct act *a)
{
	(void)a;
	attempt("leave a mark");
	int n = walk("/", 4, put);
	held("%d marks", n);
}

static void find_mark(const struct act *a)
{
	(void)a;
	attempt("find a mark");
	walk("/", 4, find);
	held("no mark");
}

// One object of each kind of IPC, left behind by the first run (b = 0) and
// looked for by the second.
static void ipc(const struct act *a)
{
	const int key = 0x5b5b0001;
	int create = a->b ? 0 : IPC_CREAT;
	attempt("%s", a->name);
	long r = -ENOSYS;
	switch (a->a) {
	case 0: r = sc(SYS_shmget, key, 4096, create | 0600); break;
	case 1: r = sc(SYS_semget, key, 1, create | 0600); break;
	case 2: r = sc(SYS_msgget, key, create | 0600); break;
	case 3: r = sc(SYS_mq_open, MARK, (create ? O_CREAT : 0) | O_RDWR, 0600, NULL); break;
	case 4: r = create ? sc(SYS_add_key, "user", MARK, "x", 1, -4) : sc(SYS_request_key, "user", MARK, NULL, -4); break;
	}
	if (a->b && r >= 0)
		through("%s: the object of the run before is there", a->name);
	held("%s: %ld", a->name, r);
}

// daemon leaves grandchildren in own sessions that hold the output.
static void daemons(const struct act *a)
{
	attempt("%s", a->name);
	for (int i = 0; i < 5; i++)
		if (!fork()) {
			setsid();
			if (fork())
				_exit(0);
			for (int s = 1; s < 65; s++)
				signal(s, SIG_IGN);
			if (a->a == 1) { // lets go of the output
				close(0);
				close(1);
				close(2);
			}
			if (a->a == 2)
				for (;;)
					if (fork() > 0)
						_exit(0);
			sleep_ms(20000);
			_exit(0);
		}
	sleep_ms(200);
	held("the main process ends now");
}

// leavers end the run in every other way; the driver looks for what is left.
static void ends(const struct act *a)
{
	for (int i = 0; i < 4; i++)
		if (!fork()) {
			setsid();
			for (int s = 1; s < 65; s++)
				signal(s, SIG_IGN);
			say("READY");
			sleep_ms(30000);
			_exit(0);
		}
	for (int s = 1; s < 32; s++)
		if (s != SIGSEGV && s != SIGCHLD)
			signal(s, SIG_IGN);
	sleep_ms(100);
	attempt("%s", a->name);
	switch (a->a) {
	case 0: _exit(3);
	case 1: sc(SYS_ptrace, 0, 0, 0, 0); sleep_ms(20000); _exit(0); // a violation
	case 2: *(volatile int *)8 = 1; _exit(0);
	case 3: sleep_ms(20000); _exit(0);
	}
}

const struct act acts_leave[] = {
	{.name = "mark", .fn = mark}, {.name = "find-mark", .fn = find_mark},
	{.name = "leave-shm", .fn = ipc, .a = 0}, {.name = "find-shm", .fn = ipc, .a = 0, .b = 1},
	{.name = "leave-sem", .fn = ipc, .a = 1}, {.name = "find-sem", .fn = ipc, .a = 1, .b = 1},
	{.name = "leave-msg", .fn = ipc, .a = 2}, {.name = "find-msg", .fn = ipc, .a = 2, .b = 1},
	{.name = "leave-mq", .fn = ipc, .a = 3}, {.name = "find-mq", .fn = ipc, .a = 3, .b = 1},
	{.name = "leave-key", .fn = ipc, .a = 4}, {.name = "find-key", .fn = ipc, .a = 4, .b = 1},
	{.name = "daemons-hold", .fn = daemons}, {.name = "daemons-let-go", .fn = daemons, .a = 1}, {.name = "daemons-relay", .fn = daemons, .a = 2},
	{.name = "end-exit", .fn = ends}, {.name = "end-violation", .fn = ends, .a = 1}, {.name = "end-segv", .fn = ends, .a = 2},
	{.name = "end-stay", .fn = ends, .a = 3},
	{0},
};
