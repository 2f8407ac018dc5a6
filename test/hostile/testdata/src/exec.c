// Line 32: other programs than the registered one.
#include "hostile.h"

static char copy[4200];

// copy_self writes this program's bytes to dir, mode 0755.
static int copy_self(const char *dir, const char *name)
{
	static char buf[1 << 16];
	snprintf(copy, sizeof copy, "%s/%s", dir, name);
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int out = open(copy, O_CREAT | O_TRUNC | O_RDWR, 0755);
	if (in < 0 || out < 0)
		return -1;
	long n;
	while ((n = read(in, buf, sizeof buf)) > 0)
		if (write(out, buf, n) != n)
			return -1;
	close(out);
	close(in);
	return open(copy, O_RDONLY);
}

// The executed copy says so.
static void ran(const struct act *a)
{
	(void)a;
	through("another program ran");
}

enum { EXECVE, EXECVEAT, EXECVEAT_FD, FD_PATH, EXECVE32, EXECVEX32, EXECVE_STRAY };
static long go(int how, const char *file, int fd)
{
	static char *argv[] = {(char *)"hostile", (char *)"program-ran", NULL};
	static char low[4200], p[64];
	switch (how) {
	case EXECVE: return sc(SYS_execve, file, argv, environ);
	case EXECVE_STRAY: return sc(HIGH | SYS_execve, file, argv, environ);
	case EXECVEAT: return sc(SYS_execveat, AT_FDCWD, file, argv, environ, 0);
	case EXECVEAT_FD: return sc(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
	case FD_PATH: snprintf(p, sizeof p, "/proc/self/fd/%d", fd); return sc(SYS_execve, p, argv, environ);
	case EXECVE32: snprintf(low, sizeof low, "%s", file); return i386(11, low, 0, 0);
	case EXECVEX32: return sc(520 | X32BIT, file, argv, environ);
	}
	return -ENOSYS;
}

// written executes a copy of this program in a place a run can write.
static void written(const struct act *a)
{
	int fd = copy_self(a->s[0] == '/' ? a->s : arg(a->s), "copied");
	if (fd < 0)
		held("no copy in %s: %s", a->s, strerror(errno));
	attempt("%s %s", a->name, copy);
	got(a->name, go(a->a, copy, fd));
}

static void memfd(const struct act *a)
{
	static char buf[1 << 16];
	attempt("memfd_create");
	long fd = sc(SYS_memfd_create, "x", a->b);
	if (fd < 0)
		held("memfd_create: %ld", fd);
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	long n;
	while ((n = read(in, buf, sizeof buf)) > 0)
		(void)!write(fd, buf, n);
	attempt("execute it");
	got(a->name, go(a->a, "", fd));
}

// found executes a program that the view shows.
static void found(const struct act *a)
{
	const char *p = a->s[0] == '/' ? a->s : path(a->s, a->t);
	int fd = open(p, O_RDONLY | O_CLOEXEC);
	attempt("%s %s", a->name, p);
	if (a->s[0] != '/')
		got(a->name, go(a->a, p, fd));
	// Programs of the host cannot report; a pipe's end tells that one ran.
	int pipes[2];
	if (pipe(pipes))
		broken("pipe");
	pid_t c = fork();
	if (!c) {
		close(pipes[0]);
		dup2(pipes[1], 1);
		char *echo[] = {(char *)"echo", (char *)"program-ran", NULL};
		char *sh[] = {(char *)"sh", (char *)"-c", (char *)"echo program-ran", NULL};
		char *ld[] = {(char *)"ld.so", (char *)"/bin/echo", (char *)"program-ran", NULL};
		char **v = a->c == 1 ? sh : a->c == 2 ? ld : echo;
		if (a->a == EXECVEAT_FD)
			sc(SYS_execveat, fd, "", v, environ, AT_EMPTY_PATH);
		else
			sc(SYS_execve, p, v, environ);
		_exit(1);
	}
	close(pipes[1]);
	char buf[64] = "";
	long n = read(pipes[0], buf, sizeof buf - 1);
	if (n > 0 && strstr(buf, "program-ran"))
		through("%s ran", p);
	held("%s did not run", p);
}

// script writes a #! file that names the registered program or the shell.
static void script(const struct act *a)
{
	static char line[4300], p[4200];
	static char *argv[] = {p, NULL};
	snprintf(p, sizeof p, "%s/script", a->t[0] == '/' ? a->t : arg(a->t));
	int fd = open(p, O_CREAT | O_TRUNC | O_WRONLY, 0755);
	if (fd < 0)
		held("%s: %s", p, strerror(errno));
	int n = snprintf(line, sizeof line, "#!%s program-ran\n", a->s ? a->s : arg("self"));
	if (write(fd, line, n) != n)
		broken("write");
	close(fd);
	attempt("execve %s", p);
	got(a->name, sc(SYS_execve, p, argv, environ));
}

static void by_name(const struct act *a)
{
	(void)a;
	attempt("posix_spawn-like vfork and exec");
	pid_t p = vfork();
	if (!p) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(9);
	}
	int st = 0;
	waitpid(p, &st, 0);
	if (WIFEXITED(st) && WEXITSTATUS(st) == 0)
		through("/bin/true ran");
	held("status 0x%x", st);
}

