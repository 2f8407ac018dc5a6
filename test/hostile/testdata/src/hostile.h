// hostile: one static program that holds every hostile act of the battery.
//
// An act makes one attempt and ends the process with through(), held() or
// broken(); one that returns is broken. attempt() is printed just before
// the hostile call, so that a death by violation in an act's own preparation
// is not taken for a refusal of the act.
#ifndef HOSTILE_H
#define HOSTILE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Exit statuses of the program.
enum { EXIT_HELD = 0, EXIT_THROUGH = 66, EXIT_BROKEN = 70 };

// An act and its parameters; what a, b, c, s and t mean is up to fn.
struct act {
	const char *name;
	void (*fn)(const struct act *);
	long a, b, c;
	const char *s, *t;
};

// One array per file, each ended by an entry without a name.
extern const struct act acts_identity[], acts_modes[], acts_limits[],
	acts_spaces[], acts_files[], acts_readonly[], acts_sockets[],
	acts_host[], acts_abi[], acts_guarded[], acts_inherit[], acts_tty[],
	acts_init[], acts_memory[], acts_bounds[], acts_leave[], acts_code[],
	acts_exec[], acts_fidelity[];

_Noreturn void through(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void held(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void broken(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void attempt(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// arg returns the value of the KEY=VALUE argument, or ends as broken.
const char *arg(const char *key);
// argor is arg with a value for the case that the argument is missing.
const char *argor(const char *key, const char *otherwise);
// path joins the directory given as argument key and a name.
const char *path(const char *key, const char *name);
// rest returns the arguments after the act's name.
char **rest(int *n);

// sc is a bare system call of the native ABI: the result or -errno. Missing
// arguments are 0.
long sc6(long nr, long a, long b, long c, long d, long e, long f);
#define sc(...) SC(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
#define SC(n, a, b, c, d, e, f, ...) \
	sc6((long)(n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
// i386 enters by int 0x80; pointers must lie below 4 GiB (static data does:
// the program is not position independent).
long i386x(long nr, long a, long b, long c, long d, long e);
#define i386(...) I386(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define I386(n, a, b, c, d, e, ...) \
	i386x((long)(n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
#define X32BIT 0x40000000L
#define HIGH 0x100000000UL

// got ends the process: through when ret is not negative.
_Noreturn void got(const char *what, long ret);
// reach ends the process: held only for ENOSYS, EPERM and EACCES; any other
// answer comes from the kernel's implementation of the call.
_Noreturn void reach(const char *what, long ret);

// slurp reads at most n-1 bytes of a file and ends them with NUL; the number
// read or -errno.
long slurp(const char *file, char *buf, size_t n);
// say writes one formatted line to standard output.
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void sleep_ms(long ms);
long now_ms(void);
// hexbytes decodes hex text, the number of bytes.
int hexbytes(const char *hex, unsigned char *out, int max);

#endif
