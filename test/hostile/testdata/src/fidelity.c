// Line 33: arguments and streams, byte for byte.
#include "hostile.h"

// args writes every argument, ended by NUL, to standard output.
static void args(const struct act *a)
{
	int n;
	char **v = rest(&n);
	(void)a;
	for (int i = 0; i < n; i++) {
		size_t len = strlen(v[i]) + 1, at = 0;
		while (at < len) {
			ssize_t w = write(1, v[i] + at, len - at);
			if (w <= 0)
				_exit(EXIT_BROKEN);
			at += w;
		}
	}
	_exit(0);
}

// digest prints number, bytes and an FNV-1a digest of the arguments.
static void digest(const struct act *a)
{
	int n;
	char **v = rest(&n);
	uint64_t h = 14695981039346656037UL, bytes = 0;
	(void)a;
	for (int i = 0; i < n; i++)
		for (char *c = v[i];; c++) {
			h = (h ^ (unsigned char)*c) * 1099511628211UL;
			bytes++;
			if (!*c)
				break;
		}
	say("%d %lu %016lx", n, bytes, h);
	_exit(0);
}

static void cat(const struct act *a)
{
	static char buf[65536];
	ssize_t n;
	(void)a;
	while ((n = read(0, buf, sizeof buf)) > 0)
		for (ssize_t at = 0, w; at < n; at += w)
			if ((w = write(1, buf + at, n - at)) <= 0)
				_exit(EXIT_BROKEN);
	_exit(n ? EXIT_BROKEN : 0);
}

static void env(const struct act *a)
{
	(void)a;
	for (char **e = environ; *e; e++)
		say("%s", *e);
	_exit(0);
}

const struct act acts_fidelity[] = {
	{.name = "print-args", .fn = args}, {.name = "digest-args", .fn = digest},
	{.name = "cat", .fn = cat}, {.name = "print-env", .fn = env},
	{0},
};
