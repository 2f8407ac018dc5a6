// Line 6: paths outside the view.
#include "hostile.h"
#include <dirent.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

enum { BY_OPEN, BY_STAT, BY_LIST, BY_ACCESS, BY_STATX, BY_READLINK, BY_OPENAT2, BY_STATFS, BY_CHDIR, BY_XATTR, BY_PATHFD, BY_TRUNC, BY_CREATE, BY_INOTIFY, BY_UTIME, BY_LINK, BY_RENAME };

static long by(int how, const char *p)
{
	static char buf[4096];
	static uint64_t oh[3];
	switch (how) {
	case BY_OPEN: return sc(SYS_openat, AT_FDCWD, p, O_RDONLY);
	case BY_STAT: return sc(SYS_newfstatat, AT_FDCWD, p, buf, 0);
	case BY_LIST: {
		long fd = sc(SYS_openat, AT_FDCWD, p, O_RDONLY | O_DIRECTORY);
		return fd < 0 ? fd : sc(SYS_getdents64, fd, buf, sizeof buf);
	}
	case BY_ACCESS: return sc(SYS_access, p, F_OK);
	case BY_STATX: return sc(SYS_statx, AT_FDCWD, p, 0, 0x7ff, buf);
	case BY_READLINK: return sc(SYS_readlink, p, buf, sizeof buf);
	case BY_OPENAT2: return sc(SYS_openat2, AT_FDCWD, p, oh, sizeof oh);
	case BY_STATFS: return sc(SYS_statfs, p, buf);
	case BY_CHDIR: return sc(SYS_chdir, p);
	case BY_XATTR: {
		long r = sc(SYS_listxattr, p, buf, sizeof buf);
		return r;
	}
	case BY_PATHFD: return sc(SYS_openat, AT_FDCWD, p, O_PATH);
	case BY_TRUNC: return sc(SYS_openat, AT_FDCWD, p, O_WRONLY);
	case BY_CREATE: return sc(SYS_openat, AT_FDCWD, p, O_WRONLY | O_CREAT, 0644);
	case BY_INOTIFY: {
		long fd = sc(SYS_inotify_init1, 0);
		return fd < 0 ? fd : sc(SYS_inotify_add_watch, fd, p, 0xfff);
	}
	case BY_UTIME: return sc(SYS_utimensat, AT_FDCWD, p, NULL, 0);
	case BY_LINK: return sc(SYS_linkat, AT_FDCWD, p, AT_FDCWD, path("rw", "linked"), 0);
	case BY_RENAME: return sc(SYS_renameat2, AT_FDCWD, p, AT_FDCWD, path("rw", "moved"), 0);
	}
	return -ENOSYS;
}

// secret uses way a on the outside file or (b) its directory.
static void secret(const struct act *a)
{
	const char *p = a->b ? arg("out") : path("out", "secret");
	attempt("%s %s", a->name, p);
	got(a->name, by(a->a, p));
}

