/* The workload of package agree: it does what its arguments say and prints
   what the kernel answered. It has no C library, so that the calls it makes are
   the ones it was told to make, and write and exit_group.

     probe all ITEM...    "#INDEX [TEXT] !ERRNO" for each item, then exit 0
     probe bare ITEM...   the same in a session of its own, under no_new_privs
     probe one ITEM       exit with the errno of the item
     probe ran            exit 77

   ITEM is a letter and its operand:

     s NR,A,A,...  the call with six arguments, all numbers in hexadecimal
     r w PATH      open to read, to write
     c PATH        create a file that must not exist
     t PATH        look at it
     x PATH        may it be executed, as access(2) says
     m PATH        map it as code
     e PATH        execute it, with the argument "ran"
     W             map memory that is writable and executable
     U             connect a UDP socket to 127.0.0.1
     E             print the environment, a line each
     L N           print the soft and hard resource limit N
     D H           print the working directory, the host name  */

#if defined __x86_64__
enum { READ_, WRITE = 1, CLOSE = 3, MMAP = 9, SOCKET = 41, CONNECT = 42, EXECVE = 59, UNAME = 63, GETCWD = 79,
       SETSID = 112, PRCTL = 157, EXIT_GROUP = 231, OPENAT = 257, NEWFSTATAT = 262, FACCESSAT = 269, PRLIMIT64 = 302 };

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "+a"(nr)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return nr;
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n hlt\n");
#elif defined __aarch64__
enum { GETCWD = 17, FACCESSAT = 48, OPENAT = 56, CLOSE = 57, WRITE = 64, NEWFSTATAT = 79, EXIT_GROUP = 94, SETSID = 157,
       UNAME = 160, PRCTL = 167, SOCKET = 198, CONNECT = 203, EXECVE = 221, MMAP = 222, PRLIMIT64 = 261 };

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}

__asm__(".globl _start\n_start: mov x0, sp\n bl begin\n brk 0\n");
#else
#error "no system call for this machine"
#endif

#define AT_FDCWD (-100)
enum { O_WRONLY = 1, O_CREAT = 0100, O_EXCL = 0200, O_NOCTTY = 0400, O_NONBLOCK = 04000, O_CLOEXEC = 02000000 };

__attribute__((noreturn)) static void leave(long status)
{
	for (;;)
		call(EXIT_GROUP, status, 0, 0, 0, 0, 0);
}

static char out[1 << 16];
static long used;
static char **environment;

static void flush(void)
{
	long done = 0, n;

	while (done < used) {
		n = call(WRITE, 1, (long)(out + done), used - done, 0, 0, 0);
		if (n <= 0)
			leave(99);
		done += n;
	}
	used = 0;
}

static void letter(char c)
{
	if (used == sizeof out)
		flush();
	out[used++] = c;
}

static void text(const char *s)
{
	while (*s)
		letter(*s++);
}

static void number(unsigned long n)
{
	char digits[20];
	int i = 0;

	do
		digits[i++] = '0' + n % 10;
	while (n /= 10);
	while (i)
		letter(digits[--i]);
}

/* errno of what a call returned, 0 for none. */
static long failed(long r) { return r < 0 && r >= -4095 ? -r : 0; }

static unsigned long hex(const char **s)
{
	unsigned long n = 0;

	for (;; ++*s) {
		char c = **s;
		if (c >= '0' && c <= '9')
			n = n << 4 | (c - '0');
		else if (c >= 'a' && c <= 'f')
			n = n << 4 | (c - 'a' + 10);
		else
			return n;
	}
}

static long numbered(const char *s)
{
	long v[7];

	for (int i = 0; i < 7; i++) {
		v[i] = hex(&s);
		if (*s == ',')
			s++;
	}
	return failed(call(v[0], v[1], v[2], v[3], v[4], v[5], v[6]));
}

static long opened(const char *path, long flags)
{
	return call(OPENAT, AT_FDCWD, (long)path, flags | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0600, 0, 0);
}

static void closed(long fd)
{
	if (fd >= 0)
		call(CLOSE, fd, 0, 0, 0, 0, 0);
}

/* item carries one out and returns its errno. */
static long item(const char *s)
{
	static char buffer[4096];
	static const unsigned char localhost[16] = { 2, 0, 0, 9, 127, 0, 0, 1 };
	static char *ran[] = { "ran", "ran", 0 };
	const char *path = s + 1, *p;
	unsigned long *limit = (unsigned long *)buffer;
	long r, fd;

	switch (*s) {
	case 's':
		return numbered(path);
	case 'r':
		closed(fd = opened(path, 0));
		return failed(fd);
	case 'w':
		closed(fd = opened(path, O_WRONLY));
		return failed(fd);
	case 'c':
		closed(fd = opened(path, O_WRONLY | O_CREAT | O_EXCL));
		return failed(fd);
	case 't':
		return failed(call(NEWFSTATAT, AT_FDCWD, (long)path, (long)buffer, 0, 0, 0));
	case 'x':
		return failed(call(FACCESSAT, AT_FDCWD, (long)path, 1, 0, 0, 0));
	case 'm':
		fd = opened(path, 0);
		if (failed(fd))
			return failed(fd);
		r = call(MMAP, 0, 4096, 5, 2, fd, 0);
		closed(fd);
		return failed(r);
	case 'e':
		return failed(call(EXECVE, (long)path, (long)ran, (long)environment, 0, 0, 0));
	case 'W':
		return failed(call(MMAP, 0, 4096, 7, 0x22, -1, 0));
	case 'U':
		fd = call(SOCKET, 2, 2, 0, 0, 0, 0);
		if (failed(fd))
			return failed(fd);
		r = call(CONNECT, fd, (long)localhost, 16, 0, 0, 0);
		closed(fd);
		return failed(r);
	case 'E':
		for (char **e = environment; *e; e++) {
			text("\n=");
			text(*e);
		}
		return 0;
	case 'L':
		p = path;
		r = call(PRLIMIT64, 0, hex(&p), 0, (long)buffer, 0, 0);
		if (!failed(r)) {
			letter(' ');
			number(limit[0]);
			letter(' ');
			number(limit[1]);
		}
		return failed(r);
	case 'D':
		r = call(GETCWD, (long)buffer, sizeof buffer, 0, 0, 0, 0);
		if (!failed(r)) {
			letter(' ');
			text(buffer);
		}
		return failed(r);
	case 'H':
		r = call(UNAME, (long)buffer, 0, 0, 0, 0, 0);
		if (!failed(r)) {
			letter(' ');
			text(buffer + 65);
		}
		return failed(r);
	}
	return 4094;
}

__attribute__((used)) void begin(long *stack)
{
	long argc = stack[0];
	char **argv = (char **)(stack + 1);

	environment = argv + argc + 1;
	if (argc < 2)
		leave(98);
	switch (argv[1][0]) {
	case 'r':
		leave(77);
	case 'o':
		leave(item(argv[2]));
	case 'b':
		call(SETSID, 0, 0, 0, 0, 0, 0);
		call(PRCTL, 38, 1, 0, 0, 0, 0);
	}
	for (long i = 2; i < argc; i++) {
		long errno;

		letter('#');
		number(i - 2);
		errno = item(argv[i]);
		letter(' ');
		letter('!');
		number(errno);
		letter('\n');
	}
	flush();
	leave(0);
}
