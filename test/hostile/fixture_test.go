package hostile_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ordinary is the uid and gid of the ordinary user's runs and the owner of the
// shared trees.
const ordinary = 1000

// fixture is what one suite of runs shares: the trees that the policy names,
// a directory that it does not name, and the host's side of sockets and
// victims.
type fixture struct {
	base, ro, rw, out, bin, self, home string

	// said counts what the host's sockets and the FIFO received.
	said atomic.Int64
	// victim is a process of the ordinary user that nothing inside may signal.
	victim *exec.Cmd
	// sealed is the manifest of ro and out as they must stay.
	sealed map[string]string
	args   []string
}

// base directory: on a file system of its own kind in a guest (SBX_TEST_DIR),
// for Unix socket paths as short as can be.
func baseDir() string {
	if dir := os.Getenv("SBX_TEST_DIR"); dir != "" {
		return dir
	}
	if st, err := os.Stat("/scratch"); err == nil && st.IsDir() {
		return "/scratch"
	}
	return "/var/tmp"
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	base, err := os.MkdirTemp(baseDir(), "sbxh-")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{base: base, ro: base + "/ro", rw: base + "/rw", out: base + "/out", bin: base + "/bin", home: base + "/home"}
	f.self = f.bin + "/hostile"
	t.Cleanup(func() {
		clearFlags(base)
		if err := os.RemoveAll(base); err != nil {
			t.Errorf("remove %s: %v", base, err)
		}
	})
	if err := f.fill(); err != nil {
		t.Fatal(err)
	}
	f.listen(t)
	f.victim = exec.Command(f.self, "hold", "seconds=100000")
	if os.Geteuid() == 0 {
		f.victim.SysProcAttr = credential(ordinary)
	}
	if f.victim.SysProcAttr == nil {
		f.victim.SysProcAttr = &syscall.SysProcAttr{}
	}
	f.victim.SysProcAttr.Setpgid = true
	if err := f.victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.victim.Process.Kill(); f.victim.Wait() })
	f.facts(t)
	f.sealed = manifest(t, f.ro, f.out)
	return f
}

