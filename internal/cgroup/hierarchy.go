package cgroup

import (
	"strings"

	"golang.org/x/sys/unix"
)

// usualMounts are where the hierarchy is on a unified and on a hybrid host
// (systemd's docs/CGROUP_DELEGATION, "Three Different Tree Setups").
var usualMounts = [...]string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

// isHierarchy checks that fd lies on a version 2 hierarchy; ErrNoHierarchy
// otherwise.
func isHierarchy(fd int) error {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return err
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return ErrNoHierarchy
	}
	return nil
}

// findMount is the mount point of the version 2 hierarchy: a usual one, else
// the first in /proc/self/mountinfo.
func findMount() (string, error) {
	for _, path := range usualMounts {
		var st unix.Statfs_t
		if unix.Statfs(path, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return path, nil
		}
	}
	text, err := readFile(unix.AT_FDCWD, "/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	if mount := mountIn(text); mount != "" {
		return mount, nil
	}
	return "", ErrNoHierarchy
}

// mountIn finds the first cgroup2 mount point in the text of a mountinfo file
// (proc_pid_mountinfo(5)); empty when there is none.
func mountIn(text string) string {
	for line := range strings.SplitSeq(text, "\n") {
		head, tail, ok := strings.Cut(line, " - ")
		if !ok || !strings.HasPrefix(tail, "cgroup2 ") {
			continue
		}
		if fields := strings.Fields(head); len(fields) >= 5 {
			return unescape(fields[4])
		}
	}
	return ""
}

// unescape undoes the octal escapes of mountinfo (space, tab, newline,
// backslash).
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			out = append(out, (s[i+1]-'0')<<6|(s[i+2]-'0')<<3|(s[i+3]-'0'))
			i += 3
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

func octal(c byte) bool { return c >= '0' && c <= '7' }

// OwnText is the text that says in which groups the caller is.
func OwnText() (string, error) { return readFile(unix.AT_FDCWD, ownFile) }

const ownFile = "/proc/self/cgroup"

// ownGroup is the caller's group relative to the mount point, beginning with
// a slash (cgroups(7), "/proc files").
func ownGroup() (string, error) {
	text, err := OwnText()
	if err != nil {
		return "", err
	}
	own, err := ownIn(text)
	return own, wrap("read", ownFile, err)
}

// ownIn finds the version 2 line in the text of /proc/self/cgroup. A group
// outside the caller's cgroup namespace, or one that was removed, cannot be
// reached by name.
func ownIn(text string) (string, error) {
	for line := range strings.SplitSeq(text, "\n") {
		own, ok := strings.CutPrefix(line, "0::")
		if !ok {
			continue
		}
		if strings.HasPrefix(own, "/..") || strings.HasSuffix(own, " (deleted)") || !strings.HasPrefix(own, "/") {
			return "", &NotDelegatedError{Path: own, Err: unix.ENOENT}
		}
		return own, nil
	}
	return "", ErrNoHierarchy
}
