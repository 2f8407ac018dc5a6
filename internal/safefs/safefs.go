// Package safefs opens files whose whole path is under the control of people
// who are believed: uid 0 and the effective uid. Use [OpenTrusted] for a path
// from the root, [OpenBeneath] for a name below an open directory,
// [WriteAtomic] to replace a file durably.
//
// Everything is walked by descriptor, so what was checked is what is opened.
// It does not protect from uid 0, from the effective uid itself, or from a
// change by them after the file was opened.
//
// The hot path links this package: it imports neither fmt nor anything that
// does more at start than os.
package safefs

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OwnerError says that a component of a path could be changed by somebody who
// is not believed. A command answers it with exit status 126.
type OwnerError struct {
	// Path is the component, as far as it was walked.
	Path string
	// UID is its owner; Mode are its type and permission bits.
	UID, Mode uint32
	// Want says who may own it where that is narrower than uid 0 or the
	// effective uid, and makes the owner the fault; empty: no narrower.
	Want string
}

// Error names the component and what is wrong with it.
func (e *OwnerError) Error() string {
	if e.Want != "" {
		return strconv.Quote(e.Path) + ": owned by uid " + strconv.FormatUint(uint64(e.UID), 10) + ", not by " + e.Want
	}
	if e.UID != 0 && e.UID != uint32(os.Geteuid()) {
		return strconv.Quote(e.Path) + ": owned by uid " + strconv.FormatUint(uint64(e.UID), 10) +
			", not by uid 0 or the effective uid"
	}
	return strconv.Quote(e.Path) + ": writable by others (mode " +
		strconv.FormatUint(uint64(e.Mode&0o7777), 8) + ")"
}

// Hint names the command that fixes it.
func (e *OwnerError) Hint() string {
	if e.Want != "" {
		return "chown 0 " + e.Path
	}
	if e.UID != 0 && e.UID != uint32(os.Geteuid()) {
		return "chown " + strconv.Itoa(os.Geteuid()) + " " + e.Path
	}
	return "chmod go-w " + e.Path
}

// KindError says that a file is of a kind that is not accepted at its place.
type KindError struct {
	Path string
	// Kind is "symbolic link", "hard link", "device", ...
	Kind string
}

// Error names the file and its kind.
func (e *KindError) Error() string {
	return strconv.Quote(e.Path) + ": " + e.Kind + " not accepted"
}

// CheckOwner accepts a file that belongs to uid 0 or the effective uid and
// that nobody else may write; a directory that others may write is accepted
// when it is sticky, because then they cannot replace what is in it. The
// error is an *OwnerError with path. A symbolic link's mode means nothing:
// only its owner counts.
func CheckOwner(path string, st *unix.Stat_t) error {
	bad := st.Uid != 0 && st.Uid != uint32(os.Geteuid())
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFLNK && st.Mode&0o022 != 0 {
		bad = bad || kind != unix.S_IFDIR || st.Mode&unix.S_ISVTX == 0
	}
	if bad {
		return &OwnerError{Path: path, UID: st.Uid, Mode: st.Mode}
	}
	return nil
}

// maxLinks bounds symbolic links of one path, as the kernel does (path_resolution(7)).
const maxLinks = 40

// OpenTrusted opens the directory or regular file at path, read-only, after
// it has checked every component from / by [CheckOwner]: directories, the
// owners of symbolic links, what links point to, and the file itself. path is
// absolute. The caller closes the file. Errors: *OwnerError, *KindError for
// what is neither, else an *os.PathError.
//
// Trust boundary. Any local user may control a component or a link. The
// caller may hold root's rights. Nothing has been checked. A component that
// is not as it must be is an error; what changes during the walk is noticed
// because each step is taken from the descriptor that was checked.
func OpenTrusted(path string) (*os.File, error) {
	fd, name, err := openTrusted(path)
	if err != nil {
		return nil, err
	}
	return file(fd, name)
}

// OpenTrustedFD is OpenTrusted with the bare descriptor, for the hot path: an
// os.File costs more than the walk. Its O_NONBLOCK is set, which means nothing
// to a regular file or a directory.
func OpenTrustedFD(path string) (int, error) {
	fd, _, err := openTrusted(path)
	return fd, err
}

