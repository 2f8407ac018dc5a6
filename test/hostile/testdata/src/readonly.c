// Lines 7 and 8: a read-only tree, with a mount below it, stays read-only;
// what a mount hides stays hidden.
#include "hostile.h"
#include <linux/fs.h>
#include <linux/mount.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/xattr.h>

enum { WRITE, TRUNC, RDWR, CREATE, UNLINK, RENAME, RENAME_OUT, MKDIR, RMDIR, CHMOD, CHOWN, UTIME, SETXATTR, TRUNCATE, SYMLINK, LINK, MKFIFO, TMPFILE, EXCHANGE, REOPEN, REOPEN_PATH, FCHMOD, FD_CHMOD, LINK_OUT, LINK_FD, RENAME_IN, FALLOC, CLONE, DEDUPE, SETFLAGS, MAPSHARED, APPEND, OPENAT2, FUTIME };

static long change(int how, const char *dir)
{
	static char f[4200], g[4200], d[4200], proc[64];
	static uint64_t oh[3] = {O_WRONLY, 0, 0};
	snprintf(f, sizeof f, "%s/file", dir);
	snprintf(g, sizeof g, "%s/new", dir);
	snprintf(d, sizeof d, "%s/dir", dir);
	long fd = sc(SYS_openat, AT_FDCWD, f, O_RDONLY);
	if (fd < 0)
		broken("%s cannot be read: %ld", f, fd);
	snprintf(proc, sizeof proc, "/proc/self/fd/%ld", fd);
	attempt("change %d below %s", how, dir);
	switch (how) {
	case WRITE: return sc(SYS_openat, AT_FDCWD, f, O_WRONLY);
	case TRUNC: return sc(SYS_openat, AT_FDCWD, f, O_RDONLY | O_TRUNC);
	case RDWR: return sc(SYS_openat, AT_FDCWD, f, O_RDWR);
	case APPEND: return sc(SYS_open, f, O_WRONLY | O_APPEND);
	case OPENAT2: return sc(SYS_openat2, AT_FDCWD, f, oh, sizeof oh);
	case CREATE: return sc(SYS_openat, AT_FDCWD, g, O_WRONLY | O_CREAT, 0644);
	case UNLINK: return sc(SYS_unlinkat, AT_FDCWD, f, 0);
	case RENAME: return sc(SYS_rename, f, g);
	case RENAME_OUT: return sc(SYS_rename, f, path("rw", "taken"));
	case RENAME_IN: return sc(SYS_rename, path("rw", "plain"), f);
	case EXCHANGE: return sc(SYS_renameat2, AT_FDCWD, f, AT_FDCWD, d, 2);
	case MKDIR: return sc(SYS_mkdirat, AT_FDCWD, g, 0755);
	case RMDIR: return sc(SYS_unlinkat, AT_FDCWD, d, AT_REMOVEDIR);
	case CHMOD: return sc(SYS_chmod, f, 0600);
	case FCHMOD: return sc(SYS_fchmod, fd, 0600);
	case FD_CHMOD: return sc(SYS_chmod, proc, 0600);
	case CHOWN: return sc(SYS_fchown, fd, getuid(), -1);
	case UTIME: return sc(SYS_utimensat, AT_FDCWD, f, NULL, 0);
	case FUTIME: return sc(SYS_utimensat, fd, NULL, NULL, 0);
	case SETXATTR: return sc(SYS_setxattr, f, "user.sbx", "1", 1, 0);
	case TRUNCATE: return sc(SYS_truncate, f, 0);
	case SYMLINK: return sc(SYS_symlinkat, "x", AT_FDCWD, g);
	case LINK: return sc(SYS_linkat, AT_FDCWD, f, AT_FDCWD, g, 0);
	case LINK_OUT: return sc(SYS_linkat, AT_FDCWD, f, AT_FDCWD, path("rw", "linked-out"), 0);
	case LINK_FD: return sc(SYS_linkat, AT_FDCWD, proc, AT_FDCWD, path("rw", "linked-fd"), AT_SYMLINK_FOLLOW);
	case MKFIFO: return sc(SYS_mknodat, AT_FDCWD, g, S_IFIFO | 0644, 0);
	case TMPFILE: return sc(SYS_openat, AT_FDCWD, dir, O_TMPFILE | O_WRONLY, 0600);
	case REOPEN: return sc(SYS_openat, AT_FDCWD, proc, O_WRONLY);
	case REOPEN_PATH:
		fd = sc(SYS_openat, AT_FDCWD, f, O_PATH);
		snprintf(proc, sizeof proc, "/proc/self/fd/%ld", fd);
		return sc(SYS_openat, AT_FDCWD, proc, O_RDWR);
	case FALLOC: return sc(SYS_fallocate, fd, 0, 0, 4096);
	case CLONE: return sc(SYS_ioctl, fd, FICLONE, fd);
	case DEDUPE: return sc(SYS_copy_file_range, fd, NULL, fd, NULL, 1, 0);
	case SETFLAGS: {
		static int fl = FS_NOATIME_FL;
		return sc(SYS_ioctl, fd, FS_IOC_SETFLAGS, &fl);
	}
	case MAPSHARED: return sc(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	return -ENOSYS;
}

static void ro(const struct act *a)
{
	got(a->name, change(a->a, arg("ro")));
}

static void sub(const struct act *a)
{
	got(a->name, change(a->a, path("ro", "sub")));
}

// A view's own read-only trees: /usr and /etc.
static void fixed(const struct act *a)
{
	attempt("open %s", a->s);
	got(a->name, sc(SYS_openat, AT_FDCWD, a->s, a->a | O_WRONLY, 0644));
}

static void remount(const struct act *a)
{
	static struct mount_attr at = {.attr_clr = MOUNT_ATTR_RDONLY};
	const char *p = a->b ? path("ro", "sub") : a->s ? a->s : arg("ro");
	long fd, r = -ENOSYS;
	attempt("%s", a->name);
	switch (a->a) {
	case 0: r = sc(SYS_mount, NULL, p, NULL, MS_REMOUNT | MS_BIND, NULL); break;
	case 1: r = sc(SYS_mount, NULL, p, NULL, MS_REMOUNT, NULL); break;
	case 2: r = sc(SYS_mount_setattr, AT_FDCWD, p, 0, &at, sizeof at); break;
	case 3: r = sc(SYS_mount_setattr, AT_FDCWD, p, AT_RECURSIVE, &at, sizeof at); break;
	case 4:
		fd = sc(SYS_open_tree, AT_FDCWD, p, OPEN_TREE_CLONE);
		r = fd < 0 ? fd : sc(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &at, sizeof at);
		break;
	case 5:
		fd = sc(SYS_fspick, AT_FDCWD, p, 0);
		if ((r = fd) >= 0) {
			sc(SYS_fsconfig, fd, 0, "rw", NULL, 0);
			r = sc(SYS_fsconfig, fd, 7, NULL, NULL, 0);
		}
		break;
	case 6: r = sc(SYS_umount2, p, MNT_DETACH); break;
	case 7: r = sc(SYS_mount, p, arg("rw"), NULL, MS_BIND | MS_REC, NULL); break;
	case 8: r = sc(467, AT_FDCWD, p, OPEN_TREE_CLONE, &at, sizeof at); break;
	case 9: r = sc(SYS_mount, "none", arg("rw"), "tmpfs", 0, NULL); break;
	case 10: r = sc(SYS_mount, NULL, "/", NULL, MS_SHARED | MS_REC, NULL); break;
	case 11: r = i386(21, 0, p, 0, MS_REMOUNT | MS_BIND, 0); break; // static paths only
	}
	got(a->name, r);
}

// A file below the sub-mount's mount point must not appear.
static void hidden(const struct act *a)
{
	(void)a;
	attempt("open sub/beneath");
	got(a->name, sc(SYS_openat, AT_FDCWD, path("ro", "sub/beneath"), O_RDONLY));
}

// A mount made by the host after the start must not arrive.
static void late_mount(const struct act *a)
{
	(void)a;
	say("READY");
	attempt("watch late/appeared");
	for (int i = 0; i < 60; i++) {
		if (sc(SYS_access, path("ro", "late/appeared"), F_OK) >= 0)
			through("the host's new mount is visible");
		sleep_ms(50);
	}
	held("nothing arrived");
}

// A FIFO of the host in a read-only tree: a read-only mount does not stop
// opening it for writing.
static void fifo(const struct act *a)
{
	attempt("open fifo");
	long fd = sc(SYS_openat, AT_FDCWD, path("ro", "fifo"), a->a | O_NONBLOCK);
	if (fd < 0)
		held("fifo: %ld", fd);
	if (a->a == O_WRONLY)
		(void)!write(fd, "hostile", 7);
	through("the host's fifo opened");
}

// A device node in a shown tree does nothing there.
static void device_in_tree(const struct act *a)
{
	attempt("open %s", a->t);
	got(a->name, sc(SYS_openat, AT_FDCWD, path(a->s, a->t), O_RDONLY));
}

#define BOTH(n, w) {.name = "ro-" n, .fn = ro, .a = w}, {.name = "ro-sub-" n, .fn = sub, .a = w}
#define ONE(n, w) {.name = "ro-" n, .fn = ro, .a = w}
const struct act acts_readonly[] = {
	BOTH("write", WRITE), BOTH("truncate-open", TRUNC), BOTH("rdwr", RDWR), BOTH("append", APPEND),
	BOTH("create", CREATE), BOTH("unlink", UNLINK), BOTH("rename", RENAME), BOTH("mkdir", MKDIR),
	BOTH("rmdir", RMDIR), BOTH("chmod", CHMOD), BOTH("utime", UTIME), BOTH("setxattr", SETXATTR),
	BOTH("truncate", TRUNCATE), BOTH("symlink", SYMLINK), BOTH("link", LINK), BOTH("mkfifo", MKFIFO),
	BOTH("tmpfile", TMPFILE), BOTH("exchange", EXCHANGE), BOTH("reopen-procfd", REOPEN),
	BOTH("reopen-path-fd", REOPEN_PATH), BOTH("fchmod", FCHMOD), BOTH("chmod-procfd", FD_CHMOD),
	BOTH("futime", FUTIME), BOTH("link-out", LINK_OUT), BOTH("link-fd-out", LINK_FD),
	ONE("rename-out", RENAME_OUT), ONE("rename-in", RENAME_IN), ONE("chown", CHOWN), ONE("fallocate", FALLOC),
	ONE("clone-range", CLONE), ONE("copy-range", DEDUPE), ONE("setflags", SETFLAGS), ONE("map-shared", MAPSHARED),
	ONE("openat2", OPENAT2),
	{.name = "ro-usr-write", .fn = fixed, .s = "/usr/bin/env"},
	{.name = "ro-usr-create", .fn = fixed, .s = "/usr/lib/sbx-hostile", .a = O_CREAT},
	{.name = "ro-etc-write", .fn = fixed, .s = "/etc/passwd"},
	{.name = "remount-bind", .fn = remount, .a = 0},
	{.name = "remount-super", .fn = remount, .a = 1},
	{.name = "mount-setattr", .fn = remount, .a = 2},
	{.name = "mount-setattr-recursive", .fn = remount, .a = 3},
	{.name = "open-tree-setattr", .fn = remount, .a = 4},
	{.name = "fspick-reconfigure", .fn = remount, .a = 5},
	{.name = "umount-tree", .fn = remount, .a = 6},
	{.name = "umount-sub", .fn = remount, .a = 6, .b = 1},
	{.name = "mount-bind", .fn = remount, .a = 7},
	{.name = "open-tree-attr", .fn = remount, .a = 8},
	{.name = "mount-tmpfs", .fn = remount, .a = 9},
	{.name = "mount-shared", .fn = remount, .a = 10},
	{.name = "remount-root", .fn = remount, .a = 0, .s = "/"},
	{.name = "remount-proc", .fn = remount, .a = 0, .s = "/proc"},
	{.name = "umount-proc", .fn = remount, .a = 6, .s = "/proc"},
	{.name = "remount-i386", .fn = remount, .a = 11, .s = "/"},
	{.name = "hidden-beneath", .fn = hidden},
	{.name = "late-mount", .fn = late_mount},
	{.name = "ro-fifo-write", .fn = fifo, .a = O_WRONLY},
	{.name = "ro-fifo-read", .fn = fifo, .a = O_RDONLY},
	{.name = "ro-device-node", .fn = device_in_tree, .s = "ro", .t = "zero"},
	{.name = "rw-device-node", .fn = device_in_tree, .s = "rw", .t = "zero"},
	{0},
};
