// Modes that run outside the sandbox: `hostile +MODE ... -- CMD ARGS` gives
// CMD a hostile caller and executes it.
#include "hostile.h"
#include <poll.h>
#include <grp.h>
#include <pty.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>

static void place(int fd, int at)
{
	if (fd < 0 || dup2(fd, at) != at)
		broken("descriptor %d: %s", at, strerror(errno));
	if (fd != at)
		close(fd);
}

static int high(int fd)
{
	return fcntl(fd, F_DUPFD, 200);
}

// inherit opens one of each kind; keep in step with inherit.c. dir is the
// directory of the secret.
static void inherit(const char *dir)
{
	static const int files[] = {3, 1000, 1024, 4095, 19000};
	struct rlimit l = {20000, 20000};
	char p[4096];
	int pair[2], pty, slave;
	struct rlimit now;
	getrlimit(RLIMIT_NOFILE, &now);
	if (now.rlim_max > l.rlim_max)
		l.rlim_max = now.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &l)) {
		getrlimit(RLIMIT_NOFILE, &l);
		broken("RLIMIT_NOFILE is %lu, 20000 is needed", l.rlim_max);
	}
	snprintf(p, sizeof p, "%s/secret", dir);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		place(high(open(p, O_RDONLY)), files[i]);
	place(high(open(dir, O_RDONLY | O_DIRECTORY)), 9);
	place(high(open(dir, O_RDONLY | O_DIRECTORY)), 1500);
	place(high(open("/", O_PATH | O_DIRECTORY)), 10);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		broken("socketpair");
	place(high(pair[0]), 11);
	place(high(pair[1]), 12);
	place(high(syscall(SYS_pidfd_open, getpid(), 0)), 13);
	place(high(open("/proc/self/ns/net", O_RDONLY)), 14);
	place(high(open("/proc/self/ns/mnt", O_RDONLY)), 15);
	place(high(open("/proc/self/ns/user", O_RDONLY)), 16);
	place(high(epoll_create1(0)), 17);
	place(high(memfd_create("outside", 0)), 18);
	if (openpty(&pty, &slave, NULL, NULL, NULL))
		broken("openpty");
	place(high(pty), 19);
	place(high(eventfd(0, 0)), 20);
	if (pipe(pair))
		broken("pipe");
	place(high(pair[1]), 21);
	for (int fd = 3; fd < 300; fd++) // no accident closes them on exec
		fcntl(fd, F_SETFD, 0);
}

// dirty gives a caller with everything set that must not be inherited.
static void dirty(const char *dir)
{
	sigset_t s;
	umask(0);
	if (chdir(dir))
		broken("chdir");
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigaddset(&s, SIGTERM);
	sigaddset(&s, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &s, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGRTMIN + 4, SIG_IGN);
	personality(ADDR_NO_RANDOMIZE);
	prctl(PR_SET_TIMERSLACK, 123456, 0, 0, 0);
	struct rlimit core = {RLIM_INFINITY, RLIM_INFINITY};
	getrlimit(RLIMIT_CORE, &core);
	core.rlim_cur = core.rlim_max;
	setrlimit(RLIMIT_CORE, &core);
}

// terminal runs cmd as the foreground job of a new pty and copies what it
// prints; afterwards it reads what lies in the terminal's input and prints
// INJECTED or CLEAN, and SETTINGS when the terminal was changed.
static int terminal(char **cmd)
{
	int m, st = 0, tries = 0;
	struct termios before, after;
	pid_t p = forkpty(&m, NULL, NULL, NULL);
	if (p < 0)
		broken("forkpty: %s", strerror(errno));
	if (!p) {
		// The session leader stays outside of the sandbox and looks at the
		// terminal after the run.
		tcgetattr(0, &before);
		before.c_lflag &= ~ECHO;
		tcsetattr(0, TCSANOW, &before);
		pid_t q = fork();
		if (!q) {
			execv(cmd[0], cmd);
			_exit(127);
		}
		waitpid(q, &st, 0);
		int n = 0;
		ioctl(0, FIONREAD, &n);
		struct winsize w = {0};
		ioctl(0, TIOCGWINSZ, &w);
		int raw = tcgetattr(0, &after);
		if (n)
			say("INJECTED %d bytes", n);
		if (raw || before.c_lflag != after.c_lflag)
			say("SETTINGS changed");
		if (w.ws_row == 99)
			say("SETTINGS window size");
		say("CLEAN");
		_exit(WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st));
	}
	char buf[4096];
	for (;;) {
		struct pollfd f = {m, POLLIN, 0};
		if (poll(&f, 1, 20000) <= 0)
			break;
		ssize_t n = read(m, buf, sizeof buf);
		if (n <= 0)
			break;
		(void)!write(1, buf, n);
	}
	while (waitpid(p, &st, WNOHANG) == 0 && tries++ < 100)
		sleep_ms(50);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

