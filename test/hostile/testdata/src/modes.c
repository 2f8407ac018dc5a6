// Line 3: what a program can leave in a shared writable tree that counts
// outside. The driver looks at the tree again after each act.
#include "hostile.h"
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

#define SUID 04755
#define DEVICE(major, minor) ((major) << 8 | (minor))

static const char *fresh(const char *name)
{
	const char *p = path("rw", name);
	int fd = open(p, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0755);
	if (fd < 0)
		broken("create %s: %s", p, strerror(errno));
	if (write(fd, "#!/bin/sh\n", 10) != 10)
		broken("write: %s", strerror(errno));
	close(fd);
	return p;
}

static _Noreturn void judge(const char *what, const char *p, long ret)
{
	struct stat st;
	if (!lstat(p, &st)) {
		if (st.st_mode & 06000)
			through("%s: mode 0%o", what, st.st_mode);
		if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
			through("%s: device node", what);
		if (ret >= 0 && st.st_uid == 0)
			through("%s: owner 0", what);
	}
	held("%s: %ld", what, ret);
}

enum { CHMOD, FCHMOD, FCHMODAT, FCHMODAT2, FCHMODAT2_EMPTY, CHMOD_PROC, CHMOD_HI, SGID_ONLY, CHMOD32 };
static void chmod_suid(const struct act *a)
{
	static char p[4096], proc[64];
	snprintf(p, sizeof p, "%s", fresh(a->name));
	int fd = open(p, O_RDONLY | O_CLOEXEC);
	long ret = -1;
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	attempt("%s", a->name);
	switch (a->a) {
	case CHMOD: ret = sc(SYS_chmod, p, SUID); break;
	case FCHMOD: ret = sc(SYS_fchmod, fd, SUID); break;
	case FCHMODAT: ret = sc(SYS_fchmodat, AT_FDCWD, p, SUID); break;
	case FCHMODAT2: ret = sc(452, AT_FDCWD, p, SUID, 0); break;
	case FCHMODAT2_EMPTY: ret = sc(452, fd, "", SUID, AT_EMPTY_PATH); break;
	case CHMOD_PROC: ret = sc(SYS_chmod, proc, SUID); break;
	case CHMOD_HI: ret = sc(SYS_chmod, p, HIGH | 0x10000 | SUID); break;
	case SGID_ONLY: ret = sc(SYS_chmod, p, 02755); break;
	case CHMOD32: ret = i386(15, p, SUID); break;
	}
	judge(a->name, p, ret);
}

enum { OPEN, OPENAT, CREAT, OPENAT2, TMPFILE, MKDIR, MKDIRAT, MKNOD, MKNODAT, OPEN_HI, OPEN_OLD };
static void create_suid(const struct act *a)
{
	static uint64_t how[3] = {O_CREAT | O_WRONLY, SUID, 0};
	static char proc[64];
	const char *p = path("rw", a->name);
	long ret = -1, fd;
	sc(SYS_unlink, p);
	attempt("%s", a->name);
	switch (a->a) {
	case OPEN: ret = sc(SYS_open, p, O_CREAT | O_WRONLY, SUID); break;
	case OPEN_HI: ret = sc(SYS_open, p, HIGH | O_CREAT | O_WRONLY, HIGH | SUID); break;
	case OPEN_OLD: ret = sc(SYS_openat, AT_FDCWD, p, O_CREAT | O_EXCL | O_RDONLY, 06777); break;
	case OPENAT: ret = sc(SYS_openat, AT_FDCWD, p, O_CREAT | O_WRONLY, SUID); break;
	case CREAT: ret = sc(SYS_creat, p, SUID); break;
	case OPENAT2: ret = sc(SYS_openat2, AT_FDCWD, p, how, sizeof how); break;
	case TMPFILE:
		fd = sc(SYS_openat, AT_FDCWD, arg("rw"), O_TMPFILE | O_WRONLY, SUID);
		snprintf(proc, sizeof proc, "/proc/self/fd/%ld", fd);
		ret = fd < 0 ? fd : sc(SYS_linkat, AT_FDCWD, proc, AT_FDCWD, p, AT_SYMLINK_FOLLOW);
		break;
	case MKDIR: ret = sc(SYS_mkdir, p, 06777); break;
	case MKDIRAT: ret = sc(SYS_mkdirat, AT_FDCWD, p, 06777); break;
	case MKNOD: ret = sc(SYS_mknod, p, S_IFREG | SUID, 0); break;
	case MKNODAT: ret = sc(SYS_mknodat, AT_FDCWD, p, S_IFREG | SUID, 0); break;
	}
	judge(a->name, p, ret);
}

