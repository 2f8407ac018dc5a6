package hostile_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

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

	// said counts what the host's sockets received.
	said atomic.Int64
	// fifo is the reading end of the FIFO in ro; escaped empties it.
	fifo int
	// tool holds the suite's own copies of sbx and sbxd: a process is theirs
	// by the identity of its executable.
	tool []string
	// victim is a process of the ordinary user that nothing inside may signal.
	victim *exec.Cmd
	// sealed is the manifest of ro and out as they must stay, made what their
	// files held when it was first taken.
	sealed map[string]string
	made   map[string][]byte
	text   []byte // of the file that is looked at; kept for its memory
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
	// It holds what this process inherited: a test that is killed must not
	// leave it behind.
	f.victim.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := f.victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.victim.Process.Kill(); f.victim.Wait() })
	f.facts(t)
	f.sealed = f.manifest(t)
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
	fifo, err := unix.Open(f.ro+"/fifo", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fifo) })
	f.fifo = fifo
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
		"kcmdline=" + text("/proc/cmdline"), fmt.Sprintf("hostpid=%d", pid), "hostcomm=hostile", "hostuser=root:x:0:0:root:/root:",
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

// told are the arguments of an act: the facts, and how long the host is up by
// now.
func (f *fixture) told() []string {
	return append(slices.Clone(f.args), fmt.Sprintf("hostup=%d", uptime()))
}

// uptime is the host's, in seconds.
func uptime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // every kernel has this clock
	}
	return t.Sec
}