// via goes to the same file around a corner.
enum { DOTDOT, DEEP_DOTDOT, SYMLINK, SELF_ROOT, ROOT_1, CWD_1, SELF_CWD, FD_DOTDOT, PROC_THREAD, RELATIVE, OLDROOT, FD_PROC, ROOTFD_DOTDOT, TASK_ROOT };
static void via(const struct act *a)
{
	static char p[8192];
	const char *out = arg("out");
	long fd, ret = -ENOENT;
	switch (a->a) {
	case DOTDOT: snprintf(p, sizeof p, "%s/../out/secret", arg("ro")); break;
	case DEEP_DOTDOT: snprintf(p, sizeof p, "%s/../../../../../../../../../..%s/secret", arg("rw"), out); break;
	case SYMLINK:
		snprintf(p, sizeof p, "%s", path("rw", "to-secret"));
		unlink(p);
		if (symlink(path("out", "secret"), p))
			broken("symlink: %s", strerror(errno));
		break;
	case SELF_ROOT: snprintf(p, sizeof p, "/proc/self/root%s/secret", out); break;
	case PROC_THREAD: snprintf(p, sizeof p, "/proc/thread-self/root%s/secret", out); break;
	case TASK_ROOT: snprintf(p, sizeof p, "/proc/1/task/1/root%s/secret", out); break;
	case ROOT_1: snprintf(p, sizeof p, "/proc/1/root%s/secret", out); break;
	case CWD_1: snprintf(p, sizeof p, "/proc/1/cwd/secret"); break;
	case SELF_CWD: snprintf(p, sizeof p, "/proc/self/cwd/secret"); break;
	case RELATIVE: snprintf(p, sizeof p, "secret"); break;
	case FD_PROC:
		fd = open(arg("ro"), O_PATH | O_DIRECTORY);
		snprintf(p, sizeof p, "/proc/self/fd/%ld/../out/secret", fd);
		break;
	case FD_DOTDOT:
		fd = open(arg("ro"), O_RDONLY | O_DIRECTORY);
		attempt("openat ../out/secret");
		got(a->name, sc(SYS_openat, fd, "../out/secret", O_RDONLY));
	case ROOTFD_DOTDOT:
		fd = open("/", O_RDONLY | O_DIRECTORY);
		snprintf(p, sizeof p, "..%s/secret", out);
		attempt("openat / %s", p);
		got(a->name, sc(SYS_openat, fd, p, O_RDONLY));
	case OLDROOT: {
		static const char *const names[] = {"/oldroot", "/.oldroot", "/old_root", "/.old", "/put_old", "/mnt", "/.pivot", "/host", "/newroot", "/tmp/oldroot", "/run/oldroot", "/.sbx", "/sbx"};
		attempt("%s", a->name);
		for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
			snprintf(p, sizeof p, "%s%s/secret", names[i], out);
			if ((ret = by(BY_OPEN, p)) >= 0)
				through("%s", p);
		}
		held("none of the usual old roots");
	}
	}
	attempt("open %s", p);
	got(a->name, by(BY_OPEN, p));
}

// every process's descriptors, root and cwd are tried as a way out.
static void proc_fds(const struct act *a)
{
	static char p[1024];
	const char *out = arg("out");
	int seen = 0;
	attempt("%s", a->name);
	for (int pid = 1; pid < 200; pid++)
		for (int fd = -2; fd < 64; fd++) {
			const char *what = fd == -2 ? "root" : fd == -1 ? "cwd" : NULL;
			char n[16];
			snprintf(n, sizeof n, "fd/%d", fd);
			snprintf(p, sizeof p, "/proc/%d/%s%s/secret", pid, what ? what : n, out);
			if (by(BY_STAT, p) >= 0)
				through("%s", p);
			snprintf(p, sizeof p, "/proc/%d/%s/../../../../../..%s/secret", pid, what ? what : n, out);
			if (by(BY_STAT, p) >= 0)
				through("%s", p);
			seen++;
		}
	held("%d tried", seen);
}