static void device(const struct act *a)
{
	const char *p = path("rw", a->name);
	attempt("%s", a->name);
	long ret = a->c ? sc(SYS_mknodat, AT_FDCWD, p, a->a | 0666, a->b)
			: sc(SYS_mknod, p, a->a | 0666, a->b);
	if (ret >= 0)
		through("%s: device node made", a->name);
	held("%s: %ld", a->name, ret);
}

// whiteout leaves a device node (0/0) where a renamed file was, without mknod.
static void whiteout(const struct act *a)
{
	const char *p = fresh(a->name), *to = path("rw", "whiteout-to");
	attempt("%s", a->name);
	long ret = sc(SYS_renameat2, AT_FDCWD, p, AT_FDCWD, to, 4);
	struct stat st;
	if (ret >= 0 && !lstat(p, &st) && S_ISCHR(st.st_mode))
		through("%s: device node made", a->name);
	held("%s: %ld", a->name, ret);
}

static void xattr(const struct act *a)
{
	// vfs_cap_data revision 2: cap_sys_admin permitted and effective; the
	// third revision carries a root id.
	static struct { uint32_t magic, d[4], root; } cap = {0x02000001, {1 << 21, 0, 0, 0}, 0};
	static struct { uint64_t value; uint32_t size, flags; } xa;
	size_t n = 20;
	const char *p = fresh(a->name);
	if (a->b) {
		cap.magic = 0x03000001;
		n = 24;
	}
	attempt("setxattr %s", a->s);
	if (a->a) {
		xa.value = (uint64_t)&cap;
		xa.size = n;
		got(a->name, sc(463, AT_FDCWD, p, 0, a->s, &xa, sizeof xa));
	}
	got(a->name, sc(SYS_setxattr, p, a->s, &cap, n, 0));
}

static void fsflags(const struct act *a)
{
	static int flags = FS_IMMUTABLE_FL;
	static struct fsxattr fx = {.fsx_xflags = FS_XFLAG_IMMUTABLE};
	static uint64_t fa[3] = {FS_XFLAG_IMMUTABLE};
	static struct fsxattr proj = {.fsx_projid = 4711, .fsx_xflags = FS_XFLAG_PROJINHERIT};
	const char *p = fresh(a->name);
	int fd = open(p, O_RDONLY | O_CLOEXEC);
	if (a->a == 3)
		flags = FS_APPEND_FL;
	attempt("%s", a->name);
	switch (a->a) {
	case 0: case 3: got(a->name, sc(SYS_ioctl, fd, FS_IOC_SETFLAGS, &flags));
	case 1: got(a->name, sc(SYS_ioctl, fd, FS_IOC_FSSETXATTR, &fx));
	case 2: got(a->name, sc(469, AT_FDCWD, p, fa, sizeof fa, 0));
	case 4: got(a->name, sc(SYS_ioctl, fd, FS_IOC_FSSETXATTR, &proj));
	}
}

static void chown_zero(const struct act *a)
{
	const char *p = fresh(a->name);
	int fd = open(p, O_RDONLY | O_CLOEXEC);
	long ret = -1;
	attempt("%s", a->name);
	switch (a->a) {
	case 0: ret = sc(SYS_chown, p, 0, 0); break;
	case 1: ret = sc(SYS_fchown, fd, 0, 0); break;
	case 2: ret = sc(SYS_fchownat, AT_FDCWD, p, 0, 0, 0); break;
	case 3: ret = sc(SYS_lchown, p, 0, 0); break;
	case 4: ret = sc(SYS_chown, p, 65534, 65534); break;
	}
	if (ret >= 0)
		through("%s: %ld", a->name, ret);
	held("%s: %ld", a->name, ret);
}

// A set-user-id file of root that lies in the tree already is linked,
// changed or written without losing the bit.
static void suid_existing(const struct act *a)
{
	const char *p = path("rw", "suid-root"), *q = path("rw", a->name);
	long ret = -1;
	attempt("%s", a->name);
	switch (a->a) {
	case 0: ret = sc(SYS_link, path("ro", "suid-root"), q); break;
	case 1: ret = sc(SYS_open, p, O_WRONLY); break;
	case 2: ret = sc(SYS_truncate, p, 0); break;
	case 3: ret = sc(SYS_chmod, p, 04777); break;
	case 4: ret = sc(SYS_linkat, AT_FDCWD, path("ro", "suid-root"), AT_FDCWD, q, AT_SYMLINK_FOLLOW); break;
	}
	got(a->name, ret);
}

