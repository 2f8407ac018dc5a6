// Lines 1 and 2: who the program is, and what it can become.
#include "hostile.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>

// hold stays, so that the driver can look from outside.
static void hold(const struct act *a)
{
	(void)a;
	say("READY");
	for (int i = atoi(argor("seconds", "10")) * 20; i > 0; i--)
		sleep_ms(50);
	held("stayed");
}

// setid makes system call a with b in all three places; c is the getter
// that must not answer 0 afterwards.
static void setid(const struct act *a)
{
	long before = sc(a->c);
	attempt("%s", a->name);
	long ret = sc(a->a, a->b, a->b, a->b);
	long after = sc(a->c);
	if (ret >= 0 && after != before)
		through("%s: id is now %ld", a->name, after);
	held("%s: %ld, id %ld", a->name, ret, after);
}

// setfs: setfsuid and setfsgid answer with the previous id, never an error.
static void setfs(const struct act *a)
{
	attempt("%s", a->name);
	long was = sc(a->a, 0);
	long now = sc(a->a, -1);
	if (now == 0 && was != 0)
		through("%s: file system id 0", a->name);
	held("%s: %ld", a->name, now);
}

static void setgroups_zero(const struct act *a)
{
	static gid_t g[1] = {0};
	(void)a;
	attempt("setgroups");
	got("setgroups {0}", sc(SYS_setgroups, 1, g));
}

static void status_zero(const struct act *a)
{
	static char buf[8192];
	attempt("read status");
	if (slurp("/proc/self/status", buf, sizeof buf) < 0)
		broken("/proc/self/status: %s", strerror(errno));
	char *p = strstr(buf, a->s);
	if (!p)
		broken("no %s in status", a->s);
	unsigned long long v = strtoull(p + strlen(a->s), NULL, a->b ? 10 : 16);
	if (a->b ? v != (unsigned long long)a->a : v != 0)
		through("%s %llx", a->s, v);
	held("%s %llx", a->s, v);
}

static void id_zero(const struct act *a)
{
	attempt("%s", a->name);
	if (sc(a->a) == 0)
		through("%s: 0", a->name);
	held("%s: %ld", a->name, sc(a->a));
}

static void extra_groups(const struct act *a)
{
	static gid_t g[256];
	(void)a;
	attempt("getgroups");
	long n = sc(SYS_getgroups, 256, g);
	for (long i = 0; i < n; i++)
		if (g[i] != getgid())
			through("supplementary group %d of %ld", g[i], n);
	held("%ld groups", n);
}

static void securebits(const struct act *a)
{
	(void)a;
	attempt("PR_GET_SECUREBITS");
	long r = sc(SYS_prctl, PR_GET_SECUREBITS);
	if (r > 0 && (r & SECBIT_KEEP_CAPS))
		through("securebits 0x%lx keep capabilities", r);
	held("securebits %ld", r);
}

static void capset_all(const struct act *a)
{
	static struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	static struct __user_cap_data_struct d[2];
	attempt("capset");
	for (int i = 0; i < 2; i++)
		d[i].effective = d[i].permitted = d[i].inheritable = i ? 0x1ff : ~0U;
	if (a->a) { // one bit at a time: CAP_SYS_ADMIN
		memset(d, 0, sizeof d);
		d[0].effective = d[0].permitted = 1U << CAP_SYS_ADMIN;
	}
	got(a->name, sc(SYS_capset, &h, d));
}

static void prctl_gain(const struct act *a)
{
	attempt("%s", a->name);
	got(a->name, sc(SYS_prctl, a->a, a->b, a->c, 0, 0));
}