static void fhandle(const struct act *a)
{
	static struct { unsigned bytes; int type; unsigned char f[128]; } h;
	h.type = atoi(arg("htype"));
	h.bytes = hexbytes(arg("handle"), h.f, sizeof h.f);
	int fd = open(arg("ro"), O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		broken("open ro: %s", strerror(errno));
	attempt("open_by_handle_at");
	got(a->name, sc(SYS_open_by_handle_at, fd, &h, O_RDONLY));
}

// The classical way out of chroot: needs chroot.
static void chroot_escape(const struct act *a)
{
	(void)a;
	attempt("chroot");
	long r = sc(SYS_chroot, arg("rw"));
	if (r < 0)
		held("chroot: %ld", r);
	for (int i = 0; i < 64; i++)
		sc(SYS_chdir, "..");
	sc(SYS_chroot, ".");
	through("chroot");
}

// host paths that no minimal view needs
static void hostpath(const struct act *a)
{
	attempt("%s", a->s);
	got(a->s, by(a->a, a->s));
}

// The parent of the shown trees must show nothing but them.
static void parent_list(const struct act *a)
{
	(void)a;
	static char p[4096];
	snprintf(p, sizeof p, "%s/..", arg("ro"));
	attempt("list %s", p);
	DIR *d = opendir(p);
	if (!d)
		held("%s", strerror(errno));
	struct dirent *e;
	while ((e = readdir(d)))
		if (!strcmp(e->d_name, "out") || !strcmp(e->d_name, "policy.yaml"))
			through("%s is listed", e->d_name);
	held("only the shown trees");
}

// Creating something where the policy names nothing writable.
static void create_in(const struct act *a)
{
	static char p[4200];
	const char *dir = strcmp(a->s, "PARENT") ? a->s : argor("ro", "");
	snprintf(p, sizeof p, "%s/%ssbx-hostile", dir, strcmp(a->s, "PARENT") ? "" : "../");
	attempt("create %s", p);
	long r = sc(SYS_openat, AT_FDCWD, p, O_CREAT | O_WRONLY, 0644);
	if (r >= 0)
		through("created %s", p);
	long m = sc(SYS_mkdirat, AT_FDCWD, p, 0755);
	if (m >= 0)
		through("made %s", p);
	held("%s: %ld, %ld", p, r, m);
}

static void host_passwd(const struct act *a)
{
	static char buf[65536];
	(void)a;
	attempt("read /etc/passwd");
	long n = slurp("/etc/passwd", buf, sizeof buf);
	if (n < 0)
		held("%ld", n);
	if (strstr(buf, arg("hostuser")))
		through("the host's /etc/passwd is shown");
	held("an own /etc/passwd of %ld bytes", n);
}

#define S(n, w) {.name = "secret-" n, .fn = secret, .a = w}
#define D(n, w) {.name = "secret-dir-" n, .fn = secret, .a = w, .b = 1}
#define V(n, w) {.name = "via-" n, .fn = via, .a = w}
#define C(n, p) {.name = "create-in-" n, .fn = create_in, .s = p}
#define H(n, p) {.name = "host-" n, .fn = hostpath, .a = BY_STAT, .s = p}
const struct act acts_files[] = {
	S("open", BY_OPEN), S("stat", BY_STAT), S("access", BY_ACCESS), S("statx", BY_STATX),
	S("openat2", BY_OPENAT2), S("statfs", BY_STATFS), S("xattr", BY_XATTR), S("path-fd", BY_PATHFD),
	S("write", BY_TRUNC), S("inotify", BY_INOTIFY), S("utime", BY_UTIME), S("link", BY_LINK), S("rename", BY_RENAME),
	D("list", BY_LIST), D("chdir", BY_CHDIR), D("stat", BY_STAT),
	V("dotdot", DOTDOT), V("deep-dotdot", DEEP_DOTDOT), V("symlink", SYMLINK), V("self-root", SELF_ROOT),
	V("init-root", ROOT_1), V("init-cwd", CWD_1), V("self-cwd", SELF_CWD), V("fd-dotdot", FD_DOTDOT),
	V("thread-root", PROC_THREAD), V("relative", RELATIVE), V("oldroot", OLDROOT), V("proc-fd", FD_PROC),
	V("rootfd-dotdot", ROOTFD_DOTDOT), V("task-root", TASK_ROOT),
	{.name = "via-all-proc-fds", .fn = proc_fds},
	{.name = "via-file-handle", .fn = fhandle},
	{.name = "chroot-escape", .fn = chroot_escape},
	{.name = "parent-list", .fn = parent_list},
	C("root", "/"), C("etc", "/etc"), C("usr", "/usr"), C("usr-bin", "/usr/bin"), C("dev", "/dev"),
	C("pts", "/dev/pts"), C("proc", "/proc"), C("run", "/run"), C("var", "/var"), C("home", "/home"),
	C("parent", "PARENT"), C("var-tmp", "/var/tmp"), C("sys", "/sys"), C("bundle", "/sbx"),
	H("home", "/home"), H("root", "/root"), H("boot", "/boot"), H("srv", "/srv"),
	H("shadow", "/etc/shadow"), H("ssh", "/etc/ssh"), H("log", "/var/log"), H("lib-dpkg", "/var/lib/dpkg"),
	H("crontab", "/etc/crontab"), H("sudoers", "/etc/sudoers"), H("run-lock", "/run/lock"), H("fstab", "/etc/fstab"),
	{.name = "host-passwd", .fn = host_passwd},
	{0},
};
