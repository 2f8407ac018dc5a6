package ctl

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/state"
)

// RuntimeDir is where a daemon of this user has its sockets: SBX_RUNTIME, else
// /run/sbx for root, else $XDG_RUNTIME_DIR/sbx. It is empty when none can be
// named.
func RuntimeDir() string {
	if d := os.Getenv("SBX_RUNTIME"); strings.HasPrefix(d, "/") {
		return d
	}
	if os.Geteuid() == 0 {
		return systemRuntime
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); strings.HasPrefix(d, "/") {
		return d + "/sbx"
	}
	return ""
}

const systemRuntime = "/run/sbx"

// runtimeDirs are where a client looks for the socket of a registry: root's
// daemon serves everybody, so its directory comes first.
func runtimeDirs() []string {
	own := RuntimeDir()
	if os.Getenv("SBX_RUNTIME") != "" || own == systemRuntime {
		return []string{own}
	}
	return []string{systemRuntime, own}
}

// SocketName is the name of the run socket of the registry with this key
// (state.RegistryKey).
func SocketName(key string) string { return key + ".sock" }

// UnitSocket is the name of the run socket in dist/systemd/sbx.socket. A unit
// cannot know the key of a registry, so this name stands for that of the
// system's: a call finds it, and thereby starts the daemon, before the daemon
// has ever given it the registry's own name in this boot.
const UnitSocket = "sbx.sock"

const systemRegistry = "/etc/sbx/registry"

// SystemKey tells whether a key is that of the registry that a daemon of the
// system serves: the system's, or where there is none the built-in one.
func SystemKey(key string) bool {
	var st unix.Stat_t
	switch unix.Stat(systemRegistry, &st) {
	case nil:
		return key == state.RegistryKey(&st)
	case unix.ENOENT:
		return key == state.BuiltinKey
	}
	return false
}

// socketPaths are where the socket of a registry may be, in the order in which
// they are tried.
func socketPaths(key string) (paths []string) {
	system := SystemKey(key)
	for _, dir := range runtimeDirs() {
		if dir == "" {
			continue
		}
		paths = append(paths, dir+"/"+SocketName(key))
		if system && (dir == systemRuntime || os.Getenv("SBX_RUNTIME") != "") {
			paths = append(paths, dir+"/"+UnitSocket)
		}
	}
	return paths
}

// socketKeys are the keys of the registries that apply, in order of
// precedence. The last one's daemon may answer with built-in commands too.
func (v *Invocation) socketKeys() []string {
	var keys []string
	for _, r := range Registries(v.Registry) {
		var st unix.Stat_t
		if unix.Stat(r, &st) == nil {
			keys = append(keys, state.RegistryKey(&st))
		}
	}
	if len(keys) == 0 {
		keys = append(keys, state.BuiltinKey)
	}
	return keys
}

// Served tells whether a call of this user's is answered by a daemon of the
// registry with this key.
func Served(key string) bool {
	for _, path := range socketPaths(key) {
		if fd := dial(path); fd >= 0 {
			unix.Close(fd)
			return true
		}
	}
	return false
}

// dial connects to the daemon behind a socket; -1: there is none.
//
// Trust boundary. Who controls the input: whoever can write the runtime
// directory or one above it. What privilege is held: the caller's, and his
// descriptors, environment and arguments are about to be sent. What has been
// checked: nothing. What fails closed: directory, socket and the process behind
// it must each belong to root or the caller, and others must not be able to
// write the directory; else there is no daemon.
func dial(path string) int {
	own := uint32(unix.Geteuid())
	ours := func(uid uint32) bool { return uid == 0 || uid == own }
	dir := path[:strings.LastIndexByte(path, '/')]
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK || !ours(st.Uid) {
		return -1
	}
	if unix.Lstat(dir, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || !ours(st.Uid) || st.Mode&0o022 != 0 {
		return -1
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	// A daemon that hangs must not hang its callers: connect(2) waits as long
	// as a send does.
	patience := unix.Timeval{Sec: 5}
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		var peer *unix.Ucred
		if peer, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil && !ours(peer.Uid) {
			err = unix.EACCES
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1
	}
	return fd
}