// openTrusted does the walk; name is what was opened in the end.
func openTrusted(path string) (fd int, name string, err error) {
	if !strings.HasPrefix(path, "/") || strings.IndexByte(path, 0) >= 0 {
		return -1, "", pathError("open", path, unix.EINVAL)
	}
	dir, err := openat(unix.AT_FDCWD, "/", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, "", pathError("open", "/", err)
	}
	defer func() { unix.Close(dir) }()
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return -1, "", pathError("stat", "/", err)
	}
	if err := CheckOwner("/", &st); err != nil {
		return -1, "", err
	}

	walked := "/" // what dir is called
	rest := path
	links := 0
	for {
		var name string
		before := strings.TrimLeft(rest, "/")
		name, rest = next(before)
		if name == "" || name == "." {
			if rest != "" {
				continue
			}
			return reopen(dir, ".", walked, &st)
		}
		here := ""
		if links == 0 {
			here = path[:len(path)-len(before)+len(name)] // no copy
		} else {
			here = join(walked, name)
		}
		fd, err := openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW)
		if err != nil {
			return -1, "", pathError("open", here, err)
		}
		if err := unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
			return -1, "", pathError("stat", here, err)
		}
		if err := CheckOwner(here, &st); err != nil {
			unix.Close(fd)
			return -1, "", err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			unix.Close(dir)
			dir, walked = fd, here
			if rest == "" {
				return reopen(dir, ".", walked, &st)
			}
		case unix.S_IFLNK:
			target, err := readlink(fd)
			unix.Close(fd)
			if err != nil {
				return -1, "", pathError("readlink", here, err)
			}
			if links++; links > maxLinks {
				return -1, "", pathError("open", path, unix.ELOOP)
			}
			rest = target + "/" + rest
			if strings.HasPrefix(target, "/") {
				root, err := openat(unix.AT_FDCWD, "/", unix.O_PATH|unix.O_DIRECTORY)
				if err != nil {
					return -1, "", pathError("open", "/", err)
				}
				unix.Close(dir)
				dir, walked = root, "/"
				if err := unix.Fstat(dir, &st); err != nil {
					return -1, "", pathError("stat", "/", err)
				}
			}
		case unix.S_IFREG:
			unix.Close(fd)
			if strings.Trim(rest, "/") != "" {
				return -1, "", pathError("open", here, unix.ENOTDIR)
			}
			return reopen(dir, name, here, &st)
		default:
			unix.Close(fd)
			return -1, "", &KindError{Path: here, Kind: kindName(st.Mode)}
		}
	}
}

// OpenBeneath opens the regular file or directory name below dir, read-only:
// no symbolic link on the way, nothing above dir, every kind but those two
// refused before it is opened. It does not check owners below dir: the
// Stat_t it returns is for that. name may have several components. path is
// dir's path, for messages. The caller closes the file. Errors: *KindError,
// else an *os.PathError.
func OpenBeneath(dir *os.File, path, name string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	here := join(path, name)
	fd, err := beneath(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		if err == unix.ELOOP {
			return nil, st, &KindError{Path: here, Kind: "symbolic link"}
		}
		return nil, st, pathError("open", here, err)
	}
	err = unix.Fstat(fd, &st)
	unix.Close(fd)
	if err != nil {
		return nil, st, pathError("stat", here, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
	default:
		return nil, st, &KindError{Path: here, Kind: kindName(st.Mode)}
	}
	fd, err = beneath(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, st, pathError("open", here, err)
	}
	st, err = same(fd, here, &st)
	if err != nil {
		return nil, st, err
	}
	f, err := file(fd, here)
	return f, st, err
}

// reopen opens what an O_PATH walk has checked for reading, and makes sure
// that it is the same file.
func reopen(dir int, name, path string, want *unix.Stat_t) (int, string, error) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return -1, "", pathError("open", path, err)
	}
	if _, err := same(fd, path, want); err != nil {
		return -1, "", err
	}
	return fd, path, nil
}

// same checks that fd is still the file of want, else closes it: the name may
// have been given to another file between two opens.
func same(fd int, path string, want *unix.Stat_t) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return st, pathError("stat", path, err)
	}
	if st.Dev != want.Dev || st.Ino != want.Ino || st.Mode != want.Mode || st.Uid != want.Uid {
		unix.Close(fd)
		return st, pathError("open", path, unix.ESTALE)
	}
	return st, nil
}

// file makes an os.File of fd, or closes it. O_NONBLOCK was for a named pipe
// that took the place in between; with it os would set up a poller.
func file(fd int, path string) (*os.File, error) {
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, pathError("fcntl", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// next cuts the first component off.
func next(path string) (name, rest string) {
	path = strings.TrimLeft(path, "/")
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], strings.TrimLeft(path[i:], "/")
	}
	return path, ""
}

func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}

func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// beneath is openat2(2), Linux 5.6. EAGAIN means that a rename raced with
// the walk.
func beneath(dir int, name string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(dir, name, &how)
		if err == unix.EINTR || err == unix.EAGAIN && try < 100 {
			continue
		}
		// A link as the last component is opened itself by O_PATH; the
		// kernel says ELOOP only for those on the way.
		return fd, err
	}
}

func readlink(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	if n == 0 || n == len(buf) {
		return "", unix.ENAMETOOLONG
	}
	return string(buf[:n]), nil
}

func kindName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "device"
	case unix.S_IFIFO:
		return "named pipe"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "file of unknown kind"
}

func pathError(op, path string, err error) error {
	return &os.PathError{Op: op, Path: path, Err: err}
}
