// Line 5: new namespaces by every entry point.
#include "hostile.h"
#include <linux/sched.h>
#include <sys/prctl.h>

enum { UNSHARE, UNSHARE_HI, CLONE, CLONE_HI, CLONE3, UNSHARE_32, CLONE_32, CLONE3_32, UNSHARE_X32, CLONE_X32, SETNS, SETNS_PIDFD, VFORK_CLONE };

static _Noreturn void forked(const char *what, long ret)
{
	if (ret == 0)
		_exit(0); // the child
	got(what, ret);
}

static void space(const struct act *a)
{
	static struct clone_args args;
	static char ns[64];
	long fd;
	attempt("%s", a->name);
	switch (a->b) {
	case UNSHARE: got(a->name, sc(SYS_unshare, a->a));
	case UNSHARE_HI: got(a->name, sc(SYS_unshare, 0xdeadbeef00000000UL | a->a));
	case CLONE: forked(a->name, sc(SYS_clone, a->a | SIGCHLD));
	case CLONE_HI: forked(a->name, sc(SYS_clone, 0xdeadbeef00000000UL | a->a | SIGCHLD));
	case VFORK_CLONE: forked(a->name, sc(SYS_clone, a->a | CLONE_VFORK | SIGCHLD));
	case CLONE3:
		args.flags = a->a;
		args.exit_signal = SIGCHLD;
		forked(a->name, sc(SYS_clone3, &args, sizeof args));
	case UNSHARE_32: got(a->name, i386(310, a->a));
	case CLONE_32: forked(a->name, i386(120, a->a | SIGCHLD));
	case CLONE3_32:
		args.flags = a->a;
		args.exit_signal = SIGCHLD;
		forked(a->name, i386(435, &args, sizeof args));
	case UNSHARE_X32: got(a->name, sc(SYS_unshare | X32BIT, a->a));
	case CLONE_X32: forked(a->name, sc(SYS_clone | X32BIT, a->a | SIGCHLD));
	case SETNS:
		snprintf(ns, sizeof ns, "/proc/self/ns/%s", a->s);
		fd = open(ns, O_RDONLY | O_CLOEXEC);
		reach(a->name, fd < 0 ? -EPERM : sc(SYS_setns, fd, a->a));
	case SETNS_PIDFD:
		fd = sc(SYS_pidfd_open, 1, 0);
		reach(a->name, fd < 0 ? -EPERM : sc(SYS_setns, fd, a->a));
	}
}

// private compares a namespace with the host's, whose name is given.
static void private(const struct act *a)
{
	static char p[64], link[64];
	snprintf(p, sizeof p, "/proc/self/ns/%s", a->s);
	attempt("readlink %s", p);
	ssize_t n = readlink(p, link, sizeof link - 1);
	if (n < 0)
		held("%s: %s", p, strerror(errno));
	link[n] = 0;
	if (!strcmp(link, arg(a->s)))
		through("the %s namespace is the host's %s", a->s, link);
	held("%s", link);
}

// With a new user namespace everything else follows: this is the chain that
// an escape uses.
static void userns_chain(const struct act *a)
{
	(void)a;
	attempt("unshare user and mount");
	long r = sc(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS);
	if (r < 0)
		held("unshare: %ld", r);
	through("capabilities in a new user namespace");
}

#define EACH(prefix, entry)                                                       \
	{.name = prefix "-user", .fn = space, .a = CLONE_NEWUSER, .b = entry},    \
	{.name = prefix "-mnt", .fn = space, .a = CLONE_NEWNS, .b = entry},       \
	{.name = prefix "-pid", .fn = space, .a = CLONE_NEWPID, .b = entry},      \
	{.name = prefix "-net", .fn = space, .a = CLONE_NEWNET, .b = entry},      \
	{.name = prefix "-ipc", .fn = space, .a = CLONE_NEWIPC, .b = entry},      \
	{.name = prefix "-uts", .fn = space, .a = CLONE_NEWUTS, .b = entry},      \
	{.name = prefix "-cgroup", .fn = space, .a = CLONE_NEWCGROUP, .b = entry}
#define EACHT(prefix, entry) \
	EACH(prefix, entry), {.name = prefix "-time", .fn = space, .a = CLONE_NEWTIME, .b = entry}

const struct act acts_spaces[] = {
	EACHT("unshare", UNSHARE),
	EACHT("unshare-stray", UNSHARE_HI),
	EACH("clone", CLONE), // NEWTIME lies in clone's signal field
	EACH("clone-stray", CLONE_HI),
	EACHT("clone3", CLONE3),
	{.name = "clone-vfork-user", .fn = space, .a = CLONE_NEWUSER, .b = VFORK_CLONE},
	{.name = "unshare-i386-user", .fn = space, .a = CLONE_NEWUSER, .b = UNSHARE_32},
	{.name = "clone-i386-user", .fn = space, .a = CLONE_NEWUSER, .b = CLONE_32},
	{.name = "clone3-i386-user", .fn = space, .a = CLONE_NEWUSER, .b = CLONE3_32},
	{.name = "unshare-x32-user", .fn = space, .a = CLONE_NEWUSER, .b = UNSHARE_X32},
	{.name = "clone-x32-user", .fn = space, .a = CLONE_NEWUSER, .b = CLONE_X32},
	{.name = "setns-user", .fn = space, .a = CLONE_NEWUSER, .b = SETNS, .s = "user"},
	{.name = "setns-mnt", .fn = space, .a = CLONE_NEWNS, .b = SETNS, .s = "mnt"},
	{.name = "setns-net", .fn = space, .a = CLONE_NEWNET, .b = SETNS, .s = "net"},
	{.name = "setns-pidfd-init", .fn = space, .a = CLONE_NEWNS, .b = SETNS_PIDFD},
	{.name = "userns-chain", .fn = userns_chain},
	{.name = "private-user", .fn = private, .s = "user"},
	{.name = "private-mnt", .fn = private, .s = "mnt"},
	{.name = "private-pid", .fn = private, .s = "pid"},
	{.name = "private-net", .fn = private, .s = "net"},
	{.name = "private-ipc", .fn = private, .s = "ipc"},
	{.name = "private-uts", .fn = private, .s = "uts"},
	{.name = "private-cgroup", .fn = private, .s = "cgroup"},
	{.name = "private-time", .fn = private, .s = "time"},
	{0},
};
