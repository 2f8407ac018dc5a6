// Lines 20 to 22: what comes over from the caller.
#include "hostile.h"
#include <dirent.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

// fd: descriptor a is open. The wrapper +inherit puts one of each kind at
// a fixed number.
static void fd(const struct act *a)
{
	attempt("descriptor %ld", a->a);
	long r = sc(SYS_fcntl, a->a, F_GETFD, 0);
	if (r >= 0)
		through("%s: descriptor %ld is open", a->name, a->a);
	held("descriptor %ld: %ld", a->a, r);
}

static void fd_any(const struct act *a)
{
	attempt("descriptors from 3");
	for (long n = 3; n < a->a; n++)
		if (sc(SYS_fcntl, n, F_GETFD, 0) >= 0)
			through("descriptor %ld is open", n);
	held("none below %ld", a->a);
}

static void fd_proc(const struct act *a)
{
	(void)a;
	attempt("list /proc/self/fd");
	DIR *d = opendir("/proc/self/fd");
	if (!d)
		held("%s", strerror(errno));
	struct dirent *e;
	while ((e = readdir(d)))
		if (e->d_name[0] != '.' && atoi(e->d_name) > 2 && atoi(e->d_name) != dirfd(d))
			through("/proc/self/fd/%s", e->d_name);
	held("0, 1, 2");
}

// use: what an inherited directory descriptor is good for.
static void fd_use(const struct act *a)
{
	attempt("%s", a->name);
	got(a->name, sc(SYS_openat, a->a, a->s, O_RDONLY));
}

static void stdin_dir(const struct act *a)
{
	attempt("openat(0)");
	got(a->name, sc(SYS_openat, 0, a->s, O_RDONLY));
}

// standard output is a file of the caller's, opened for appending.
static void stdout_file(const struct act *a)
{
	attempt("%s", a->name);
	switch (a->a) {
	case 0: got(a->name, sc(SYS_ftruncate, 1, 0));
	case 1:
		sc(SYS_openat, AT_FDCWD, "/proc/self/fd/1", O_RDWR | O_TRUNC | O_NONBLOCK);
		held("the driver looks at the file");
	case 2: {
		long r = sc(SYS_pwrite64, 1, "hostile", 7, 0);
		got(a->name, r);
	}
	case 3: // without O_APPEND the next write goes to the front
		sc(SYS_fcntl, 1, F_SETFL, 0);
		sc(SYS_lseek, 1, 0, SEEK_SET);
		held("the driver looks at the file");
	}
}

static void env_name(const struct act *a)
{
	attempt("getenv");
	for (char **e = environ; *e; e++)
		if (strstr(*e, a->s))
			through("%s is in the environment", *e);
	held("not in the environment");
}

// every process's file s is searched for text.
static void proc_search(const struct act *a)
{
	static char p[64], buf[1 << 20];
	const char *needle = argor(a->t, a->t);
	int n = 0;
	attempt("/proc/*/%s", a->s);
	DIR *d = opendir("/proc");
	struct dirent *e;
	while (d && (e = readdir(d))) {
		int pid = atoi(e->d_name);
		if (pid <= 0 || (pid == getpid() && a->a))
			continue;
		snprintf(p, sizeof p, "/proc/%d/%s", pid, a->s);
		long len = slurp(p, buf, sizeof buf);
		if (len > 0 && memmem(buf, len, needle, strlen(needle)))
			through("%s shows %s", p, needle);
		n += len > 0;
	}
	held("%d files without it", n);
}

