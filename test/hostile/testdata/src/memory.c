// Line 29, memory: kinds that a sum over resident sizes does not see too.
// The argument max is the policy's bound in MiB; each act wants well more and
// keeps it for two seconds. No act takes more than max + 192 MiB.
#include "hostile.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>

#define MIB (1L << 20)
static long max, want;

static void bound(void)
{
	max = atol(arg("max"));
	want = max + 128;
}

// verdict: have MiB are held now, and still after two seconds.
static _Noreturn void verdict(const char *what, long have)
{
	say("HAVE: %ld MiB", have);
	sleep_ms(2000);
	if (have > max + 32)
		through("%s: %ld MiB over a bound of %ld", what, have, max);
	held("%s: %ld MiB", what, have);
}

static void touch(char *p, long n)
{
	for (long i = 0; i < n; i += 4096)
		((volatile char *)p)[i] = 1;
}

static void one(const struct act *a)
{
	bound();
	attempt("%s", a->name);
	long have = 0;
	while (have < want) {
		char *p = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			break;
		touch(p, 8 * MIB);
		have += 8;
	}
	verdict(a->name, have);
}

static void eight(const struct act *a)
{
	bound();
	int pipes[2];
	if (pipe(pipes))
		broken("pipe");
	attempt("%s", a->name);
	long each = a->a;
	for (int i = 0; i < want / each; i++)
		if (!fork()) {
			if (a->b)
				setpgid(0, 0);
			char *p = mmap(NULL, each * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (p == MAP_FAILED)
				_exit(1);
			touch(p, each * MIB);
			(void)!write(pipes[1], "x", 1);
			sleep_ms(6000);
			_exit(0);
		}
	close(pipes[1]);
	long have = 0;
	char c;
	while (have + each <= want && read(pipes[0], &c, 1) == 1)
		have += each;
	verdict(a->name, have);
}

// Shared memory that is in no process's resident size.
static void unmapped(const struct act *a)
{
	bound();
	attempt("%s", a->name);
	long have = 0;
	while (have < want) {
		char *p = MAP_FAILED;
		long fd = -1, id;
		if (a->a == 0) { // memory file, unmapped again
			fd = sc(SYS_memfd_create, "x", 0);
			if (fd < 0 || ftruncate(fd, 16 * MIB))
				break;
			p = mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		} else if (a->a == 1) { // System V segment, detached
			id = sc(SYS_shmget, IPC_PRIVATE, 16 * MIB, 0600 | IPC_CREAT);
			if (id < 0)
				break;
			long at = sc(SYS_shmat, id, NULL, 0);
			if (at < 0 && at > -4096)
				break;
			p = (char *)at;
		} else { // shared anonymous memory whose pages are dropped from the tables
			p = mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		}
		if (p == MAP_FAILED)
			break;
		touch(p, 16 * MIB);
		if (a->a == 0)
			munmap(p, 16 * MIB);
		else if (a->a == 1)
			sc(SYS_shmdt, p);
		else if (sc(SYS_madvise, p, 16 * MIB, 4))
			break;
		have += 16;
	}
	verdict(a->name, have);
}

// Files on every memory file system that can be written.
static void tmpfs(const struct act *a)
{
	static char block[MIB];
	static const char *const places[] = {"/tmp", "/dev/shm", "/run", "/var/tmp", "/dev", "/", "/etc", "/home", "/root", "/run/lock", "/var", "/mnt", "/srv"};
	bound();
	memset(block, 'x', sizeof block);
	attempt("%s", a->name);
	long have = 0;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		if (a->s && strcmp(a->s, places[i]))
			continue;
		static char p[64];
		for (int n = 0; n < 200 && have < want; n++) {
			snprintf(p, sizeof p, "%s/fill%d", places[i], n);
			int fd = open(p, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
			if (fd < 0)
				break;
			if (a->a)
				unlink(p); // kept by the descriptor only
			long k = 0;
			while (k < 4 && write(fd, block, MIB) == MIB)
				k++;
			have += k;
			if (!a->a)
				close(fd);
			if (k < 4)
				break;
		}
	}
	verdict(a->name, have);
}

static void msgq(const struct act *a)
{
	static struct { long type; char text[8192]; } m = {.type = 1};
	bound();
	attempt("%s", a->name);
	long kib = 0;
	while (kib / 1024 < want) {
		long q = sc(SYS_msgget, IPC_PRIVATE, 0600 | IPC_CREAT);
		if (q < 0)
			break;
		int k = 0;
		while (k < 2 && !sc(SYS_msgsnd, q, &m, sizeof m.text, IPC_NOWAIT))
			k++;
		kib += 8 * k;
		if (!k)
			break;
	}
	verdict(a->name, kib / 1024);
}

static void sem(const struct act *a)
{
	bound();
	attempt("%s", a->name);
	long have = 0;
	while (have < want) { // 64 bytes a semaphore, semmsl 32000
		if (sc(SYS_semget, IPC_PRIVATE, 32000, 0600 | IPC_CREAT) < 0)
			break;
		have += 2;
	}
	verdict(a->name, have);
}

// Kernel buffers: pipes and socket pairs, filled by several processes.
static void buffers(const struct act *a)
{
	static char block[65536];
	bound();
	int pipes[2];
	if (pipe(pipes))
		broken("pipe");
	attempt("%s", a->name);
	for (int i = 0; i < 40; i++)
		if (!fork()) {
			long bytes = 0;
			for (int n = 0; n < 110 && bytes < 16 * MIB; n++) {
				int p[2];
				if (a->a ? socketpair(AF_UNIX, SOCK_STREAM, 0, p) : pipe(p))
					break;
				fcntl(p[1], F_SETFL, O_NONBLOCK);
				if (!a->a)
					fcntl(p[1], F_SETPIPE_SZ, MIB);
				long w;
				while ((w = write(p[1], block, sizeof block)) > 0)
					bytes += w;
			}
			(void)!write(pipes[1], &bytes, sizeof bytes);
			sleep_ms(6000);
			_exit(0);
		}
	close(pipes[1]);
	long have = 0, b;
	for (int i = 0; i < 40 && read(pipes[0], &b, sizeof b) == sizeof b; i++)
		have += b;
	verdict(a->name, have / MIB);
}

// Page tables: one page of zeros read every 2 MiB of address space.
static void tables(const struct act *a)
{
	bound();
	sc(SYS_prctl, PR_SET_THP_DISABLE, 1, 0, 0, 0);
	attempt("%s", a->name);
	long n = 0;
	volatile char sum = 0;
	while (n * 4 / 1024 < want) { // 4 KiB of table per 2 MiB
		char *p = mmap(NULL, 1024 * MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			break;
		for (long i = 0; i < 1024; i += 2, n++)
			sum += p[i * MIB];
	}
	(void)sum;
	verdict(a->name, n * 4 / 1024);
}

static void address(const struct act *a)
{
	attempt("%s", a->name);
	void *p = mmap(NULL, 1L << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p != MAP_FAILED)
		through("1 TiB of address space");
	held("mmap of 1 TiB: %s", strerror(errno));
}

static void locked(const struct act *a)
{
	attempt("%s", a->name);
	char *p = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	got(a->name, p == MAP_FAILED ? -ENOMEM : sc(SYS_mlock, p, 64 * MIB));
}

const struct act acts_memory[] = {
	{.name = "mem-one", .fn = one},
	{.name = "mem-eight", .fn = eight, .a = 64}, {.name = "mem-thirty", .fn = eight, .a = 12},
	{.name = "mem-eight-groups", .fn = eight, .a = 64, .b = 1},
	{.name = "mem-memfd", .fn = unmapped, .a = 0}, {.name = "mem-sysv-detached", .fn = unmapped, .a = 1},
	{.name = "mem-shared-dropped", .fn = unmapped, .a = 2},
	{.name = "mem-tmpfs", .fn = tmpfs}, {.name = "mem-tmpfs-unlinked", .fn = tmpfs, .a = 1},
	{.name = "mem-shm-dir", .fn = tmpfs, .s = "/dev/shm"},
	{.name = "mem-msgqueues", .fn = msgq}, {.name = "mem-semaphores", .fn = sem},
	{.name = "mem-pipes", .fn = buffers, .a = 0}, {.name = "mem-socketpairs", .fn = buffers, .a = 1},
	{.name = "mem-page-tables", .fn = tables}, {.name = "mem-address-space", .fn = address},
	{.name = "mem-locked", .fn = locked},
	{0},
};
