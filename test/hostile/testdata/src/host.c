// Lines 10 to 14: /proc, /sys, /dev, what survives, the host's names.
#include "hostile.h"
#include <dirent.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/utsname.h>

static void openpath(const struct act *a)
{
	attempt("open %s", a->s);
	got(a->s, sc(SYS_openat, AT_FDCWD, a->s, a->a | O_NONBLOCK | O_NOCTTY));
}

// readany is through only when bytes come out.
static void readany(const struct act *a)
{
	static char buf[4096];
	attempt("read %s", a->s);
	long fd = sc(SYS_openat, AT_FDCWD, a->s, O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		held("%s: %ld", a->s, fd);
	long n = sc(SYS_read, fd, buf, sizeof buf - 1);
	if (n > 0)
		through("%s: %.60s", a->s, buf);
	held("%s: %ld bytes", a->s, n);
}

static void host_pids(const struct act *a)
{
	static char p[64];
	(void)a;
	attempt("stat /proc/%s", arg("hostpid"));
	snprintf(p, sizeof p, "/proc/%s", arg("hostpid"));
	if (!access(p, F_OK)) {
		char comm[64] = "";
		snprintf(p, sizeof p, "/proc/%s/comm", arg("hostpid"));
		slurp(p, comm, sizeof comm);
		if (strstr(comm, argor("hostcomm", "hostile")))
			through("the host's process %s is visible: %s", arg("hostpid"), comm);
	}
	DIR *d = opendir("/proc");
	int n = 0;
	struct dirent *e;
	while (d && (e = readdir(d)))
		n += e->d_name[0] >= '1' && e->d_name[0] <= '9';
	if (n > 8)
		through("%d processes are visible", n);
	held("%d processes", n);
}

static void kill_host(const struct act *a)
{
	attempt("%s", a->name);
	long pid = atol(arg("hostpid"));
	switch (a->a) {
	case 0: got(a->name, sc(SYS_kill, pid, a->b));
	case 1: got(a->name, sc(SYS_pidfd_open, pid, 0));
	case 2: // every process of the caller's uid; the outside check is the host's victim
		if (getpid() > 1000) // never signal the host's processes
			through("no private pid namespace");
		signal(SIGUSR2, SIG_IGN);
		sc(SYS_kill, -1, SIGUSR2);
		held("kill(-1) returned");
	case 3: {
		static siginfo_t info;
		info.si_code = -1; // SI_QUEUE
		got(a->name, sc(SYS_rt_sigqueueinfo, pid, SIGUSR2, &info));
	}
	case 4: got(a->name, sc(SYS_getpgid, pid));
	case 6: got(a->name, sc(SYS_kill, -pid, 0));
	}
}

static void fresh(const struct act *a)
{
	attempt("%s", a->name);
	if (a->a == 0)
		got(a->name, sc(SYS_mount, a->s, argor("rw", "/tmp"), a->s, 0, a->t));
	long fd = sc(SYS_fsopen, a->s, 0);
	reach(a->name, fd);
}

// Every file in the control group trees is tried for writing.
static int writable_below(const char *dir, int depth, char *found, size_t n)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char p[1024];
	if (!d)
		return 0;
	int hit = 0;
	while (!hit && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(p, sizeof p, "%s/%s", dir, e->d_name);
		if (e->d_type == DT_DIR) {
			if (depth)
				hit = writable_below(p, depth - 1, found, n);
			continue;
		}
		int fd = e->d_type == DT_REG ? open(p, O_WRONLY | O_CLOEXEC) : -1;
		if (fd >= 0) {
			close(fd);
			snprintf(found, n, "%s", p);
			hit = 1;
		}
	}
	closedir(d);
	return hit;
}

static void sweep_write(const struct act *a)
{
	static char found[1024];
	attempt("open for writing below %s", a->s);
	if (writable_below(a->s, a->a, found, sizeof found))
		through("%s opens for writing", found);
	held("nothing below %s", a->s);
}

static void dev_list(const struct act *a)
{
	static const char *const ok[] = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd", "stdin", "stdout", "stderr", ".", ".."};
	(void)a;
	attempt("list /dev");
	DIR *d = opendir("/dev");
	struct dirent *e;
	int n = 0;
	while (d && (e = readdir(d))) {
		size_t i = 0;
		while (i < sizeof ok / sizeof *ok && strcmp(ok[i], e->d_name))
			i++;
		if (i == sizeof ok / sizeof *ok)
			through("/dev/%s", e->d_name);
		n++;
	}
	held("%d entries", n);
}

