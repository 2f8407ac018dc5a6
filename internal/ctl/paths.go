package ctl

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/params"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/runner"
)

// maxPaths bounds what one call can have shown: each is a mount and an open
// descriptor. At half of it lists such as `*.log` of one directory would often
// be refused, at twice the launch takes milliseconds for them alone.
const maxPaths = 256

// paths are what the path parameters of one call lead to.
type paths struct {
	trees []plan.Step
	// fds hold the files open, so that no other file gets their inode number
	// before the launch has compared it.
	fds  []int
	made []madeFile
}

// madeFile is a file that was made for an access: create.
type madeFile struct {
	dir  int
	name string
	st   unix.Stat_t
}

// pathRefusal is a path that is not shown.
type pathRefusal struct {
	status int
	msg    string
	hint   string
	err    error
}

func (e *pathRefusal) Error() string {
	if e.err == nil {
		return e.msg
	}
	return e.msg + ": " + e.err.Error()
}

func (e *pathRefusal) Unwrap() error { return e.err }

// openPaths opens every value of a path parameter and replaces it by the
// absolute real path of what it leads to.
//
// Trust boundary. Who controls the input: the caller; with him whoever may
// write a directory on the way. What privilege is held: the caller's own, for
// a direct run is his. What has been checked: the value is a path without a
// NUL byte. What fails closed: each path is opened once, without magic links,
// and judged by its descriptor; the launch follows the real path once more and
// compares device and inode.
func (v *Invocation) openPaths(list []plan.Param, values []params.Value) (*paths, error) {
	ps := &paths{}
	var protected *Protected
	for i := range values {
		if list[i].Type != plan.ParamPath {
			continue
		}
		for j, value := range values[i].Items {
			if protected == nil {
				all := v.protected()
				protected = &all
			}
			real, _, err := ps.open(protected, list[i].Name, list[i].Access, value)
			if err != nil {
				ps.discard()
				return nil, err
			}
			values[i].Items[j] = real
		}
	}
	return ps, nil
}

// hold keeps a descriptor until close, out of the way: the child inherits it,
// and where the policy allows few descriptors it would have none left for its
// own steps. Where there is no room above, it stays where it is.
func (ps *paths) hold(fd int) int {
	const above = 512 // under the usual hard limit of 1024, with room for maxPaths
	if high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, above); err == nil {
		unix.Close(fd)
		fd = high
	}
	ps.fds = append(ps.fds, fd)
	return fd
}

// close lets go of the files.
func (ps *paths) close() {
	if ps == nil {
		return
	}
	for _, fd := range ps.fds {
		unix.Close(fd)
	}
	ps.fds = nil
}

// discard closes, and removes what was made and is still empty: the run did
// not come to write it.
func (ps *paths) discard() {
	if ps == nil {
		return
	}
	for _, m := range ps.made {
		var st unix.Stat_t
		if unix.Fstatat(m.dir, m.name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && same(&st, &m.st) && st.Size == 0 {
			unix.Unlinkat(m.dir, m.name, 0)
		}
	}
	ps.close()
}

func same(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// open opens one value and notes its tree.
func (ps *paths) open(protected *Protected, param string, access plan.Access, value string) (real string, fd int, err error) {
	if len(ps.trees) == maxPaths {
		return "", -1, errors.New("more than " + strconv.Itoa(maxPaths) + " paths")
	}
	name := "--" + param + " " + strconv.Quote(value)
	refuse := func(why string) error {
		return &pathRefusal{status: runner.StatusRefused, msg: name + ": " + why}
	}
	failed := func(err error) error {
		e := &pathRefusal{status: runner.StatusSetup, msg: name, err: err}
		switch {
		case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS):
			e.status = runner.StatusRefused
		case errors.Is(err, unix.ELOOP):
			e.status, e.hint = runner.StatusRefused, "name the file itself, not a link of /proc or /dev"
		}
		return e
	}
	if access == plan.AccessCreate {
		fd, err = ps.create(protected, value, refuse, failed)
	} else if fd, err = openPath(unix.AT_FDCWD, value, 0); err != nil {
		err = failed(err)
	}
	if err != nil {
		return "", -1, err
	}
	fd = ps.hold(fd)
	step, need, why, err := protected.judge(fd, access)
	if err != nil {
		return "", -1, failed(err)
	}
	if why != "" {
		return "", -1, refuse(why)
	}
	if err := unix.Faccessat2(fd, "", need, unix.AT_EMPTY_PATH|unix.AT_EACCESS); err != nil {
		return "", -1, failed(err)
	}
	ps.trees = append(ps.trees, step)
	return step.Path, fd, nil
}

// judge makes the step that shows an open file for access. need is what its
// user must be allowed to, as faccessat2(2) takes it; why is not empty for a
// file that is not shown.
func (p *Protected) judge(fd int, access plan.Access) (step plan.Step, need uint32, why string, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return step, 0, "", err
	}
	real, err := realPath(fd, &st)
	if err != nil {
		return step, 0, "", err
	}
	if why := p.unfit(fd, real, &st, access); why != "" {
		return step, 0, why, nil
	}
	step = plan.Step{Kind: plan.Tree, Path: real, Source: real, Dev: st.Dev, Ino: st.Ino}
	dir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !dir {
		step.Flags |= plan.OverFile
	}
	need, others := uint32(unix.R_OK), uint32(0o4)
	if dir {
		need, others = unix.R_OK|unix.X_OK, 0o5
	}
	if access != plan.AccessRead {
		need = need&unix.X_OK | unix.W_OK
		step.Flags |= plan.Writable | plan.Mapped
	} else if unix.Geteuid() == 0 && st.Mode&others != others {
		// The caller may read it, the run's own id may not: it is shown with
		// the rights of its owner, read-only.
		step.Flags |= plan.Mapped
	}
	return step, need, "", nil
}

