// Lines 9 and 17: socket files of shown trees, abstract names, families.
#include "hostile.h"
#include <linux/net.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_un addr;

static socklen_t name(const char *key, const char *file)
{
	memset(&addr, 0, sizeof addr);
	addr.sun_family = AF_UNIX;
	if (!key) { // abstract
		const char *n = arg("abstract");
		memcpy(addr.sun_path + 1, n, strlen(n));
		return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(n);
	}
	const char *p = path(key, file);
	if (strlen(p) >= sizeof addr.sun_path)
		broken("%s is too long", p);
	strcpy(addr.sun_path, p);
	return sizeof addr;
}

enum { CONNECT, SENDTO, SENDMSG, PAIR_CONNECT, PAIR_SENDTO, PAIR_SENDMSG, PAIR_HI_SENDTO, SOCKET_HI, SENDMMSG, SOCKET32, BIND, PAIR_WRITE };

// unixsock reaches for the host's socket; s and t name it, b is its type.
static void unixsock(const struct act *a)
{
	socklen_t n = name(a->s, a->t);
	static struct iovec iov = {(void *)"hostile", 7};
	static struct { struct msghdr h; unsigned len; } mm;
	struct msghdr *m = &mm.h;
	long fd, sv = 0, r;
	static int pair[2];
	signal(SIGPIPE, SIG_IGN);
	m->msg_name = &addr;
	m->msg_namelen = n;
	m->msg_iov = &iov;
	m->msg_iovlen = 1;
	attempt("%s", a->name);
	switch (a->a) {
	case SOCKET_HI: fd = sc(SYS_socket, HIGH | AF_UNIX, HIGH | a->b, 0); break;
	case SOCKET32: fd = i386(359, AF_UNIX, a->b, 0); break;
	case PAIR_CONNECT: case PAIR_SENDTO: case PAIR_SENDMSG: case PAIR_WRITE:
		sv = sc(SYS_socketpair, AF_UNIX, a->b, 0, pair);
		fd = sv < 0 ? sv : pair[0];
		break;
	case PAIR_HI_SENDTO:
		sv = sc(SYS_socketpair, HIGH | AF_UNIX, 0xdeadbeef00000000UL | a->b, 0, pair);
		fd = sv < 0 ? sv : pair[0];
		break;
	default: fd = sc(SYS_socket, AF_UNIX, a->b, 0);
	}
	if (fd < 0)
		held("%s: no socket: %ld", a->name, fd);
	switch (a->a) {
	case SENDTO: case PAIR_SENDTO: case PAIR_HI_SENDTO: r = sc(SYS_sendto, fd, "hostile", 7, 0, &addr, n); break;
	case SENDMSG: case PAIR_SENDMSG: r = sc(SYS_sendmsg, fd, m, 0); break;
	case SENDMMSG: r = sc(SYS_sendmmsg, fd, &mm, 1, 0); break;
	case BIND: r = sc(SYS_bind, fd, &addr, n); break;
	default: r = sc(SYS_connect, fd, &addr, n);
	}
	if (r >= 0 && a->a != BIND)
		(void)!write(fd, "hostile", 7);
	got(a->name, r);
}

// multiplex goes through socketcall of the 32-bit entry: socket, then
// connect, both with arguments in memory.
static void multiplex(const struct act *a)
{
	static uint32_t v[3];
	socklen_t n = a->a == AF_UNIX ? name(a->s, a->t) : 0;
	v[0] = a->a;
	v[1] = a->b;
	v[2] = a->c;
	attempt("socketcall(SYS_SOCKET)");
	long fd = i386(102, SYS_SOCKET, v);
	if (fd < 0)
		held("socketcall: %ld", fd);
	if (a->a != AF_UNIX)
		through("socketcall made family %ld", a->a);
	v[0] = fd;
	v[1] = (uint32_t)(uintptr_t)&addr;
	v[2] = n;
	got(a->name, i386(102, SYS_CONNECT, v));
}

// family: a socket of any family is through; EAFNOSUPPORT, EPERM and a kill
// hold. a family, b type, c protocol.
static void family(const struct act *a)
{
	attempt("socket(%ld, %ld, %ld)", a->a, a->b, a->c);
	long r = sc(SYS_socket, a->a, a->b, a->c);
	if (r == -EAFNOSUPPORT)
		held("%s: EAFNOSUPPORT", a->name);
	if (r == -EPROTONOSUPPORT || r == -ESOCKTNOSUPPORT)
		through("%s: the kernel's family code answered %ld", a->name, r);
	got(a->name, r);
}