static void state(const struct act *a)
{
	static char buf[4096];
	static struct rlimit l;
	static struct sigaction s;
	static sigset_t set;
	attempt("%s", a->name);
	long r;
	switch (a->a) {
	case 0:
		if (getcwd(buf, sizeof buf) && strstr(buf, arg("out")))
			through("working directory %s", buf);
		held("working directory %s", buf);
	case 1:
		r = umask(022);
		if (r != 022)
			through("umask %03lo", r);
		held("umask 022");
	case 2:
		sc(SYS_rt_sigprocmask, 0, NULL, &set, 8);
		for (int i = 1; i < 65; i++)
			if (sigismember(&set, i) == 1)
				through("signal %d is blocked", i);
		held("nothing blocked");
	case 3:
		for (int i = 1; i < 65; i++) {
			if (i == 32 || i == 33 || sigaction(i, NULL, &s))
				continue;
			if (s.sa_handler == SIG_IGN)
				through("signal %d is ignored", i);
		}
		held("nothing ignored");
	case 4:
		sc(SYS_prlimit64, 0, RLIMIT_CORE, NULL, &l);
		if (l.rlim_max)
			through("core limit %lu", l.rlim_max);
		held("core limit 0, hard");
	case 5:
		if (sc(SYS_getsid, 0) == 0)
			through("the session is the caller's");
		held("session %ld", sc(SYS_getsid, 0));
	case 6:
		if (sc(SYS_getpgid, 0) == 0)
			through("the process group is the caller's");
		held("process group %ld", sc(SYS_getpgid, 0));
	case 7:
		r = sc(SYS_personality, 0xffffffff);
		if (r > 0)
			through("personality 0x%lx", r);
		held("personality %ld", r);
	case 8:
		r = sc(SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0);
		if (r == 123456)
			through("timer slack %ld", r);
		held("timer slack %ld", r);
	case 9:
		if (slurp("/proc/self/stat", buf, sizeof buf) > 0) {
			char *p = strrchr(buf, ')');
			int ppid, pgrp, session, tty;
			if (p && sscanf(p + 1, " %*c %d %d %d %d", &ppid, &pgrp, &session, &tty) == 4 && tty)
				through("controlling terminal %d", tty);
		}
		held("no controlling terminal");
	case 10:
		if (slurp("/proc/self/status", buf, sizeof buf) > 0) {
			char *p = strstr(buf, "SigPnd:");
			char *q = strstr(buf, "ShdPnd:");
			if ((p && strtoull(p + 7, NULL, 16)) || (q && strtoull(q + 7, NULL, 16)))
				through("pending signals");
		}
		held("nothing pending");
	}
}

// The wrapper's descriptors; keep in step with wrap.c.
#define FD(n, k) {.name = "fd-" n, .fn = fd, .a = k}
const struct act acts_inherit[] = {
	FD("file", 3), FD("dir", 9), FD("root-path", 10), FD("socket", 11), FD("listener", 12), FD("pidfd", 13), FD("netns", 14),
	FD("mntns", 15), FD("userns", 16), FD("epoll", 17), FD("memfd", 18), FD("pty-master", 19), FD("eventfd", 20), FD("pipe", 21),
	FD("1000", 1000), FD("1024", 1024), FD("1500", 1500), FD("4095", 4095), FD("19000", 19000),
	{.name = "fd-any", .fn = fd_any, .a = 70000},
	{.name = "fd-proc", .fn = fd_proc},
	{.name = "fd-dir-dotdot", .fn = fd_use, .a = 9, .s = "secret"},
	{.name = "fd-root-etc", .fn = fd_use, .a = 10, .s = "etc/passwd"},
	{.name = "fd-high-dir", .fn = fd_use, .a = 1500, .s = "secret"},
	{.name = "stdin-dir", .fn = stdin_dir, .s = "secret"},
	{.name = "stdin-dir-dotdot", .fn = stdin_dir, .s = "../out/secret"},
	{.name = "stdout-ftruncate", .fn = stdout_file, .a = 0}, {.name = "stdout-reopen", .fn = stdout_file, .a = 1},
	{.name = "stdout-pwrite", .fn = stdout_file, .a = 2}, {.name = "stdout-lseek", .fn = stdout_file, .a = 3},
	{.name = "env-secret", .fn = env_name, .s = "HOSTILE_SECRET"}, {.name = "env-ld-preload", .fn = env_name, .s = "LD_PRELOAD"},
	{.name = "env-home", .fn = env_name, .s = "XDG_STATE_HOME"}, {.name = "env-sudo", .fn = env_name, .s = "SUDO_USER"},
	{.name = "env-ssh", .fn = env_name, .s = "SSH_AUTH_SOCK"}, {.name = "env-path", .fn = env_name, .s = "/hostile-path"},
	{.name = "environ-everywhere", .fn = proc_search, .s = "environ", .t = "HOSTILE_SECRET"},
	{.name = "cmdline-policy", .fn = proc_search, .s = "cmdline", .t = "policy.yaml", .a = 1},
	{.name = "cmdline-flags", .fn = proc_search, .s = "cmdline", .t = "--policy", .a = 1},
	{.name = "cwd-inherited", .fn = state, .a = 0}, {.name = "umask-inherited", .fn = state, .a = 1},
	{.name = "mask-inherited", .fn = state, .a = 2}, {.name = "ignored-inherited", .fn = state, .a = 3},
	{.name = "core-limit", .fn = state, .a = 4}, {.name = "session-inherited", .fn = state, .a = 5},
	{.name = "group-inherited", .fn = state, .a = 6}, {.name = "personality-inherited", .fn = state, .a = 7},
	{.name = "timerslack-inherited", .fn = state, .a = 8}, {.name = "ctty-inherited", .fn = state, .a = 9},
	{.name = "pending-inherited", .fn = state, .a = 10},
	{0},
};
