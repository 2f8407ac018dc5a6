//go:build vmself

package selftest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTestdata(t *testing.T) {
	if got, want := read(t, "testdata/marker"), "from the package directory"; got != want {
		t.Errorf("testdata/marker: got %q, want %q", got, want)
	}
}

func TestMergedUsr(t *testing.T) {
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if got, err := os.Readlink("/" + d); err != nil || got != "usr/"+d {
			t.Errorf("readlink /%s: got %q, %v, want %q", d, got, err, "usr/"+d)
		}
	}
	if out, err := exec.Command("/bin/sh", "-c", "echo $((6*7))").Output(); err != nil || string(out) != "42\n" {
		t.Errorf("/bin/sh: got %q, %v", out, err)
	}
}

// The host says when it started the guest: a saved machine left to itself would
// go on at the time at which it was saved.
func TestClock(t *testing.T) {
	begin, err := strconv.ParseInt(os.Getenv("SBX_SELFTEST_NOW"), 10, 64)
	if err != nil {
		t.Fatalf("SBX_SELFTEST_NOW: %v: run make vm-self", err)
	}
	if late := time.Since(time.Unix(begin, 0)); late < 0 || late > 10*time.Minute {
		t.Errorf("clock: %v after the host's, want between 0 and 10m", late)
	}
}

func TestTester(t *testing.T) {
	u, err := user.Lookup("tester")
	if err != nil {
		t.Fatal(err)
	}
	if u.Uid != "1000" || u.Gid != "1000" {
		t.Errorf("tester: got %s:%s, want 1000:1000", u.Uid, u.Gid)
	}
	cmd := exec.Command("/bin/sh", "-c", "id -u && touch $HOME/mine && ! touch /root/mine")
	cmd.Env = []string{"HOME=" + u.HomeDir, "PATH=/usr/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "1000\n") {
		t.Errorf("as tester: %v: %s", err, out)
	}
}

// Orphans come to the guest's init, which must reap them.
func TestOrphansAreReaped(t *testing.T) {
	out, err := exec.Command("/bin/sh", "-c", "sleep 0.1 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	proc := "/proc/" + strings.TrimSpace(string(out))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(proc); errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(proc + "/status")
			t.Fatalf("%s is still there:\n%s", proc, b)
		}
	}
}

// The scratch disk must take an idmapped mount on every kernel.
func TestScratchTakesIdmappedMount(t *testing.T) {
	var st unix.Statfs_t
	if err := unix.Statfs("/scratch", &st); err != nil {
		t.Fatal(err)
	}
	if st.Type != unix.EXT4_SUPER_MAGIC {
		t.Fatalf("/scratch: got file system %#x, want ext4", st.Type)
	}
	dir := t.TempDir()
	src, err := os.MkdirTemp("/scratch", "idmap")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(src) })
	if err := os.Chown(src, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	holder := victim(t, "block", &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 2000, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 2000, Size: 1}},
	})
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer holder.Wait()
	defer holder.Process.Kill()
	userns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", holder.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer userns.Close()
	tree, err := unix.OpenTree(unix.AT_FDCWD, src, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		t.Fatal("open_tree:", err)
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		t.Fatal("mount_setattr:", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		t.Fatal("move_mount:", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		t.Fatal(err)
	}
	if stat.Uid != 2000 || stat.Gid != 2000 {
		t.Errorf("owner through the idmapped mount: got %d:%d, want 2000:2000", stat.Uid, stat.Gid)
	}
	runtime.KeepAlive(userns)
}
