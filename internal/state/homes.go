package state

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxPasswd bounds what is read of /etc/passwd, in bytes. A line has about 60:
// half of it would lose users of large hosts, twice gains none.
const maxPasswd = 1 << 20

// Homes lists the home directories of the effective user: HOME, which he may
// set as he likes, and the one in /etc/passwd. A user whom only a directory
// service knows has the first alone. Entries are absolute and not "/".
func Homes() []string { return homes(os.Getenv("HOME"), passwdHome("/etc/passwd", os.Geteuid())) }

// HomesOf lists the home directories of another user, as far as /etc/passwd
// knows them.
func HomesOf(uid int) []string { return homes(passwdHome("/etc/passwd", uid)) }

func homes(named ...string) (homes []string) {
	for _, h := range named {
		h = strings.TrimRight(h, "/")
		if strings.HasPrefix(h, "/") && !slices.Contains(homes, h) {
			homes = append(homes, h)
		}
	}
	return homes
}

// Defaults lists every directory that [Dir] is, or would be in another
// environment of the same user.
func Defaults() []string {
	dirs := []string{"/var/lib/sbx"}
	if d := os.Getenv("SBX_STATE"); strings.HasPrefix(d, "/") {
		dirs = append(dirs, d)
	}
	if d := os.Getenv("XDG_STATE_HOME"); strings.HasPrefix(d, "/") {
		dirs = append(dirs, d+"/sbx")
	}
	for _, h := range Homes() {
		dirs = append(dirs, h+"/.local/state/sbx")
	}
	return dirs
}

// passwdHome is the home directory of the first line of a passwd(5) file with
// that uid, or "". os/user would bring net or cgo into the small executable.
func passwdHome(file string, uid int) string {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var text []byte
	buf := make([]byte, 16<<10)
	for len(text) < maxPasswd {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		text = append(text, buf[:n]...)
	}
	id := strconv.Itoa(uid)
	for line := range strings.SplitSeq(string(text), "\n") {
		// name:password:UID:GID:GECOS:directory:shell
		if f := strings.Split(line, ":"); len(f) == 7 && f[2] == id {
			return f[5]
		}
	}
	return ""
}