// own_mounts gives a mount namespace whose mounts propagate nowhere, or
// (shared) among the namespaces made from it.
static void own_mounts(unsigned long propagation)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    (propagation && mount(NULL, "/", NULL, MS_REC | propagation, NULL)))
		broken("mount namespace: %s", strerror(errno));
}

static void put(const char *dir, const char *name, mode_t mode)
{
	char p[4096];
	snprintf(p, sizeof p, "%s/%s", dir, name);
	int fd = open(p, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, "below\n", 6) != 6 || fchmod(fd, mode))
		broken("%s: %s", p, strerror(errno));
	close(fd);
}

// submount hides ro/sub, in which the driver put a file "beneath", by a file
// system that is as writable as can be.
static void submount(const char *ro)
{
	char p[4096];
	own_mounts(0);
	snprintf(p, sizeof p, "%s/sub", ro);
	if (mount("sub", p, "tmpfs", 0, "mode=777"))
		broken("mount: %s", strerror(errno));
	put(p, "file", 0666);
	snprintf(p, sizeof p, "%s/sub/dir", ro);
	if (mkdir(p, 0777) || chmod(p, 0777))
		broken("mkdir: %s", strerror(errno));
}

// late mounts on ro/late after the command has started.
static void late(const char *ro)
{
	char p[4096];
	own_mounts(MS_SHARED);
	snprintf(p, sizeof p, "%s/late", ro);
	if (fork())
		return;
	close(1); // the command's output ends with the command
	close(2);
	sleep_ms(700);
	if (mount("late", p, "tmpfs", 0, "mode=777"))
		_exit(1);
	put(p, "appeared", 0666);
	sleep_ms(3000);
	umount2(p, MNT_DETACH);
	_exit(0);
}

// weak makes the simplest of sandboxes, one PID namespace with its /proc, and
// stays in it as an init that is open to the program.
static int weak(char **cmd)
{
	int st = 0;
	own_mounts(0);
	if (unshare(CLONE_NEWPID))
		broken("PID namespace: %s", strerror(errno));
	pid_t p = fork();
	if (!p) {
		if (mount("proc", "/proc", "proc", 0, NULL))
			broken("mount proc: %s", strerror(errno));
		pid_t q = fork();
		if (!q) {
			execv(cmd[0], cmd);
			_exit(127);
		}
		waitpid(q, &st, 0);
		_exit(WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st));
	}
	waitpid(p, &st, 0);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

// as becomes an ordinary user, with one supplementary group.
static void as(const char *id)
{
	gid_t g = atoi(id);
	if (setgroups(1, &g) || setresgid(g, g, g) || setresuid(g, g, g))
		broken("setresuid %s: %s", id, strerror(errno));
}

int outside(int argc, char **argv)
{
	int i = 2;
	while (i < argc && strcmp(argv[i], "--"))
		i++;
	char **cmd = argv + i + 1;
	if (i + 1 >= argc)
		broken("%s: no command", argv[1]);
	if (!strcmp(argv[1], "+pty"))
		return terminal(cmd);
	if (!strcmp(argv[1], "+weak"))
		return weak(cmd);
	if (!strcmp(argv[1], "+inherit"))
		inherit(argv[2]);
	else if (!strcmp(argv[1], "+dirty"))
		dirty(argv[2]);
	else if (!strcmp(argv[1], "+submount"))
		submount(argv[2]);
	else if (!strcmp(argv[1], "+late"))
		late(argv[2]);
	else if (!strcmp(argv[1], "+as"))
		as(argv[2]);
	else if (!strcmp(argv[1], "+no-argv")) {
		static char *none[] = {NULL};
		execve(cmd[0], none, environ);
	} else
		broken("no such mode %s", argv[1]);
	execv(cmd[0], cmd);
	broken("execv %s: %s", cmd[0], strerror(errno));
}
