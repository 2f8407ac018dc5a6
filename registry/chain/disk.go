package chain

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/safefs"
)

// op is a system call that changes the disk or makes a change durable.
type op uint8

const (
	opMkdir op = iota + 1
	opCreate
	opWrite
	opChmod
	opSync // fsync(2) of a file
	opRename
	opExchange
	opRemove  // unlink(2) or rmdir(2)
	opSyncDir // fsync(2) of a directory
	opSyncAll // syncfs(2)
)

// step is one op with what it is about; names are relative to the state
// directory.
type step struct {
	op       op
	name, to string
	mode     uint32 // of opChmod
	data     []byte // of opWrite
}

// disk is the state directory by descriptor. Everything that changes it goes
// through here, one step after the other.
//
// Trust boundary. Who may write the directory controls what is read: uid 0 and
// its owner, as safefs checked when it was opened. The loader may hold root's
// rights. Each file that is opened is checked for kind and owner again. What
// does not fit is an error.
type disk struct {
	root *os.File
	path string
	// dirMode and fileMode are what new directories and files get.
	dirMode, fileMode uint32
	// before is called ahead of each step, and an error of it takes the place
	// of the step; nil outside of tests, which record, fail and die there.
	before func(step) error
}

func (d *disk) at(s step) error {
	if d.before == nil {
		return nil
	}
	return d.before(s)
}

func (d *disk) fd() int { return int(d.root.Fd()) }

func (d *disk) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path.Join(d.path, name), Err: err}
}

// retry calls f again while a signal interrupts it.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func (d *disk) mkdir(name string) error {
	err := d.at(step{op: opMkdir, name: name})
	if err == nil {
		err = unix.Mkdirat(d.fd(), name, d.dirMode)
	}
	return d.fail("make directory", name, err)
}

// chmod sets exactly these permission bits, whatever the umask was.
func (d *disk) chmod(name string, mode uint32) error {
	err := d.at(step{op: opChmod, name: name, mode: mode})
	if err == nil {
		err = unix.Fchmodat(d.fd(), name, mode, 0)
	}
	return d.fail("chmod", name, err)
}

func (d *disk) rename(from, to string) error {
	err := d.at(step{op: opRename, name: from, to: to})
	if err == nil {
		err = unix.Renameat(d.fd(), from, d.fd(), to)
	}
	return d.fail("rename", from, err)
}

// exchange swaps two names; renameat2(2), Linux 3.15. A file system without
// it gives EINVAL.
func (d *disk) exchange(a, b string) error {
	err := d.at(step{op: opExchange, name: a, to: b})
	if err == nil {
		err = unix.Renameat2(d.fd(), a, d.fd(), b, unix.RENAME_EXCHANGE)
	}
	return d.fail("exchange", b, err)
}

func (d *disk) remove(name string, directory bool) error {
	flags := 0
	if directory {
		flags = unix.AT_REMOVEDIR
	}
	err := d.at(step{op: opRemove, name: name})
	if err == nil {
		err = unix.Unlinkat(d.fd(), name, flags)
	}
	return d.fail("remove", name, err)
}

// flush is a file, by opSync, or a directory, by opSyncDir, that is to be made
// durable.
type flush struct {
	op   op
	name string
}

// maxFlushes is how many fsync(2) wait at once. Each keeps a thread; those that
// wait together are one transaction of the file system's journal, so that half
// as many take twice as long for a batch.
const maxFlushes = 32

// syncNames makes files and directories durable, in no order.
func (d *disk) syncNames(list []flush) error {
	for _, f := range list {
		if err := d.at(step{op: f.op, name: f.name}); err != nil {
			return d.fail("fsync", f.name, err)
		}
	}
	var work sync.WaitGroup
	errs, todo := make([]error, len(list)), make(chan int)
	for range min(len(list), maxFlushes) {
		work.Go(func() {
			for i := range todo {
				errs[i] = d.fsync(list[i].name)
			}
		})
	}
	for i := range list {
		todo <- i
	}
	close(todo)
	work.Wait()
	return errors.Join(errs...)
}

// syncName makes a file or a directory durable.
func (d *disk) syncName(op op, name string) error { return d.syncNames([]flush{{op, name}}) }

