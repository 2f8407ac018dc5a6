package policy

import "sort"

// Family returns the number of an address family (socket(2), AF_X) that
// `sockets:` may name.
func Family(name string) (uint32, bool) { n, ok := families[name]; return n, ok }

// Capability returns the number of a capability (capabilities(7)), written
// CAP_X.
func Capability(name string) (uint32, bool) {
	for i, c := range capabilities {
		if c == name {
			return uint32(i), true
		}
	}
	return 0, false
}

// RlimitResource returns the number of a resource of getrlimit(2), written in lower
// case without RLIMIT_. The numbers are those of asm-generic/resource.h, which
// amd64 and arm64 share.
func RlimitResource(name string) (uint32, bool) {
	r, ok := rlimits[name]
	return r.number, ok
}

// Errno returns the number of an errno name of errno(3). The numbers are
// those of asm-generic, which amd64 and arm64 share.
func Errno(name string) (uint16, bool) { n, ok := errnos[name]; return n, ok }

// Layers are the names that `require:` may hold and that a result's layers
// carry, sorted.
func Layers() []string { return append([]string(nil), layers...) }

// families of linux/socket.h.
var families = map[string]uint32{
	"unix": 1, "inet": 2, "ax25": 3, "ipx": 4, "appletalk": 5, "netrom": 6, "bridge": 7,
	"atmpvc": 8, "x25": 9, "inet6": 10, "rose": 11, "decnet": 12, "key": 15, "netlink": 16,
	"packet": 17, "rds": 21, "pppox": 24, "llc": 26, "ib": 27, "mpls": 28, "can": 29,
	"tipc": 30, "bluetooth": 31, "rxrpc": 33, "phonet": 35, "ieee802154": 36, "caif": 37,
	"alg": 38, "nfc": 39, "vsock": 40, "kcm": 41, "qipcrtr": 42, "smc": 43, "xdp": 44, "mctp": 45,
}

// capabilities of linux/capability.h by number, up to Linux 6.18.
var capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
	"CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW",
	"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
	"CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE",
	"CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE",
	"CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ",
	"CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// rlimit is one resource; bytes tells which take a size.
type rlimit struct {
	number uint32
	bytes  bool
}

var rlimits = map[string]rlimit{
	"cpu": {0, false}, "fsize": {1, true}, "data": {2, true}, "stack": {3, true},
	"core": {4, true}, "rss": {5, true}, "nproc": {6, false}, "nofile": {7, false},
	"memlock": {8, true}, "as": {9, true}, "locks": {10, false}, "sigpending": {11, false},
	"msgqueue": {12, true}, "nice": {13, false}, "rtprio": {14, false}, "rttime": {15, false},
}

// errnos are the names of errno(3).
var errnos = map[string]uint16{
	"EPERM": 1, "ENOENT": 2, "ESRCH": 3, "EINTR": 4, "EIO": 5, "ENXIO": 6, "E2BIG": 7,
	"ENOEXEC": 8, "EBADF": 9, "ECHILD": 10, "EAGAIN": 11, "EWOULDBLOCK": 11, "ENOMEM": 12,
	"EACCES": 13, "EFAULT": 14, "ENOTBLK": 15, "EBUSY": 16, "EEXIST": 17, "EXDEV": 18,
	"ENODEV": 19, "ENOTDIR": 20, "EISDIR": 21, "EINVAL": 22, "ENFILE": 23, "EMFILE": 24,
	"ENOTTY": 25, "ETXTBSY": 26, "EFBIG": 27, "ENOSPC": 28, "ESPIPE": 29, "EROFS": 30,
	"EMLINK": 31, "EPIPE": 32, "EDOM": 33, "ERANGE": 34, "EDEADLK": 35, "EDEADLOCK": 35,
	"ENAMETOOLONG": 36, "ENOLCK": 37, "ENOSYS": 38, "ENOTEMPTY": 39, "ELOOP": 40, "ENOMSG": 42,
	"EIDRM": 43, "ECHRNG": 44, "EL2NSYNC": 45, "EL3HLT": 46, "EL3RST": 47, "ELNRNG": 48,
	"EUNATCH": 49, "ENOCSI": 50, "EL2HLT": 51, "EBADE": 52, "EBADR": 53, "EXFULL": 54,
	"ENOANO": 55, "EBADRQC": 56, "EBADSLT": 57, "EBFONT": 59, "ENOSTR": 60, "ENODATA": 61,
	"ETIME": 62, "ENOSR": 63, "ENONET": 64, "ENOPKG": 65, "EREMOTE": 66, "ENOLINK": 67,
	"EADV": 68, "ESRMNT": 69, "ECOMM": 70, "EPROTO": 71, "EMULTIHOP": 72, "EDOTDOT": 73,
	"EBADMSG": 74, "EOVERFLOW": 75, "ENOTUNIQ": 76, "EBADFD": 77, "EREMCHG": 78, "ELIBACC": 79,
	"ELIBBAD": 80, "ELIBSCN": 81, "ELIBMAX": 82, "ELIBEXEC": 83, "EILSEQ": 84, "ERESTART": 85,
	"ESTRPIPE": 86, "EUSERS": 87, "ENOTSOCK": 88, "EDESTADDRREQ": 89, "EMSGSIZE": 90,
	"EPROTOTYPE": 91, "ENOPROTOOPT": 92, "EPROTONOSUPPORT": 93, "ESOCKTNOSUPPORT": 94,
	"ENOTSUP": 95, "EOPNOTSUPP": 95, "EPFNOSUPPORT": 96, "EAFNOSUPPORT": 97, "EADDRINUSE": 98,
	"EADDRNOTAVAIL": 99, "ENETDOWN": 100, "ENETUNREACH": 101, "ENETRESET": 102,
	"ECONNABORTED": 103, "ECONNRESET": 104, "ENOBUFS": 105, "EISCONN": 106, "ENOTCONN": 107,
	"ESHUTDOWN": 108, "ETOOMANYREFS": 109, "ETIMEDOUT": 110, "ECONNREFUSED": 111,
	"EHOSTDOWN": 112, "EHOSTUNREACH": 113, "EALREADY": 114, "EINPROGRESS": 115, "ESTALE": 116,
	"EUCLEAN": 117, "ENOTNAM": 118, "ENAVAIL": 119, "EISNAM": 120, "EREMOTEIO": 121,
	"EDQUOT": 122, "ENOMEDIUM": 123, "EMEDIUMTYPE": 124, "ECANCELED": 125, "ENOKEY": 126,
	"EKEYEXPIRED": 127, "EKEYREVOKED": 128, "EKEYREJECTED": 129, "EOWNERDEAD": 130,
	"ENOTRECOVERABLE": 131, "ERFKILL": 132, "EHWPOISON": 133,
}

// layers, sorted.
var layers = []string{
	"audit", "capabilities", "cgroup", "cgroup.cpu", "cgroup.io", "cgroup.memory",
	"cgroup.pids", "cgroupns", "exec-once", "fifos", "identity", "idmap", "ipcns", "keyring",
	"landlock", "listener", "mdwe", "mountns", "netns", "no_new_privs", "noexec", "pidns",
	"proc", "seccomp", "timens", "userns", "userns.limit", "utsns",
}

// sortedKeys returns the keys of m in order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// FamilyNames lists what Family knows, sorted.
func FamilyNames() []string { return sortedKeys(families) }

// CapabilityNames lists what Capability knows, by number.
func CapabilityNames() []string { return append([]string(nil), capabilities...) }

// ErrnoNames lists what Errno knows, sorted.
func ErrnoNames() []string { return sortedKeys(errnos) }