static void family_x32(const struct act *a)
{
	attempt("%s", a->name);
	got(a->name, sc(SYS_socket | X32BIT, a->a, a->b, a->c));
}

static void family_32(const struct act *a)
{
	attempt("%s", a->name);
	got(a->name, i386(359, a->a, a->b, a->c));
}

// every family, every type, one process.
static void sweep(const struct act *a)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_RDM, SOCK_SEQPACKET, SOCK_PACKET};
	(void)a;
	attempt("every family");
	for (long f = 0; f < 64; f++)
		for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
			long r = sc(SYS_socket, a->a | f, types[t], 0);
			if (r >= 0)
				through("socket(%ld, %d)", f, types[t]);
		}
	held("none of 64 families");
}

static void inet_pair(const struct act *a)
{
	static int pair[2];
	attempt("socketpair");
	got(a->name, sc(SYS_socketpair, a->a, a->b, 0, pair));
}

// The stdin that the caller passed is a socket of the host.
static void stdin_socket(const struct act *a)
{
	static struct sockaddr_un peer;
	static socklen_t n = sizeof peer;
	(void)a;
	attempt("getpeername(0)");
	long r = sc(SYS_getpeername, 0, &peer, &n);
	if (r < 0)
		held("stdin is no connected socket, or not to be asked: %ld", r);
	got("send on the caller's socket", sc(SYS_sendto, 0, "hostile", 7, 0, NULL, 0));
}