func (d *disk) fsync(name string) error {
	fd := -1
	err := retry(func() (err error) {
		fd, err = unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return d.fail("open", name, err)
	}
	defer unix.Close(fd)
	return d.fail("fsync", name, retry(func() error { return unix.Fsync(fd) }))
}

// syncAll makes everything on the file system durable; syncfs(2), which says
// what went wrong since Linux 5.8.
func (d *disk) syncAll() error {
	err := d.at(step{op: opSyncAll})
	if err == nil {
		err = retry(func() error { return unix.Syncfs(d.fd()) })
	}
	return d.fail("syncfs", ".", err)
}

// output is a new file that is being written.
type output struct {
	d    *disk
	fd   int
	name string
}

// create makes a new file, which only its owner may read until finish.
func (d *disk) create(name string) (*output, error) {
	if err := d.at(step{op: opCreate, name: name}); err != nil {
		return nil, d.fail("create", name, err)
	}
	fd, err := unix.Openat(d.fd(), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, d.fail("create", name, err)
	}
	return &output{d: d, fd: fd, name: name}, nil
}

// Write implements io.Writer.
func (o *output) Write(data []byte) (int, error) {
	done := 0
	for done < len(data) {
		if err := o.d.at(step{op: opWrite, name: o.name, data: data[done:]}); err != nil {
			return done, o.d.fail("write", o.name, err)
		}
		n, err := unix.Write(o.fd, data[done:])
		if err != nil && err != unix.EINTR {
			return done, o.d.fail("write", o.name, err)
		}
		done += max(n, 0)
	}
	return done, nil
}

// finish sets the mode, makes the file durable when asked to, and closes it.
func (o *output) finish(mode uint32, sync bool) error {
	err := o.d.at(step{op: opChmod, name: o.name, mode: mode})
	if err == nil {
		err = unix.Fchmod(o.fd, mode)
	}
	if err == nil && sync {
		if err = o.d.at(step{op: opSync, name: o.name}); err == nil {
			err = retry(func() error { return unix.Fsync(o.fd) })
		}
	}
	if closeErr := unix.Close(o.fd); err == nil {
		err = closeErr
	}
	return o.d.fail("write", o.name, err)
}

// temporary is a name beside name that nothing else has. What a crash leaves
// of it begins with "." and ends in "~".
func temporary(name string) string {
	return path.Join(path.Dir(name), "."+path.Base(name)+"."+strings.ToLower(rand.Text()[:12])+"~")
}

func isTemporary(base string) bool {
	return strings.HasPrefix(base, ".") && strings.HasSuffix(base, "~")
}

// write makes a temporary file beside name, durable when asked to, and returns
// what it is called. The caller renames it, and makes the directory durable.
func (d *disk) write(name string, data []byte, sync bool) (string, error) {
	temp := temporary(name)
	o, err := d.create(temp)
	if err != nil {
		return "", err
	}
	_, err = o.Write(data)
	if finishErr := o.finish(d.fileMode, sync && err == nil); err == nil {
		err = finishErr
	}
	if err != nil {
		d.removeAll(temp)
		return "", err
	}
	return temp, nil
}

// read returns a file of at most limit bytes. It matches fs.ErrNotExist, or
// ErrDamaged when it is larger.
func (d *disk) read(name string, limit int64) ([]byte, error) {
	f, st, err := safefs.OpenBeneath(d.root, d.path, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := safefs.CheckOwner(path.Join(d.path, name), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > limit {
		return nil, fmt.Errorf("read %q: %w: not a file of at most %d bytes", f.Name(), ErrDamaged, limit)
	}
	data := make([]byte, st.Size)
	if _, err := io.ReadFull(f, data); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("read %q: %w: it became shorter", f.Name(), ErrDamaged)
		}
		return nil, err
	}
	return data, nil
}

// exists tells whether a name is there.
func (d *disk) exists(name string) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, d.fail("stat", name, err)
}

// list returns the names in a directory, unsorted.
func (d *disk) list(name string) ([]string, error) {
	f, st, err := safefs.OpenBeneath(d.root, d.path, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := safefs.CheckOwner(path.Join(d.path, name), &st); err != nil {
		return nil, err
	}
	return f.Readdirnames(-1)
}

// removeAll removes a file or a directory with all that is in it. What is
// gone already is no error.
func (d *disk) removeAll(name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return d.fail("stat", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return d.remove(name, false)
	}
	// Stored directories are read-only, which their owner would be held to.
	if err := d.chmod(name, 0o700); err != nil {
		return err
	}
	names, err := d.list(name)
	if err != nil {
		return err
	}
	for _, child := range names {
		if err := d.removeAll(name + "/" + child); err != nil {
			return err
		}
	}
	return d.remove(name, true)
}
