package ctl

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// realName follows the links of a path as far as it exists.
func realName(path string) string {
	rest := ""
	for path != "" {
		if fd, err := openPath(unix.AT_FDCWD, path, 0); err == nil {
			var st unix.Stat_t
			real, err := "", unix.Fstat(fd, &st)
			if err == nil {
				real, err = realPath(fd, &st)
			}
			unix.Close(fd)
			if err == nil {
				return strings.TrimSuffix(real, "/") + rest
			}
		}
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			break
		}
		path, rest = path[:i], path[i:]+rest
	}
	return path + rest
}

// kernelTree tells whether files of that type of file system are the kernel's
// own knobs and lists, wherever it is mounted (statfs(2)).
func kernelTree(magic int64) bool {
	switch magic {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC,
		unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.SELINUX_MAGIC, unix.BPF_FS_MAGIC, unix.EFIVARFS_MAGIC,
		unix.PSTOREFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.BINFMTFS_MAGIC, unix.NSFS_MAGIC, configfs:
		return true
	}
	return false
}

// configfs is CONFIGFS_MAGIC of fs/configfs/mount.c.
const configfs = 0x62656570

// Protected is what is never shown to a run: homes themselves, and the
// directories of sbx's own.
type Protected struct {
	dirs  []forbiddenDir
	homes []string
}

// unfit says why a file is not shown to a run, "" if it may be. st is nil for
// a file that is still to be made; fd is its directory then.
func (p Protected) unfit(fd int, real string, st *unix.Stat_t, access plan.Access) string {
	dir := false
	if st != nil {
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
		case unix.S_IFDIR:
			dir = true
		default:
			return "only regular files and directories are shown"
		}
	}
	if dir && (real == "/" || strings.Count(real, "/") == 1) {
		return "a top-level directory is not shown"
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return "statfs: " + err.Error()
	}
	if kernelTree(int64(fs.Type)) {
		return "it belongs to the kernel, not to a disk"
	}
	for _, top := range [...]string{"/proc", "/sys", "/dev", "/sbx"} {
		if inside(real, top) {
			return "nothing of " + top + " is shown"
		}
	}
	if dir {
		for _, home := range p.homes {
			var h unix.Stat_t
			if unix.Stat(home, &h) == nil && same(&h, st) {
				return "the home directory itself is not shown"
			}
		}
	}
	above, err := aboveOf(fd, real, st, dir)
	if err != nil {
		return "what lies above it cannot be told: " + err.Error()
	}
	for i := range p.dirs {
		f := &p.dirs[i]
		// By the names, and by what the directories are: a bind mount or
		// another spelling gives one directory several names.
		if inside(f.real, real) || dir && f.above[fileID{st.Dev, st.Ino}] {
			return "it contains " + f.what + " " + f.real
		}
		if (inside(real, f.real) || f.exists && above[f.id]) && !(f.readable && access == plan.AccessRead) {
			return "it lies in " + f.what + " " + f.real
		}
	}
	return ""
}

// aboveOf identifies the directories that hold a file, the file itself
// included when it is one.
func aboveOf(fd int, real string, st *unix.Stat_t, dir bool) (map[fileID]bool, error) {
	if st != nil && !dir {
		at, err := openPath(unix.AT_FDCWD, real[:strings.LastIndexByte(real, '/')+1], unix.O_DIRECTORY)
		if err != nil {
			return nil, err
		}
		defer unix.Close(at)
		fd = at
	}
	_, all, err := ancestors(fd)
	return all, err
}

// unfitCwd says why the working directory is not shown to a run of p, "" if
// it may be or the plan does not show it. The judgement is about the directory
// that this process is in, whatever becomes of its path.
func (v *Invocation) unfitCwd(p *plan.Plan, cwd string) string {
	access := ShowsCwd(p)
	if access == 0 {
		return ""
	}
	return v.unfitHere(cwd, access)
}

// unfitHere says why this process's working directory is not shown for access.
func (v *Invocation) unfitHere(cwd string, access plan.Access) string {
	fd, err := openPath(unix.AT_FDCWD, ".", unix.O_DIRECTORY)
	if err != nil {
		return "open: " + err.Error()
	}
	defer unix.Close(fd)
	return v.protected().UnfitDir(fd, cwd, access)
}

// UnfitDir says why the working directory behind fd is not shown to a run, ""
// if it may be. cwd is what its owner calls it.
func (p Protected) UnfitDir(fd int, cwd string, access plan.Access) string {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "stat: " + err.Error()
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return "it is no directory"
	}
	real, err := realPath(fd, &st)
	if err != nil {
		return err.Error()
	}
	if real != cwd {
		return errMoved.Error()
	}
	return p.unfit(fd, real, &st, access)
}

// ShowsCwd tells for what a plan shows the caller's working directory; 0: it
// does not.
func ShowsCwd(p *plan.Plan) (access plan.Access) {
	for i := range p.View {
		if f := p.View[i].Flags; f&plan.SourceCwd != 0 {
			if access = max(access, plan.AccessRead); f&plan.Writable != 0 {
				access = plan.AccessWrite
			}
		}
	}
	return access
}

// inside tells whether path is dir or below it.
func inside(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir) && path[len(dir)] == '/'
}
