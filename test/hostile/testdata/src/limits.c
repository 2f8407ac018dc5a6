// Line 4: limits and priorities can only get worse.
#include "hostile.h"
#include <sched.h>
#include <sys/resource.h>

struct sched_attr_ {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
};

// raise_hard sets the hard limit of resource a to one more than it is, or to
// infinity; b picks the call.
static void raise_hard(const struct act *a)
{
	static struct rlimit now, want;
	static struct rlimit check;
	if (sc(SYS_prlimit64, 0, a->a, NULL, &now))
		broken("prlimit64 get");
	attempt("%s from %lu", a->name, now.rlim_max);
	if (now.rlim_max == RLIM_INFINITY && a->c)
		through("%s: the policy's bound is not there", a->name);
	if (now.rlim_max == RLIM_INFINITY)
		held("%s: unlimited already, nothing to raise", a->name);
	want.rlim_cur = want.rlim_max = RLIM_INFINITY;
	long ret = -1;
	for (int step = 0; step < 2; step++) {
		if (a->b == 0)
			ret = sc(SYS_prlimit64, 0, a->a, &want, NULL);
		else if (a->b == 1)
			ret = sc(SYS_setrlimit, a->a, &want);
		else
			ret = sc(SYS_prlimit64, HIGH, HIGH | a->a, &want, NULL);
		if (ret >= 0)
			break;
		want.rlim_cur = want.rlim_max = now.rlim_max + 1;
	}
	sc(SYS_prlimit64, 0, a->a, NULL, &check);
	if (check.rlim_max > now.rlim_max)
		through("%s: %lu to %lu", a->name, now.rlim_max, check.rlim_max);
	held("%s: %ld, hard %lu", a->name, ret, check.rlim_max);
}

static void sched_up(const struct act *a)
{
	static struct { int prio; } p = {1};
	static struct sched_attr_ at = {.size = sizeof at};
	attempt("%s", a->name);
	switch (a->a) {
	case 0: got(a->name, sc(SYS_sched_setscheduler, 0, a->b, &p));
	case 1:
		at.policy = a->b;
		at.priority = a->b == SCHED_FIFO || a->b == SCHED_RR;
		at.runtime = 10000000;
		at.deadline = at.period = 100000000;
		got(a->name, sc(SYS_sched_setattr, 0, &at, 0));
	case 2:
		at.nice = -5;
		got(a->name, sc(SYS_sched_setattr, 0, &at, 0));
	case 3: got(a->name, sc(SYS_sched_setscheduler, 0, HIGH | a->b, &p));
	case 4:
		at.flags = 0x20 | 0x08; // UTIL_CLAMP_MIN, KEEP_POLICY
		at.util_min = 1024;
		got(a->name, sc(SYS_sched_setattr, 0, &at, 0));
	}
}

static void nice_up(const struct act *a)
{
	attempt("%s", a->name);
	got(a->name, sc(SYS_setpriority, a->a, 0, -5));
}

static void io_up(const struct act *a)
{
	attempt("%s", a->name);
	got(a->name, sc(SYS_ioprio_set, a->b, 0, a->a));
}

static void oom_down(const struct act *a)
{
	static char buf[64];
	attempt("%s", a->name);
	int fd = open(a->s, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		held("open %s: %s", a->s, strerror(errno));
	long ret = sc(SYS_write, fd, a->t, strlen(a->t));
	slurp(a->s, buf, sizeof buf);
	if (ret >= 0)
		through("%s: now %s", a->name, buf);
	held("%s: %ld", a->name, ret);
}

static void of_init(const struct act *a)
{
	static struct rlimit l = {8, 8};
	static struct sched_attr_ at = {.size = sizeof at, .policy = SCHED_IDLE};
	static unsigned long mask = 1;
	attempt("%s", a->name);
	switch (a->a) {
	case 0: got(a->name, sc(SYS_prlimit64, 1, RLIMIT_NOFILE, &l, NULL));
	case 1: got(a->name, sc(SYS_setpriority, PRIO_PROCESS, 1, 19));
	case 2: got(a->name, sc(SYS_sched_setattr, 1, &at, 0));
	case 3: got(a->name, sc(SYS_sched_setaffinity, 1, sizeof mask, &mask));
	case 4: got(a->name, sc(SYS_ioprio_set, 1, 1, 3 << 13));
	}
}

// STATED limits are in the battery's policy.
#define RAISE(n, r) {.name = "raise-" n, .fn = raise_hard, .a = r}
#define STATED(n, r) {.name = "raise-" n, .fn = raise_hard, .a = r, .c = 1}
const struct act acts_limits[] = {
	RAISE("cpu", RLIMIT_CPU), STATED("fsize", RLIMIT_FSIZE),
	STATED("core", RLIMIT_CORE), RAISE("nproc", RLIMIT_NPROC),
	STATED("nofile", RLIMIT_NOFILE), RAISE("memlock", RLIMIT_MEMLOCK),
	STATED("as", RLIMIT_AS), RAISE("sigpending", RLIMIT_SIGPENDING),
	RAISE("msgqueue", RLIMIT_MSGQUEUE), RAISE("nice", RLIMIT_NICE),
	RAISE("rtprio", RLIMIT_RTPRIO),
	{.name = "setrlimit-core", .fn = raise_hard, .a = RLIMIT_CORE, .b = 1},
	{.name = "setrlimit-nofile", .fn = raise_hard, .a = RLIMIT_NOFILE, .b = 1},
	{.name = "prlimit-stray-nofile", .fn = raise_hard, .a = RLIMIT_NOFILE, .b = 2},
	{.name = "sched-fifo", .fn = sched_up, .a = 0, .b = SCHED_FIFO},
	{.name = "sched-rr", .fn = sched_up, .a = 0, .b = SCHED_RR},
	{.name = "sched-fifo-stray", .fn = sched_up, .a = 3, .b = SCHED_FIFO},
	{.name = "sched-attr-fifo", .fn = sched_up, .a = 1, .b = SCHED_FIFO},
	{.name = "sched-attr-deadline", .fn = sched_up, .a = 1, .b = 6},
	{.name = "sched-attr-nice", .fn = sched_up, .a = 2},
	{.name = "sched-attr-util", .fn = sched_up, .a = 4},
	{.name = "nice-process", .fn = nice_up, .a = PRIO_PROCESS},
	{.name = "nice-group", .fn = nice_up, .a = PRIO_PGRP},
	{.name = "nice-user", .fn = nice_up, .a = PRIO_USER},
	{.name = "ioprio-realtime", .fn = io_up, .a = (1 << 13) | 0, .b = 1},
	{.name = "ioprio-realtime-user", .fn = io_up, .a = (1 << 13) | 0, .b = 3},
	{.name = "oom-score-down", .fn = oom_down, .s = "/proc/self/oom_score_adj", .t = "-500"},
	{.name = "oom-adj-down", .fn = oom_down, .s = "/proc/self/oom_adj", .t = "-10"},
	{.name = "oom-score-init", .fn = oom_down, .s = "/proc/1/oom_score_adj", .t = "1000"},
	{.name = "init-limit", .fn = of_init, .a = 0},
	{.name = "init-nice", .fn = of_init, .a = 1},
	{.name = "init-sched", .fn = of_init, .a = 2},
	{.name = "init-affinity", .fn = of_init, .a = 3},
	{.name = "init-ioprio", .fn = of_init, .a = 4},
	{0},
};