// /dev/pts must not hold the host's terminals.
static void host_pts(const struct act *a)
{
	static char p[64];
	(void)a;
	attempt("list /dev/pts");
	DIR *d = opendir("/dev/pts");
	struct dirent *e;
	while (d && (e = readdir(d)))
		if (e->d_name[0] >= '0' && e->d_name[0] <= '9')
			through("/dev/pts/%s", e->d_name);
	snprintf(p, sizeof p, "/dev/pts/%s", argor("hostpts", "0"));
	got(p, sc(SYS_openat, AT_FDCWD, p, O_RDWR | O_NOCTTY));
}

static void entropy(const struct act *a)
{
	static struct { int bits, size; char b[8]; } e = {64, 8, "hostile"};
	static int add = 64;
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		held("/dev/urandom for writing: %s", strerror(errno));
	attempt("%s", a->name);
	got(a->name, a->a ? sc(SYS_ioctl, fd, 0x40045201, &add) : sc(SYS_ioctl, fd, 0x40085203, &e));
}

static void names(const struct act *a)
{
	static struct utsname u;
	static char buf[4096];
	attempt("%s", a->name);
	switch (a->a) {
	case 0:
		uname(&u);
		if (!strcmp(u.nodename, arg("hostname")))
			through("host name %s", u.nodename);
		held("host name %s", u.nodename);
	case 1:
		slurp(a->s, buf, sizeof buf);
		if (*arg(a->t) && strstr(buf, arg(a->t)))
			through("%s is the host's", a->s);
		held("%s: %s", a->s, buf);
	case 2:
		uname(&u);
		if (strcmp(u.domainname, "(none)") && *argor("domain", "") && !strcmp(u.domainname, arg("domain")))
			through("domain name %s", u.domainname);
		held("domain name %s", u.domainname);
	case 3: got(a->name, sc(SYS_sethostname, "hostile", 7));
	case 4: got(a->name, sc(SYS_setdomainname, "hostile", 7));
	}
}

// uptime: the host has been up for longer than the arguments' hostup minus a
// minute; every clock that tells so is a leak.
static void uptime(const struct act *a)
{
	struct timespec t = {0, 0};
	struct sysinfo si;
	static char buf[4096];
	double up = -1, host = atof(arg("hostup"));
	attempt("%s", a->name);
	switch (a->a) {
	case 0:
		if (!clock_gettime(a->b, &t))
			up = t.tv_sec;
		break;
	case 1:
		if (!sc(SYS_sysinfo, &si))
			up = si.uptime;
		break;
	case 2:
		if (slurp("/proc/uptime", buf, sizeof buf) > 0)
			up = atof(buf);
		break;
	case 3: // field 22 of stat: start time in ticks since boot
		if (slurp("/proc/self/stat", buf, sizeof buf) > 0) {
			char *p = strrchr(buf, ')');
			for (int i = 0; p && i < 20; i++)
				p = strchr(p + 1, ' ');
			up = p ? atof(p) / sysconf(_SC_CLK_TCK) : -1;
		}
		break;
	case 4:
		if (slurp("/proc/stat", buf, sizeof buf) > 0) {
			char *p = strstr(buf, "btime ");
			up = p ? time(NULL) - atof(p + 6) : -1;
		}
		break;
	}
	double near = host < 120 ? host / 2 : 60;
	if (host < 20)
		broken("the host is up for only %.0f s: nothing to tell", host);
	if (up > host - near && up < host + near)
		through("%s: %.0f s of the host's %.0f", a->name, up, host);
	held("%s: %.0f s", a->name, up);
}