// Given judges a file that a caller opened for a path parameter of his, and
// makes the step that shows it.
//
// Trust boundary. Who controls the input: the caller, who may have sent any
// descriptor. What privilege is held: the daemon's. What has been checked: that
// it came with his request. What fails closed: a file without a path in the
// daemon's tree, of the kernel's own file systems or in a protected place is
// refused; and unless the caller is root himself nothing is mapped, so that
// the kernel asks in the run, whose id is the caller's, what he may do.
func (p *Protected) Given(fd int, access plan.Access, caller uint32) (plan.Step, error) {
	step, need, why, err := p.judge(fd, access)
	switch {
	case err != nil:
		return step, err
	case why != "":
		return step, errors.New(why)
	case caller != 0:
		step.Flags &^= plan.Mapped
		return step, nil
	}
	return step, unix.Faccessat2(fd, "", need, unix.AT_EMPTY_PATH|unix.AT_EACCESS)
}

// create makes the file, or takes a regular file that is there and the
// caller's. Its last name is never followed: a link that somebody put into a
// shared directory must not lead the run to another file of the caller. A
// file that root makes belongs to the owner of its directory, since a run
// never writes what is root's.
func (ps *paths) create(protected *Protected, value string, refuse func(string) error, failed func(error) error) (int, error) {
	dir, name := ".", value
	if i := strings.LastIndexByte(value, '/'); i >= 0 {
		dir, name = value[:i+1], value[i+1:]
	}
	if name == "" || name == "." || name == ".." {
		return -1, failed(unix.EISDIR)
	}
	at, err := openPath(unix.AT_FDCWD, dir, unix.O_DIRECTORY)
	if err != nil {
		return -1, failed(err)
	}
	at = ps.hold(at)
	var parent, st unix.Stat_t
	if err := unix.Fstat(at, &parent); err != nil {
		return -1, failed(err)
	}
	real, err := realPath(at, &parent)
	if err != nil {
		return -1, failed(err)
	}
	real = strings.TrimSuffix(real, "/") + "/" + name
	if why := protected.unfit(at, real, nil, plan.AccessCreate); why != "" {
		return -1, refuse(why)
	}
	if err := unix.Faccessat2(at, "", unix.W_OK|unix.X_OK, unix.AT_EMPTY_PATH|unix.AT_EACCESS); err != nil {
		return -1, failed(err)
	}
	root := unix.Geteuid() == 0
	owner := uint32(unix.Geteuid())
	if root {
		owner = parent.Uid
	}
	if fd, err := openPath(at, name, unix.O_NOFOLLOW); err == nil {
		switch err := unix.Fstat(fd, &st); {
		case err != nil:
			unix.Close(fd)
			return -1, failed(err)
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			unix.Close(fd)
			return -1, refuse("it is there and is no regular file")
		case st.Uid != owner || root && owner == 0:
			unix.Close(fd)
			return -1, &pathRefusal{status: runner.StatusRefused, msg: refuse("it is there and belongs to another user").Error(), hint: "remove it, or choose another name"}
		}
		return fd, nil
	} else if err != unix.ENOENT {
		return -1, failed(err)
	}
	if root && owner == 0 {
		return -1, &pathRefusal{
			status: runner.StatusRefused, msg: refuse("the directory belongs to root, and a run never writes as root").Error(),
			hint: "choose a directory of an ordinary user: what is made there is his",
		}
	}
	fd, err := unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOCTTY, 0o666)
	if err != nil {
		return -1, failed(err)
	}
	if err = unix.Fstat(fd, &st); err == nil && root {
		err = unix.Fchown(fd, int(parent.Uid), int(parent.Gid))
	}
	ps.made = append(ps.made, madeFile{at, name, st})
	if err != nil {
		unix.Close(fd)
		return -1, failed(err)
	}
	return fd, nil
}

// openPath opens a path for what it is, with the caller's rights. Links of
// proc that lead to descriptors are not followed (openat2(2), Linux 5.6).
func openPath(at int, path string, flags uint64) (int, error) {
	for {
		fd, err := unix.Openat2(at, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | flags, Resolve: unix.RESOLVE_NO_MAGICLINKS})
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// errMoved: the launch could not find the file again.
var errMoved = errors.New("it has no path: it was renamed or removed, or lies in another mount namespace")

// realPath is the absolute path of an open file, without symbolic links:
// what the kernel calls it, if that leads to the same file.
func realPath(fd int, st *unix.Stat_t) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), buf)
	if err != nil {
		return "", err
	}
	real := string(buf[:n])
	if n == len(buf) || !strings.HasPrefix(real, "/") {
		return "", errMoved
	}
	again, err := unix.Openat2(unix.AT_FDCWD, real, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return "", errMoved
	}
	defer unix.Close(again)
	var now unix.Stat_t
	if err := unix.Fstat(again, &now); err != nil || !same(&now, st) {
		return "", errMoved
	}
	return real, nil
}