// The one permitted exec is spent: no try of many gets another.
static void exec_race(const struct act *a)
{
	(void)a;
	attempt("execve in 200 children");
	for (int i = 0; i < 200; i++) {
		pid_t p = fork();
		if (p < 0)
			break;
		if (!p) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(9);
		}
		int st = 0;
		waitpid(p, &st, 0);
		if (WIFEXITED(st) && WEXITSTATUS(st) == 0)
			through("/bin/true ran at try %d", i);
	}
	held("200 refused");
}

#define WR(n, w, d) {.name = "exec-" n, .fn = written, .a = w, .s = d}
const struct act acts_exec[] = {
	WR("tmp", EXECVE, "/tmp"), WR("tmp-at", EXECVEAT, "/tmp"), WR("tmp-fd", EXECVEAT_FD, "/tmp"), WR("tmp-procfd", FD_PATH, "/tmp"),
	WR("shm", EXECVE, "/dev/shm"), WR("shm-fd", EXECVEAT_FD, "/dev/shm"), WR("rw", EXECVE, "rw"), WR("rw-fd", EXECVEAT_FD, "rw"),
	WR("rw-i386", EXECVE32, "rw"), WR("rw-x32", EXECVEX32, "rw"), WR("rw-stray", EXECVE_STRAY, "rw"),
	{.name = "exec-memfd", .fn = memfd, .a = EXECVEAT_FD}, {.name = "exec-memfd-proc", .fn = memfd, .a = FD_PATH},
	{.name = "exec-memfd-flag", .fn = memfd, .a = EXECVEAT_FD, .b = 0x10}, {.name = "exec-memfd-stray", .fn = memfd, .a = EXECVEAT_FD, .b = HIGH},
	{.name = "exec-ro", .fn = found, .a = EXECVE, .s = "ro", .t = "hostile"}, {.name = "exec-ro-fd", .fn = found, .a = EXECVEAT_FD, .s = "ro", .t = "hostile"},
	{.name = "exec-shell", .fn = found, .s = "/bin/sh", .c = 1}, {.name = "exec-echo", .fn = found, .s = "/bin/echo"},
	{.name = "exec-echo-fd", .fn = found, .s = "/bin/echo", .a = EXECVEAT_FD},
	{.name = "exec-loader", .fn = found, .s = "/lib64/ld-linux-x86-64.so.2", .c = 2},
	{.name = "exec-loader-fd", .fn = found, .s = "/lib64/ld-linux-x86-64.so.2", .c = 2, .a = EXECVEAT_FD},
	{.name = "exec-script-self", .fn = script, .t = "rw"}, {.name = "exec-script-tmp", .fn = script, .t = "/tmp"},
	{.name = "exec-script-shell", .fn = script, .s = "/bin/sh", .t = "rw"},
	{.name = "exec-vfork", .fn = by_name}, {.name = "exec-many", .fn = exec_race},
	{.name = "program-ran", .fn = ran},
	{0},
};