// fill makes the trees. Files are as open as modes can make them, so that
// only the sandbox's own walls are tried.
func (f *fixture) fill() error {
	root := os.Geteuid() == 0
	var errs []error
	keep := func(err error) { errs = append(errs, err) }
	keep(os.Chmod(f.base, 0o755))
	for _, dir := range []string{f.ro, f.rw, f.out, f.bin, f.home, f.ro + "/dir", f.ro + "/sub", f.ro + "/sub/dir", f.ro + "/late"} {
		keep(os.Mkdir(dir, 0o777))
	}
	write := func(path, text string, mode os.FileMode) {
		keep(os.WriteFile(path, []byte(text), 0o666))
		keep(os.Chmod(path, mode))
	}
	text, err := os.ReadFile(program)
	keep(err)
	for _, path := range []string{f.self, f.ro + "/hostile"} {
		write(path, string(text), 0o755)
	}
	write(f.out+"/secret", "canary", 0o666)
	for _, dir := range []string{f.ro, f.ro + "/sub"} {
		write(dir+"/file", strings.Repeat("plain text\n", 500), 0o666)
	}
	write(f.ro+"/sub/beneath", "hidden by a mount", 0o666)
	write(f.rw+"/plain", "plain", 0o666)
	keep(unix.Mkfifo(f.ro+"/fifo", 0o666))
	if root {
		for _, dir := range []string{f.rw, f.home, f.ro, f.ro + "/file", f.ro + "/dir", f.ro + "/sub", f.ro + "/sub/file", f.ro + "/sub/dir", f.rw + "/plain", f.out, f.out + "/secret"} {
			keep(os.Chown(dir, ordinary, ordinary))
		}
		for _, tree := range []string{f.ro, f.rw} {
			write(tree+"/suid-root", string(text), 0o755)
			keep(os.Chmod(tree+"/suid-root", 0o755|os.ModeSetuid))
			write(tree+"/rootonly", "root", 0o600)
			keep(unix.Mknod(tree+"/zero", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
		}
		write(f.ro+"/sgid-root", string(text), 0o755)
		keep(os.Chmod(f.ro+"/sgid-root", 0o755|os.ModeSetgid))
		write(f.ro+"/file-cap", string(text), 0o755)
		// vfs_cap_data, revision 2, effective: CAP_SYS_ADMIN permitted.
		keep(unix.Setxattr(f.ro+"/file-cap", "security.capability", []byte{1, 0, 0, 2, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))
		write(f.rw+"/rootfile", "root", 0o644)
		keep(os.Mkdir(f.rw+"/rootdir", 0o755))
	}
	return errors.Join(errs...)
}

// listen opens the host's sockets in both trees and by an abstract name, and
// the reading end of the FIFO; whatever arrives is counted.
func (f *fixture) listen(t *testing.T) {
	heard := func(n int) { f.said.Add(int64(n)) }
	for _, dir := range []string{f.ro + "/", f.rw + "/", "@" + filepath.Base(f.base)} {
		for _, kind := range [][2]string{{"unix", "stream.sock"}, {"unixpacket", "seq.sock"}, {"unixgram", "dgram.sock"}} {
			name := dir + kind[1]
			if dir[0] == '@' {
				if kind[0] != "unix" {
					continue
				}
				name = dir
			}
			addr := &net.UnixAddr{Name: name, Net: kind[0]}
			if kind[0] == "unixgram" {
				c, err := net.ListenUnixgram("unixgram", addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				go func() {
					for buf := make([]byte, 64); ; {
						if _, err := c.Read(buf); err != nil {
							return
						}
						heard(1)
					}
				}()
				continue
			}
			l, err := net.ListenUnix(kind[0], addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					heard(1)
					c.Close()
				}
			}()
		}
	}
	fifo, err := os.OpenFile(f.ro+"/fifo", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fifo.Close() })
	go func() {
		buf := make([]byte, 64)
		for {
			n, err := fifo.Read(buf)
			if n > 0 {
				heard(n)
			}
			if errors.Is(err, os.ErrClosed) {
				return
			}
			time.Sleep(5 * time.Millisecond) // end of file while no writer is there
		}
	}()
}

// facts are the host's own names and numbers, which no act may find inside.
func (f *fixture) facts(t *testing.T) {
	text := func(path string) string {
		b, _ := os.ReadFile(path)
		return strings.TrimSpace(string(b))
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		t.Fatal(err)
	}
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, f.out+"/secret", 0)
	htype, hbytes := 1, "00"
	if err == nil {
		htype, hbytes = int(handle.Type()), hex.EncodeToString(handle.Bytes())
	}
	pid := f.victim.Process.Pid
	f.args = []string{
		"ro=" + f.ro, "rw=" + f.rw, "out=" + f.out, "self=" + f.self,
		"hostname=" + unix.ByteSliceToString(uts.Nodename[:]),
		"domain=" + unix.ByteSliceToString(uts.Domainname[:]),
		"machineid=" + text("/etc/machine-id"), "bootid=" + text("/proc/sys/kernel/random/boot_id"),
		"kcmdline=" + text("/proc/cmdline"), fmt.Sprintf("hostup=%d", boot.Sec),
		fmt.Sprintf("hostpid=%d", pid), "hostcomm=hostile", "hostuser=root:x:0:0:root:/root:",
		"abstract=" + filepath.Base(f.base),
		fmt.Sprintf("htype=%d", htype), "handle=" + hbytes,
		"max=256", "pids=64", "nofile=256", "fsize=8", "cpu=50",
		"tmpmib=16", "shmmib=16", "rwmib=64", "tmpfiles=1000", "shmfiles=1000", "rwfiles=4000",
	}
	for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"} {
		link, _ := os.Readlink("/proc/self/ns/" + ns)
		f.args = append(f.args, ns+"="+link)
	}
}

// manifest describes every entry below the trees: type, mode, owner, content.
func manifest(t *testing.T, trees ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, tree := range trees {
		err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				return err
			}
			line := fmt.Sprintf("%o %d:%d links %d mtime %d", st.Mode, st.Uid, st.Gid, st.Nlink, st.Mtim.Nano())
			if st.Mode&unix.S_IFMT == unix.S_IFREG {
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				line += fmt.Sprintf(" %x", sha256.Sum256(text))
			}
			n, _ := unix.Llistxattr(path, nil)
			out[path] = fmt.Sprintf("%s xattr %d", line, n)
			return nil
		})
		if err != nil {
			t.Errorf("manifest: %v", err)
		}
	}
	return out
}