#define W(n, p) {.name = "write-" n, .fn = openpath, .a = O_WRONLY, .s = p}
#define R(n, p) {.name = "read-" n, .fn = readany, .s = p}
#define DEV(n, p) {.name = "dev-" n, .fn = openpath, .a = O_RDONLY, .s = "/dev/" p}
#define N(n, w) {.name = n, .fn = names, .a = w}
const struct act acts_host[] = {
	W("core-pattern", "/proc/sys/kernel/core_pattern"), W("modprobe-path", "/proc/sys/kernel/modprobe"),
	W("sysctl-hostname", "/proc/sys/kernel/hostname"), W("sysctl-domainname", "/proc/sys/kernel/domainname"),
	W("sysctl-shmmax", "/proc/sys/kernel/shmmax"), W("sysctl-sysrq", "/proc/sys/kernel/sysrq"),
	W("sysctl-drop-caches", "/proc/sys/vm/drop_caches"), W("sysctl-overcommit", "/proc/sys/vm/overcommit_memory"),
	W("sysctl-memfd-noexec", "/proc/sys/vm/memfd_noexec"), W("sysctl-ip-forward", "/proc/sys/net/ipv4/ip_forward"),
	W("sysctl-userns", "/proc/sys/user/max_user_namespaces"), W("sysctl-ns-last-pid", "/proc/sys/kernel/ns_last_pid"),
	W("binfmt-misc", "/proc/sys/fs/binfmt_misc/register"), W("sysrq-trigger", "/proc/sysrq-trigger"),
	W("irq-affinity", "/proc/irq/default_smp_affinity"), W("mtrr", "/proc/mtrr"), W("acpi-wakeup", "/proc/acpi/wakeup"),
	W("proc-self-comm", "/proc/self/oom_score_adj"), W("proc-timerslack", "/proc/1/timerslack_ns"),
	W("proc-uid-map", "/proc/self/uid_map"), W("proc-init-uid-map", "/proc/1/uid_map"),
	W("proc-setgroups", "/proc/self/setgroups"), W("proc-timens", "/proc/self/timens_offsets"),
	R("kmsg", "/proc/kmsg"), R("dev-kmsg", "/dev/kmsg"), R("kcore", "/proc/kcore"), R("cmdline", "/proc/cmdline"),
	R("interrupts", "/proc/interrupts"), R("slabinfo", "/proc/slabinfo"), R("kpagecount", "/proc/kpagecount"),
	R("kpageflags", "/proc/kpageflags"), R("keys", "/proc/keys"), R("key-users", "/proc/key-users"),
	R("timer-list", "/proc/timer_list"), R("sched-debug", "/sys/kernel/debug/sched/debug"), R("kallsyms", "/proc/kallsyms"),
	R("modules", "/proc/modules"), R("iomem", "/proc/iomem"), R("ioports", "/proc/ioports"), R("vmallocinfo", "/proc/vmallocinfo"),
	R("diskstats", "/proc/diskstats"), R("partitions", "/proc/partitions"), R("swaps", "/proc/swaps"), R("config", "/proc/config.gz"),
	R("buddyinfo", "/proc/buddyinfo"), R("pagetypeinfo", "/proc/pagetypeinfo"), R("zoneinfo", "/proc/zoneinfo"),
	R("bus-pci", "/proc/bus/pci/devices"), R("proc-cgroups", "/proc/cgroups"), R("consoles", "/proc/consoles"),
	R("softirqs", "/proc/softirqs"), R("version-signature", "/proc/version_signature"), R("net-arp-host", "/proc/net/arp"),
	R("sys-release-agent", "/sys/fs/cgroup/release_agent"), R("sys-dmi", "/sys/class/dmi/id/product_uuid"),
	R("sys-uevent-helper", "/sys/kernel/uevent_helper"), R("sys-vmcoreinfo", "/sys/kernel/vmcoreinfo"),
	R("sys-firmware", "/sys/firmware/acpi/tables/DSDT"), R("sys-block", "/sys/block/vda/size"), R("sys-net-mac", "/sys/class/net/eth0/address"),
	{.name = "host-pids", .fn = host_pids},
	{.name = "kill-host-pid", .fn = kill_host, .a = 0, .b = 0},
	{.name = "kill-host-group", .fn = kill_host, .a = 6},
	{.name = "pidfd-host-pid", .fn = kill_host, .a = 1},
	{.name = "kill-everything", .fn = kill_host, .a = 2},
	{.name = "sigqueue-host-pid", .fn = kill_host, .a = 3},
	{.name = "getpgid-host-pid", .fn = kill_host, .a = 4},
	{.name = "fresh-proc", .fn = fresh, .s = "proc"}, {.name = "fresh-sysfs", .fn = fresh, .s = "sysfs"},
	{.name = "fresh-tmpfs", .fn = fresh, .s = "tmpfs"}, {.name = "fresh-cgroup2", .fn = fresh, .s = "cgroup2"},
	{.name = "fresh-cgroup1", .fn = fresh, .s = "cgroup", .t = "memory"}, {.name = "fresh-devpts", .fn = fresh, .s = "devpts"},
	{.name = "fresh-mqueue", .fn = fresh, .s = "mqueue"}, {.name = "fresh-overlay", .fn = fresh, .s = "overlay"},
	{.name = "fsopen-proc", .fn = fresh, .s = "proc", .a = 1}, {.name = "fsopen-sysfs", .fn = fresh, .s = "sysfs", .a = 1},
	{.name = "fsopen-cgroup2", .fn = fresh, .s = "cgroup2", .a = 1},
	{.name = "cgroup-write", .fn = sweep_write, .s = "/sys/fs/cgroup", .a = 3},
	{.name = "sys-write", .fn = sweep_write, .s = "/sys", .a = 3},
	{.name = "proc-sys-write", .fn = sweep_write, .s = "/proc/sys", .a = 4},
	W("cgroup-procs", "/sys/fs/cgroup/cgroup.procs"), W("cgroup-unified-procs", "/sys/fs/cgroup/unified/cgroup.procs"),
	W("release-agent", "/sys/fs/cgroup/memory/release_agent"), W("sys-power", "/sys/power/state"),
	W("sys-uevent", "/sys/kernel/uevent_helper"), W("sys-tracing", "/sys/kernel/tracing/trace"),
	W("sys-debug", "/sys/kernel/debug/clear_warn_once"), W("sys-module-param", "/sys/module/kernel/parameters/panic"),
	{.name = "dev-list", .fn = dev_list},
	DEV("mem", "mem"), DEV("port", "port"), DEV("disk-vda", "vda"), DEV("disk-sda", "sda"), DEV("loop-control", "loop-control"),
	DEV("loop0", "loop0"), DEV("fuse", "fuse"), DEV("tun", "net/tun"), DEV("vsock", "vsock"), DEV("vhost-vsock", "vhost-vsock"),
	DEV("vhost-net", "vhost-net"), DEV("kvm", "kvm"), DEV("tty0", "tty0"), DEV("tty1", "tty1"), DEV("ttyS0", "ttyS0"),
	DEV("console", "console"), DEV("hvc0", "hvc0"), DEV("mapper", "mapper/control"), DEV("btrfs", "btrfs-control"),
	DEV("hwrng", "hwrng"), DEV("rtc", "rtc0"), DEV("snapshot", "snapshot"), DEV("uinput", "uinput"), DEV("cpu-dma", "cpu_dma_latency"),
	DEV("autofs", "autofs"), DEV("nvram", "nvram"), DEV("userfaultfd", "userfaultfd"), DEV("udmabuf", "udmabuf"),
	DEV("vcs", "vcs"), DEV("rfkill", "rfkill"), DEV("ppp", "ppp"),
	{.name = "dev-tty-opens", .fn = openpath, .a = O_RDWR, .s = "/dev/tty"},
	{.name = "host-pts", .fn = host_pts},
	{.name = "entropy-add", .fn = entropy, .a = 0}, {.name = "entropy-count", .fn = entropy, .a = 1},
	N("host-name", 0), N("domain-name", 2), N("set-host-name", 3), N("set-domain-name", 4),
	{.name = "machine-id", .fn = names, .a = 1, .s = "/etc/machine-id", .t = "machineid"},
	{.name = "machine-id-dbus", .fn = names, .a = 1, .s = "/var/lib/dbus/machine-id", .t = "machineid"},
	{.name = "boot-id", .fn = names, .a = 1, .s = "/proc/sys/kernel/random/boot_id", .t = "bootid"},
	{.name = "etc-hostname", .fn = names, .a = 1, .s = "/etc/hostname", .t = "hostname"},
	{.name = "etc-hosts", .fn = names, .a = 1, .s = "/etc/hosts", .t = "hostname"},
	{.name = "proc-cmdline", .fn = names, .a = 1, .s = "/proc/cmdline", .t = "kcmdline"},
	{.name = "proc-hostname", .fn = names, .a = 1, .s = "/proc/sys/kernel/hostname", .t = "hostname"},
	{.name = "uptime-boottime", .fn = uptime, .a = 0, .b = CLOCK_BOOTTIME},
	{.name = "uptime-monotonic", .fn = uptime, .a = 0, .b = CLOCK_MONOTONIC},
	{.name = "uptime-monotonic-raw", .fn = uptime, .a = 0, .b = CLOCK_MONOTONIC_RAW},
	{.name = "uptime-coarse", .fn = uptime, .a = 0, .b = CLOCK_MONOTONIC_COARSE},
	{.name = "uptime-sysinfo", .fn = uptime, .a = 1}, {.name = "uptime-proc", .fn = uptime, .a = 2},
	{.name = "uptime-start-time", .fn = uptime, .a = 3}, {.name = "uptime-btime", .fn = uptime, .a = 4},
	{0},
};