#define U(n, w, ty, k, f) {.name = "unix-" n, .fn = unixsock, .a = w, .b = ty, .s = k, .t = f}
#define F(n, f, ty, pr) {.name = "family-" n, .fn = family, .a = f, .b = ty, .c = pr}
const struct act acts_sockets[] = {
	U("stream-ro", CONNECT, SOCK_STREAM, "ro", "stream.sock"),
	U("stream-rw", CONNECT, SOCK_STREAM, "rw", "stream.sock"),
	U("seqpacket-ro", CONNECT, SOCK_SEQPACKET, "ro", "seq.sock"),
	U("dgram-connect-ro", CONNECT, SOCK_DGRAM, "ro", "dgram.sock"),
	U("dgram-sendto-ro", SENDTO, SOCK_DGRAM, "ro", "dgram.sock"),
	U("dgram-sendmsg-ro", SENDMSG, SOCK_DGRAM, "ro", "dgram.sock"),
	U("dgram-sendmmsg-ro", SENDMMSG, SOCK_DGRAM, "ro", "dgram.sock"),
	U("dgram-sendto-rw", SENDTO, SOCK_DGRAM, "rw", "dgram.sock"),
	U("pair-dgram-connect", PAIR_CONNECT, SOCK_DGRAM, "ro", "dgram.sock"),
	U("pair-dgram-sendto", PAIR_SENDTO, SOCK_DGRAM, "ro", "dgram.sock"),
	U("pair-dgram-sendmsg", PAIR_SENDMSG, SOCK_DGRAM, "ro", "dgram.sock"),
	U("pair-raw-sendmsg", PAIR_SENDMSG, SOCK_RAW, "ro", "dgram.sock"),
	U("pair-dgram-cloexec", PAIR_SENDMSG, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, "ro", "dgram.sock"),
	U("pair-dgram-stray", PAIR_HI_SENDTO, SOCK_DGRAM, "ro", "dgram.sock"),
	U("socket-stray", SOCKET_HI, SOCK_STREAM, "ro", "stream.sock"),
	U("socket-i386", SOCKET32, SOCK_STREAM, "ro", "stream.sock"),
	U("abstract-stream", CONNECT, SOCK_STREAM, NULL, NULL),
	U("abstract-stray", SOCKET_HI, SOCK_STREAM, NULL, NULL),
	U("bind-rw", BIND, SOCK_STREAM, "rw", "made.sock"),
	{.name = "socketcall-unix", .fn = multiplex, .a = AF_UNIX, .b = SOCK_STREAM, .s = "ro", .t = "stream.sock"},
	{.name = "socketcall-abstract", .fn = multiplex, .a = AF_UNIX, .b = SOCK_STREAM},
	{.name = "socketcall-vsock", .fn = multiplex, .a = AF_VSOCK, .b = SOCK_STREAM},
	{.name = "socketcall-inet", .fn = multiplex, .a = AF_INET, .b = SOCK_STREAM},
	{.name = "socketcall-netlink", .fn = multiplex, .a = AF_NETLINK, .b = SOCK_RAW},
	F("unix", AF_UNIX, SOCK_STREAM, 0), F("inet", AF_INET, SOCK_STREAM, 0), F("inet-udp", AF_INET, SOCK_DGRAM, 0),
	F("inet6", AF_INET6, SOCK_STREAM, 0), F("inet-raw", AF_INET, SOCK_RAW, 1), F("ping", AF_INET, SOCK_DGRAM, 1),
	F("vsock", AF_VSOCK, SOCK_STREAM, 0), F("vsock-dgram", AF_VSOCK, SOCK_DGRAM, 0),
	F("vsock-stray", HIGH | AF_VSOCK, SOCK_STREAM, 0), F("inet-stray", HIGH | AF_INET, SOCK_STREAM, 0),
	F("netlink-stray", 0xdeadbeef00000000L | AF_NETLINK, SOCK_RAW, 0), F("alg-stray", HIGH | AF_ALG, SOCK_SEQPACKET, 0),
	F("netlink-route", AF_NETLINK, SOCK_RAW, 0), F("netlink-audit", AF_NETLINK, SOCK_RAW, 9),
	F("netlink-netfilter", AF_NETLINK, SOCK_RAW, 12), F("netlink-uevent", AF_NETLINK, SOCK_DGRAM, 15),
	F("netlink-generic", AF_NETLINK, SOCK_RAW, 16), F("netlink-crypto", AF_NETLINK, SOCK_RAW, 21),
	F("packet", AF_PACKET, SOCK_RAW, 0x300), F("packet-old", AF_INET, SOCK_PACKET, 0x300), F("alg", AF_ALG, SOCK_SEQPACKET, 0),
	F("key", AF_KEY, SOCK_RAW, 2), F("bluetooth", AF_BLUETOOTH, SOCK_RAW, 1), F("can", AF_CAN, SOCK_RAW, 1),
	F("xdp", AF_XDP, SOCK_RAW, 0), F("tipc", AF_TIPC, SOCK_DGRAM, 0), F("smc", 43, SOCK_STREAM, 0),
	F("rds", AF_RDS, SOCK_SEQPACKET, 0), F("mctp", 45, SOCK_DGRAM, 0), F("qipcrtr", 42, SOCK_DGRAM, 0),
	F("kcm", AF_KCM, SOCK_DGRAM, 0), F("x25", AF_X25, SOCK_SEQPACKET, 0), F("ax25", AF_AX25, SOCK_DGRAM, 0),
	F("appletalk", AF_APPLETALK, SOCK_DGRAM, 0), F("nfc", AF_NFC, SOCK_SEQPACKET, 0), F("pppox", AF_PPPOX, SOCK_DGRAM, 0),
	F("llc", AF_LLC, SOCK_DGRAM, 0), F("phonet", AF_PHONET, SOCK_DGRAM, 0), F("ieee802154", AF_IEEE802154, SOCK_DGRAM, 0),
	{.name = "family-sweep", .fn = sweep}, {.name = "family-sweep-stray", .fn = sweep, .a = HIGH},
	{.name = "family-x32-inet", .fn = family_x32, .a = AF_INET, .b = SOCK_STREAM},
	{.name = "family-i386-inet", .fn = family_32, .a = AF_INET, .b = SOCK_STREAM},
	{.name = "family-i386-vsock", .fn = family_32, .a = AF_VSOCK, .b = SOCK_STREAM},
	{.name = "socketpair-vsock", .fn = inet_pair, .a = AF_VSOCK, .b = SOCK_SEQPACKET},
	{.name = "socketpair-tipc", .fn = inet_pair, .a = AF_TIPC, .b = SOCK_SEQPACKET},
	{.name = "stdin-socket", .fn = stdin_socket},
	{0},
};
