package hostile_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manifest describes every entry of ro and out: type, mode, owner, content.
func (f *fixture) manifest(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	first := f.made == nil
	if first {
		f.made = map[string][]byte{}
	}
	for _, tree := range []string{f.ro, f.out} {
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
				text, err := f.content(path, int(st.Size))
				if err != nil {
					return err
				}
				if first {
					f.made[path] = bytes.Clone(text)
				}
				// A comparison: a hash of megabytes after each act is half of
				// the time that the battery takes in a guest.
				if made, ok := f.made[path]; ok && bytes.Equal(text, made) {
					line += " as made"
				} else {
					line += fmt.Sprintf(" %x", sha256.Sum256(text))
				}
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

// content is a file's, until the next call.
func (f *fixture) content(path string, size int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	f.text = slices.Grow(f.text[:0], size+1)[:size+1]
	n, err := io.ReadFull(file, f.text)
	if err == nil {
		return nil, fmt.Errorf("%s grows while it is read", path)
	}
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	return f.text[:n], nil
}

// escaped looks at the host after an act and says what must not be there.
func (f *fixture) escaped(t *testing.T) []string {
	t.Helper()
	var found []string
	now := f.manifest(t)
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
	if n, _ := unix.Read(f.fifo, make([]byte, 64)); n > 0 { // EAGAIN or the end when nobody wrote
		f.said.Add(int64(n))
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

// alive lists the processes that run the fixture's program or its copy of
// sbx, the victim excepted, after waiting for them to go. A child of sbx that
// was cloned and never executed anything counts as sbx.
func (f *fixture) alive(wait time.Duration) []int {
	for end := time.Now().Add(wait); ; time.Sleep(5 * time.Millisecond) {
		if pids := f.running(append([]string{f.self}, f.tool...)...); len(pids) == 0 || time.Now().After(end) {
			return pids
		}
	}
}

// running finds processes by the identity of their executable: names and
// command lines can be changed, this cannot.
func (f *fixture) running(programs ...string) []int {
	var wanted []unix.Stat_t
	for _, path := range programs {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			wanted = append(wanted, st)
		}
	}
	var have unix.Stat_t
	var pids []int
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		same := func(st unix.Stat_t) bool { return st.Dev == have.Dev && st.Ino == have.Ino }
		if unix.Stat(link, &have) != nil || !slices.ContainsFunc(wanted, same) {
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
