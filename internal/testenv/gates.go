package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Root lets the test go on when it has the superuser's rights: effective uid
// 0 and CAP_SYS_ADMIN (a container's root may lack it).
func Root(t testing.TB) {
	t.Helper()
	if unix.Geteuid() != 0 {
		missing(t, "not root")
	}
	if !hasCapability(unix.CAP_SYS_ADMIN) {
		missing(t, "root without CAP_SYS_ADMIN")
	}
}

// Systemd lets the test go on where it may install units and start them: with
// SBX_TEST_SYSTEMD=1, which is for machines to throw away. There process 1 must
// be systemd and the test root, or it fails.
func Systemd(t testing.TB) {
	t.Helper()
	if os.Getenv("SBX_TEST_SYSTEMD") != "1" {
		skip(t, "changes units and /usr: only with SBX_TEST_SYSTEMD=1 (make test-vm-systemd)")
	}
	name, err := os.ReadFile("/proc/1/comm")
	if err != nil || string(name) != "systemd\n" || unix.Geteuid() != 0 {
		t.Fatalf("SBX_TEST_SYSTEMD=1 and process 1 is %q (%v), uid %d", name, err, unix.Geteuid())
	}
}

// Program returns the path of a program that the test compares with, which
// scripts/setup installs.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, "no program "+name+" (make setup)")
	}
	return path
}

// hasCapability reads the effective set from /proc/self/status
// (proc_pid_status(5)).
func hasCapability(capability uint) bool {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && set&(1<<capability) != 0
		}
	}
	return false
}

// Controllers lets the test go on when the version 2 hierarchy offers these
// controllers at its root. A controller that /proc/cgroups shows bound to a
// version 1 hierarchy cannot be had on this host, so the test is skipped by
// name even when Strict.
func Controllers(t testing.TB, names ...string) {
	t.Helper()
	mount := CgroupMount()
	if mount == "" {
		missing(t, "no cgroup v2 hierarchy is mounted")
	}
	text, err := os.ReadFile(mount + "/cgroup.controllers")
	if err != nil {
		missing(t, err.Error())
	}
	have := strings.Fields(string(text))
	for _, name := range names {
		if contains(have, name) {
			continue
		}
		if boundToV1(name) {
			skip(t, "hybrid cgroups: controller "+name+" is bound to version 1 on this host")
		}
		missing(t, "controller "+name+" is not in "+mount+"/cgroup.controllers")
	}
}

func contains(list []string, item string) bool {
	for _, s := range list {
		if s == item {
			return true
		}
	}
	return false
}

// CgroupMount is the mount point of the version 2 hierarchy, one of the two
// usual ones; empty when there is none.
func CgroupMount() string {
	for _, path := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(path, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return path
		}
	}
	return ""
}

// boundToV1 reports whether the controller is attached to a version 1
// hierarchy: the second column of /proc/cgroups is not 0 (cgroups(7)). The
// version 1 name of io is blkio.
func boundToV1(name string) bool {
	text, err := os.ReadFile("/proc/cgroups")
	if err != nil {
		return false
	}
	if name == "io" {
		name = "blkio"
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == name {
			return f[1] != "0"
		}
	}
	return false
}

// UserNamespaces lets the test go on when this process may make a user
// namespace.
func UserNamespaces(t testing.TB) {
	t.Helper()
	// The program does not exist: ENOENT comes from execve(2), so the clone
	// before it worked.
	cmd := exec.Command("/nonexistent/program")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	if err := cmd.Run(); !errors.Is(err, unix.ENOENT) {
		missing(t, fmt.Sprintf("no user namespaces: %v", err))
	}
}

// Kernel lets the test go on when the kernel is at least major.minor. An older
// one cannot give the feature, so the test is skipped by name even when
// Strict.
func Kernel(t testing.TB, major, minor int) {
	t.Helper()
	if haveMajor, haveMinor := release(t); !atLeast(haveMajor, haveMinor, major, minor) {
		skip(t, fmt.Sprintf("kernel %d.%d is older than %d.%d", haveMajor, haveMinor, major, minor))
	}
}

// Feature judges the probe of a kernel feature that came with major.minor: a
// nil err lets the test go on. On an older kernel the test is skipped by name;
// on one that should have the feature it fails when Strict and is skipped
// otherwise.
func Feature(t testing.TB, name string, major, minor int, err error) {
	t.Helper()
	if err == nil {
		return
	}
	Kernel(t, major, minor)
	missing(t, fmt.Sprintf("%s (since %d.%d): %v", name, major, minor, err))
}

func release(t testing.TB) (major, minor int) {
	t.Helper()
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatalf("uname: %v", err)
	}
	major, minor, err := parseRelease(unix.ByteSliceToString(uts.Release[:]))
	if err != nil {
		t.Fatal(err)
	}
	return major, minor
}

// parseRelease takes the first two numbers of a kernel release, "6.12.1-x".
func parseRelease(s string) (major, minor int, err error) {
	first, rest, ok := strings.Cut(s, ".")
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	major, err = strconv.Atoi(first)
	if err == nil {
		minor, err = strconv.Atoi(rest[:end])
	}
	if !ok || err != nil {
		return 0, 0, fmt.Errorf("kernel release %q is not MAJOR.MINOR", s)
	}
	return major, minor, nil
}

func atLeast(haveMajor, haveMinor, major, minor int) bool {
	return haveMajor > major || haveMajor == major && haveMinor >= minor
}