// escaped looks at the host after an act and says what must not be there.
func (f *fixture) escaped(t *testing.T) []string {
	t.Helper()
	var found []string
	now := manifest(t, f.ro, f.out)
	for path, was := range f.sealed {
		if now[path] != was {
			found = append(found, fmt.Sprintf("%s changed: %q was %q", path, now[path], was))
		}
	}
	for path := range now {
		if _, ok := f.sealed[path]; !ok {
			found = append(found, path+" was made")
		}
	}
	if n := f.said.Swap(0); n > 0 {
		found = append(found, fmt.Sprintf("a socket or FIFO of the host heard %d", n))
	}
	if err := f.victim.Process.Signal(unix.Signal(0)); err != nil || gone(f.victim.Process.Pid) {
		found = append(found, "the host's victim is gone")
	}
	found = append(found, f.leftInRW()...)
	for _, pid := range f.alive(slow(3 * time.Second)) {
		found = append(found, fmt.Sprintf("process %d is left", pid))
		unix.Kill(pid, unix.SIGKILL)
	}
	return found
}

// alive lists the processes that run the fixture's program, the victim
// excepted, after waiting for them to go.
func (f *fixture) alive(wait time.Duration) []int {
	for end := time.Now().Add(wait); ; time.Sleep(5 * time.Millisecond) {
		if pids := f.running(); len(pids) == 0 || time.Now().After(end) {
			return pids
		}
	}
}

// running finds processes by the identity of their executable: names and
// command lines can be changed, this cannot.
func (f *fixture) running() []int {
	var want, have unix.Stat_t
	if unix.Stat(f.self, &want) != nil {
		return nil
	}
	var pids []int
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		if unix.Stat(link, &have) != nil || have.Dev != want.Dev || have.Ino != want.Ino {
			continue
		}
		var pid int
		fmt.Sscanf(link, "/proc/%d/exe", &pid)
		if pid != f.victim.Process.Pid {
			pids = append(pids, pid)
		}
	}
	return pids
}

func gone(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(text), ") Z ")
}

// planted are the driver's own entries of the writable tree.
var planted = map[string]bool{
	"plain": true, "rootfile": true, "rootonly": true, "rootdir": true, "suid-root": true, "zero": true,
	"stream.sock": true, "seq.sock": true, "dgram.sock": true,
}

// leftInRW judges what an act left in the writable tree and removes it.
func (f *fixture) leftInRW() []string {
	var found []string
	entries, _ := os.ReadDir(f.rw)
	for _, e := range entries {
		path := filepath.Join(f.rw, e.Name())
		if !planted[e.Name()] {
			found = append(found, judge(path)...)
			clearFlags(path)
			os.RemoveAll(path)
		}
	}
	return found
}

// judge says in what way a file that a program made counts on the host.
func judge(path string) []string {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return nil
	}
	var found []string
	kind := st.Mode & unix.S_IFMT
	if st.Mode&0o6000 != 0 && kind != unix.S_IFLNK {
		found = append(found, fmt.Sprintf("%s has mode %o, owner %d", path, st.Mode, st.Uid))
	}
	if kind == unix.S_IFBLK || kind == unix.S_IFCHR {
		found = append(found, path+" is a device node")
	}
	if st.Uid == 0 {
		found = append(found, path+" belongs to uid 0")
	}
	if n, err := unix.Lgetxattr(path, "security.capability", nil); err == nil && n > 0 {
		found = append(found, path+" has a capability")
	}
	if flags, ok := fsFlags(path); ok && flags&(immutable|appendOnly) != 0 {
		found = append(found, path+" is immutable or append-only")
	}
	return found
}

// Attributes of FS_IOC_GETFLAGS (ioctl_iflags(2)).
const (
	immutable  = 0x10
	appendOnly = 0x20
)

func fsFlags(path string) (uint32, bool) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	v, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	return v, err == nil
}

// clearFlags takes immutable and append-only away, so that a tree can be
// removed.
func clearFlags(tree string) {
	filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if flags, ok := fsFlags(path); ok && flags&(immutable|appendOnly) != 0 {
			if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
				flags &^= immutable | appendOnly
				unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags))
				unix.Close(fd)
			}
		}
		return nil
	})
}
