// Line 23: the terminal on standard input. The wrapper +pty gives a pty,
// watches it for injected input and prints what it saw.
#include "hostile.h"
#include <sys/ioctl.h>
#include <termios.h>

enum { NATIVE, STRAY, I386, X32 };

static long io(int how, unsigned long req, void *p)
{
	static char low[256]; // below 4 GiB for the 32-bit entry
	switch (how) {
	case STRAY: return sc(SYS_ioctl, 0, 0xdeadbeef00000000UL | req, p);
	case I386: memcpy(low, p, 64); return i386(54, 0, req, low);
	case X32: return sc(514 | X32BIT, 0, req, p);
	}
	return sc(SYS_ioctl, 0, req, p);
}

static void inject(const struct act *a)
{
	static char text[64] = "INJECTED\n";
	attempt("%s", a->name);
	for (char *c = text; *c; c++) {
		static char one[64];
		one[0] = *c;
		long r = io(a->a, TIOCSTI, one);
		if (r < 0)
			held("TIOCSTI: %ld", r);
	}
	through("TIOCSTI");
}

static void console(const struct act *a)
{
	static char sub[64] = {2}; // set selection
	if (a->b)
		sub[0] = a->b;
	attempt("%s", a->name);
	long r = io(a->a, TIOCLINUX, sub);
	if (r == -ENOTTY)
		through("TIOCLINUX reached the terminal driver");
	got(a->name, r);
}

static void control(const struct act *a)
{
	static struct termios t;
	static struct winsize w = {99, 99, 0, 0};
	static int n = 1;
	attempt("%s", a->name);
	long r = -ENOSYS;
	switch (a->a) {
	case 0: r = sc(SYS_ioctl, 0, TIOCSCTTY, 1); break;
	case 1: r = sc(SYS_openat, AT_FDCWD, "/dev/tty", O_RDWR); break;
	case 2: n = getpid(); r = sc(SYS_ioctl, 0, TIOCSPGRP, &n); break;
	case 3: n = 2; r = sc(SYS_ioctl, 0, TIOCSETD, &n); break;
	case 4: r = sc(SYS_ioctl, 0, TIOCNOTTY, 0); break;
	case 5:
		r = sc(SYS_ioctl, 0, TCGETS, &t);
		t.c_lflag &= ~(ECHO | ICANON);
		attempt("TCSETS");
		r = sc(SYS_ioctl, 0, TCSETS, &t);
		break;
	case 6: r = sc(SYS_ioctl, 0, TIOCSWINSZ, &w); break;
	case 7: r = sc(SYS_ioctl, 0, TCXONC, TCOOFF); break;
	case 8: r = sc(SYS_ioctl, 0, TCFLSH, TCIOFLUSH); break;
	case 9: r = sc(SYS_ioctl, 0, TIOCGPTPEER, O_RDWR); break;
	case 10: r = sc(SYS_ioctl, 0, TIOCGSID, &n); break;
	case 11: r = sc(SYS_ioctl, 0, TIOCEXCL, 0); break;
	case 12: r = sc(SYS_ioctl, 0, TIOCCONS, 0); break;
	case 13: r = sc(SYS_ioctl, 0, TIOCPKT, &n); break;
	case 14: r = sc(SYS_openat, AT_FDCWD, "/proc/self/fd/0", O_RDWR | O_NOCTTY); break;
	case 15: // become session leader, then steal
		if (!fork()) {
			sc(SYS_setsid);
			r = sc(SYS_ioctl, 0, TIOCSCTTY, 0);
			if (r >= 0)
				through("the terminal became a new session's");
			_exit(0);
		}
		wait(NULL);
		r = -EPERM;
		break;
	case 17: r = sc(SYS_ioctl, 0, HIGH | TCSETS, &t); break;
	case 18: r = sc(SYS_ioctl, 0, TIOCVHANGUP, 0); break;
	}
	if (a->a == 9 && r == -EIO)
		held("TIOCGPTPEER: %ld", r);
	got(a->name, r);
}

#define C(n, w) {.name = "tty-" n, .fn = control, .a = w}
const struct act acts_tty[] = {
	{.name = "tiocsti", .fn = inject, .a = NATIVE}, {.name = "tiocsti-stray", .fn = inject, .a = STRAY},
	{.name = "tiocsti-i386", .fn = inject, .a = I386}, {.name = "tiocsti-x32", .fn = inject, .a = X32},
	{.name = "tioclinux", .fn = console, .a = NATIVE}, {.name = "tioclinux-stray", .fn = console, .a = STRAY},
	{.name = "tioclinux-i386", .fn = console, .a = I386}, {.name = "tioclinux-paste", .fn = console, .a = NATIVE, .b = 3},
	C("steal", 0), C("open-dev-tty", 1), C("set-group", 2), C("line-discipline", 3), C("notty", 4), C("tcsets", 5),
	C("winsize", 6), C("flow-off", 7), C("flush", 8), C("pty-peer", 9), C("get-sid", 10), C("exclusive", 11),
	C("console", 12), C("packet", 13), C("reopen-stdin", 14), C("steal-setsid", 15), C("tcsets-stray", 17), C("hangup", 18),
	{0},
};