static void rootfile(const struct act *a)
{
	attempt("%s", a->name);
	switch (a->a) {
	case 0: got(a->name, sc(SYS_open, path("ro", "rootonly"), O_RDONLY));
	case 1: got(a->name, sc(SYS_open, path("rw", "rootfile"), O_WRONLY));
	case 2: got(a->name, sc(SYS_chmod, path("rw", "rootfile"), 0666));
	case 3: got(a->name, sc(SYS_open, path("rw", "rootdir/new"), O_CREAT | O_WRONLY, 0644));
	case 4: got(a->name, sc(SYS_open, path("rw", "rootonly"), O_RDONLY));
	}
}

const struct act acts_modes[] = {
	{.name = "chmod-suid", .fn = chmod_suid, .a = CHMOD},
	{.name = "fchmod-suid", .fn = chmod_suid, .a = FCHMOD},
	{.name = "fchmodat-suid", .fn = chmod_suid, .a = FCHMODAT},
	{.name = "fchmodat2-suid", .fn = chmod_suid, .a = FCHMODAT2},
	{.name = "fchmodat2-empty-suid", .fn = chmod_suid, .a = FCHMODAT2_EMPTY},
	{.name = "chmod-procfd-suid", .fn = chmod_suid, .a = CHMOD_PROC},
	{.name = "chmod-stray-suid", .fn = chmod_suid, .a = CHMOD_HI},
	{.name = "chmod-sgid", .fn = chmod_suid, .a = SGID_ONLY},
	{.name = "chmod-i386-suid", .fn = chmod_suid, .a = CHMOD32},
	{.name = "open-suid", .fn = create_suid, .a = OPEN},
	{.name = "open-stray-suid", .fn = create_suid, .a = OPEN_HI},
	{.name = "openat-sgid", .fn = create_suid, .a = OPEN_OLD},
	{.name = "openat-suid", .fn = create_suid, .a = OPENAT},
	{.name = "creat-suid", .fn = create_suid, .a = CREAT},
	{.name = "openat2-suid", .fn = create_suid, .a = OPENAT2},
	{.name = "tmpfile-suid", .fn = create_suid, .a = TMPFILE},
	{.name = "mkdir-sgid", .fn = create_suid, .a = MKDIR},
	{.name = "mkdirat-sgid", .fn = create_suid, .a = MKDIRAT},
	{.name = "mknod-suid", .fn = create_suid, .a = MKNOD},
	{.name = "mknodat-suid", .fn = create_suid, .a = MKNODAT},
	{.name = "mknod-block", .fn = device, .a = S_IFBLK, .b = DEVICE(254, 0)},
	{.name = "mknod-mem", .fn = device, .a = S_IFCHR, .b = DEVICE(1, 1)},
	{.name = "mknodat-kmsg", .fn = device, .a = S_IFCHR, .b = DEVICE(1, 11), .c = 1},
	{.name = "rename-whiteout", .fn = whiteout},
	{.name = "mknod-whiteout", .fn = device, .a = S_IFCHR, .b = 0},
	{.name = "xattr-capability", .fn = xattr, .s = "security.capability"},
	{.name = "xattr-capability-v3", .fn = xattr, .s = "security.capability", .b = 1},
	{.name = "xattrat-capability", .fn = xattr, .s = "security.capability", .a = 1},
	{.name = "xattr-trusted", .fn = xattr, .s = "trusted.overlay.opaque"},
	{.name = "immutable-setflags", .fn = fsflags, .a = 0},
	{.name = "immutable-fssetxattr", .fn = fsflags, .a = 1},
	{.name = "immutable-file-setattr", .fn = fsflags, .a = 2},
	{.name = "append-only-setflags", .fn = fsflags, .a = 3},
	{.name = "project-id", .fn = fsflags, .a = 4},
	{.name = "chown-root", .fn = chown_zero, .a = 0},
	{.name = "fchown-root", .fn = chown_zero, .a = 1},
	{.name = "fchownat-root", .fn = chown_zero, .a = 2},
	{.name = "lchown-root", .fn = chown_zero, .a = 3},
	{.name = "chown-nobody", .fn = chown_zero, .a = 4},
	{.name = "link-suid-root", .fn = suid_existing, .a = 0},
	{.name = "write-suid-root", .fn = suid_existing, .a = 1},
	{.name = "truncate-suid-root", .fn = suid_existing, .a = 2},
	{.name = "chmod-suid-root", .fn = suid_existing, .a = 3},
	{.name = "linkat-suid-root", .fn = suid_existing, .a = 4},
	{.name = "read-root-0600", .fn = rootfile, .a = 0},
	{.name = "read-root-0600-rw", .fn = rootfile, .a = 4},
	{.name = "write-root-0644", .fn = rootfile, .a = 1},
	{.name = "chmod-root-file", .fn = rootfile, .a = 2},
	{.name = "create-in-root-dir", .fn = rootfile, .a = 3},
	{0},
};
