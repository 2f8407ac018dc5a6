#include "hostile.h"

static char **args;
static int nargs;

int outside(int argc, char **argv); // wrap.c

static const struct act *const tables[] = {
	acts_identity, acts_modes, acts_limits, acts_spaces, acts_files,
	acts_readonly, acts_sockets, acts_host, acts_abi, acts_guarded,
	acts_inherit, acts_tty, acts_init, acts_memory, acts_bounds,
	acts_leave, acts_code, acts_exec, acts_fidelity,
};

static void line(const char *kind, const char *fmt, va_list ap)
{
	static char buf[1500];
	int n = snprintf(buf, sizeof buf - 1, "%s", kind);
	int m = vsnprintf(buf + n, sizeof buf - 2 - n, fmt, ap);
	n += m < (int)sizeof buf - 2 - n ? m : (int)sizeof buf - 3 - n;
	for (int i = 0; i < n; i++)
		if (buf[i] == '\n')
			buf[i] = ' ';
	buf[n++] = '\n';
	if (write(1, buf, n) != n)
		(void)!write(2, buf, n);
}

#define ENDS(name, kind, status)                  \
	void name(const char *fmt, ...)           \
	{                                         \
		va_list ap;                       \
		va_start(ap, fmt);                \
		line(kind, fmt, ap);              \
		_exit(status);                    \
	}
ENDS(through, "THROUGH: ", EXIT_THROUGH)
ENDS(held, "HELD: ", EXIT_HELD)
ENDS(broken, "BROKEN: ", EXIT_BROKEN)

void attempt(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	line("TRY: ", fmt, ap);
	va_end(ap);
}

void say(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	line("", fmt, ap);
	va_end(ap);
}

const char *argor(const char *key, const char *otherwise)
{
	size_t n = strlen(key);
	for (int i = 0; i < nargs; i++)
		if (!strncmp(args[i], key, n) && args[i][n] == '=')
			return args[i] + n + 1;
	return otherwise;
}

const char *arg(const char *key)
{
	const char *v = argor(key, NULL);
	if (!v)
		broken("argument %s= is missing", key);
	return v;
}

const char *path(const char *key, const char *name)
{
	static char buf[4][4096];
	static int next;
	char *p = buf[next++ & 3];
	snprintf(p, 4096, "%s/%s", arg(key), name);
	return p;
}

char **rest(int *n)
{
	*n = nargs;
	return args;
}

long sc6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

long i386x(long nr, long a, long b, long c, long d, long e)
{
	long ret;
	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "r8", "r9", "r10", "r11", "memory");
	return (int)ret;
}

static const char *errname(long ret)
{
	const char *s = strerrorname_np((int)-ret);
	return s ? s : "?";
}

void got(const char *what, long ret)
{
	if (ret >= 0)
		through("%s: %ld", what, ret);
	held("%s: %s", what, errname(ret));
}

void reach(const char *what, long ret)
{
	if (ret == -ENOSYS || ret == -EPERM || ret == -EACCES)
		held("%s: %s", what, errname(ret));
	if (ret < 0)
		through("%s reached the kernel: %s", what, errname(ret));
	through("%s: %ld", what, ret);
}

long slurp(const char *file, char *buf, size_t n)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	size_t have = 0;
	while (have < n - 1) {
		ssize_t r = read(fd, buf + have, n - 1 - have);
		if (r < 0) {
			long e = -errno;
			close(fd);
			return have ? (long)have : e;
		}
		if (!r)
			break;
		have += r;
	}
	close(fd);
	buf[have] = 0;
	return have;
}

void sleep_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int hexbytes(const char *hex, unsigned char *out, int max)
{
	int n = 0;
	unsigned v;
	while (hex[0] && hex[1] && n < max && sscanf(hex, "%2x", &v) == 1) {
		out[n++] = v;
		hex += 2;
	}
	return n;
}

int main(int argc, char **argv)
{
	if (argc > 1 && argv[1][0] == '+')
		return outside(argc, argv);
	for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
		for (const struct act *a = tables[t]; a->name; a++) {
			if (argc == 2 && !strcmp(argv[1], "--list")) {
				say("%s", a->name);
				continue;
			}
			if (argc < 2 || strcmp(a->name, argv[1]))
				continue;
			args = argv + 2;
			nargs = argc - 2;
			a->fn(a);
			broken("%s returned", a->name);
		}
	if (argc == 2 && !strcmp(argv[1], "--list"))
		return 0;
	broken("no such act: %s", argc > 1 ? argv[1] : "");
}
