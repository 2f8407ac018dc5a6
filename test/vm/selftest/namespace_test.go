//go:build vmself

package selftest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pivot leaves the root for a tmpfs and reports whether the old one is gone.
func pivot() int {
	step := func(name string, err error) bool {
		if err != nil {
			fmt.Printf("%s: %v\n", name, err)
		}
		return err == nil
	}
	ok := step("private", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")) &&
		step("tmpfs", unix.Mount("tmpfs", "/run", "tmpfs", 0, "")) &&
		step("mkdir", os.Mkdir("/run/old", 0o755)) &&
		step("pivot_root", unix.PivotRoot("/run", "/run/old")) &&
		step("chdir", os.Chdir("/")) &&
		step("umount", unix.Unmount("/old", unix.MNT_DETACH))
	if !ok {
		return 1
	}
	if _, err := os.Stat("/etc/passwd"); !os.IsNotExist(err) {
		fmt.Println("the old root is still there:", err)
		return 1
	}
	return 0
}

const allButUser = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// pivotUnprivileged runs pivot in namespaces that an ordinary user made.
func pivotUnprivileged() int {
	if os.Geteuid() == 0 {
		fmt.Println("still root")
		return 1
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{victimEnv + "=pivot"}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  allButUser | unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func TestNamespacesAndPivotRoot(t *testing.T) {
	maps := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}}
	for _, tt := range []struct {
		name string
		attr *syscall.SysProcAttr
	}{
		{"as root", &syscall.SysProcAttr{Cloneflags: allButUser}},
		{"with a user namespace", &syscall.SysProcAttr{Cloneflags: allButUser | unix.CLONE_NEWUSER, UidMappings: maps, GidMappings: maps, Credential: &syscall.Credential{}}},
		{"as tester", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := victim(t, "pivot", tt.attr)
			if tt.attr == nil {
				cmd = victim(t, "pivot-unprivileged", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}})
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("pivot_root: %v: %s", err, out)
			}
		})
	}
}

// newTime makes a time namespace and prints the one of a forked child. The task
// that makes it stays outside, up to Linux 6.2 execve does not enter it either,
// and a vfork as os/exec does it is refused there with EINVAL (kernel commit
// 2b5f9dad32ed): hence the shell.
func newTime() int {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
		fmt.Println("unshare:", err)
		return 1
	}
	// The second command keeps the shell from replacing itself by the first.
	err := unix.Exec("/bin/sh", []string{"sh", "-c", "readlink /proc/self/ns/time; exit $?"}, []string{"PATH=/bin"})
	fmt.Println("exec:", err)
	return 1
}

func TestTimeNamespace(t *testing.T) {
	own, err := os.Readlink("/proc/self/ns/time")
	if err != nil {
		t.Fatal(err)
	}
	out, err := victim(t, "time", nil).CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got == own || !strings.HasPrefix(got, "time:[") {
		t.Errorf("time namespace of the child: got %q, %v, want another one than %q", got, err, own)
	}
}

// Mounts must be shared, as systemd leaves them, or a sandbox that forgets to
// make its own private would pass here and leak on a real host.
func TestRootIsShared(t *testing.T) {
	for _, line := range strings.Split(read(t, "/proc/self/mountinfo"), "\n") {
		if f := strings.Fields(line); len(f) > 6 && f[4] == "/" && !strings.HasPrefix(f[6], "shared:") {
			t.Errorf("mount of /: got %q, want shared", line)
		}
	}
}

func TestLoopback(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Errorf("listen: %v", err)
			continue
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Errorf("dial: %v", err)
			continue
		}
		c.Close()
	}
}