// no_new_privs cannot be taken back.
static void nnp_clear(const struct act *a)
{
	(void)a;
	attempt("PR_SET_NO_NEW_PRIVS 0");
	sc(SYS_prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
	got("no_new_privs is off", sc(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? -EPERM : 0);
}

// A set-user-id or file-capability copy of this program is executed; it
// reports what it has become (see identity_report).
static void exec_privileged(const struct act *a)
{
	char *argv[] = {(char *)"hostile", (char *)"identity-report", NULL};
	char want[16];
	snprintf(want, sizeof want, "was=%d", getuid());
	char *argv2[] = {argv[0], argv[1], want, NULL};
	const char *p = path(a->s, a->t);
	attempt("execve %s", a->t);
	got(a->name, sc(SYS_execve, p, argv2, environ) < 0 ? -errno - 1 : 0);
}

static void identity_report(const struct act *a)
{
	static struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	static struct __user_cap_data_struct d[2];
	(void)a;
	if (geteuid() != (uid_t)atoi(arg("was")))
		through("euid %d after exec", geteuid());
	if (!sc(SYS_capget, &h, d) && (d[0].effective | d[0].permitted | d[1].effective))
		through("capabilities %x after exec", d[0].permitted);
	held("nothing gained by exec");
}

const struct act acts_identity[] = {
	{.name = "hold", .fn = hold},
	{.name = "uid-is-zero", .fn = id_zero, .a = SYS_getuid},
	{.name = "euid-is-zero", .fn = id_zero, .a = SYS_geteuid},
	{.name = "gid-is-zero", .fn = id_zero, .a = SYS_getgid},
	{.name = "setuid-0", .fn = setid, .a = SYS_setuid, .b = 0, .c = SYS_geteuid},
	{.name = "setreuid-0", .fn = setid, .a = SYS_setreuid, .b = 0, .c = SYS_geteuid},
	{.name = "setresuid-0", .fn = setid, .a = SYS_setresuid, .b = 0, .c = SYS_geteuid},
	{.name = "setresuid-other", .fn = setid, .a = SYS_setresuid, .b = 65534, .c = SYS_geteuid},
	{.name = "setgid-0", .fn = setid, .a = SYS_setgid, .b = 0, .c = SYS_getegid},
	{.name = "setresgid-0", .fn = setid, .a = SYS_setresgid, .b = 0, .c = SYS_getegid},
	{.name = "setfsuid-0", .fn = setfs, .a = SYS_setfsuid},
	{.name = "setfsgid-0", .fn = setfs, .a = SYS_setfsgid},
	{.name = "setgroups-0", .fn = setgroups_zero},
	{.name = "cap-inheritable", .fn = status_zero, .s = "CapInh:"},
	{.name = "cap-permitted", .fn = status_zero, .s = "CapPrm:"},
	{.name = "cap-effective", .fn = status_zero, .s = "CapEff:"},
	{.name = "cap-bounding", .fn = status_zero, .s = "CapBnd:"},
	{.name = "cap-ambient", .fn = status_zero, .s = "CapAmb:"},
	{.name = "no-new-privs", .fn = status_zero, .s = "NoNewPrivs:", .a = 1, .b = 1},
	{.name = "seccomp-mode", .fn = status_zero, .s = "Seccomp:", .a = 2, .b = 1},
	{.name = "no-new-privs-clear", .fn = nnp_clear},
	{.name = "securebits-keep", .fn = securebits},
	{.name = "extra-groups", .fn = extra_groups},
	{.name = "capset-all", .fn = capset_all},
	{.name = "capset-sys-admin", .fn = capset_all, .a = 1},
	{.name = "ambient-raise", .fn = prctl_gain, .a = PR_CAP_AMBIENT, .b = PR_CAP_AMBIENT_RAISE, .c = CAP_NET_RAW},
	{.name = "securebits-set", .fn = prctl_gain, .a = PR_SET_SECUREBITS, .b = SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP},
	{.name = "exec-suid-root", .fn = exec_privileged, .s = "ro", .t = "suid-root"},
	{.name = "exec-sgid-root", .fn = exec_privileged, .s = "ro", .t = "sgid-root"},
	{.name = "exec-file-cap", .fn = exec_privileged, .s = "ro", .t = "file-cap"},
	{.name = "exec-suid-root-rw", .fn = exec_privileged, .s = "rw", .t = "suid-root"},
	{.name = "identity-report", .fn = identity_report},
	{0},
};
