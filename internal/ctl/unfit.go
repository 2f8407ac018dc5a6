package ctl

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
)

// forbiddenDir is a directory of sbx's own.
type forbiddenDir struct {
	real string
	what string
	// readable: a file below it may be read.
	readable bool
}

// forbidden lists what no tree may contain: a run that could write there, or
// show it to somebody, would decide what later runs may do.
func (v *Invocation) forbidden() []forbiddenDir {
	var out []forbiddenDir
	for _, r := range Registries(v.Registry) {
		out = append(out, forbiddenDir{realName(r), "the registry", true})
	}
	if d := state.Dir(); d != "" {
		out = append(out, forbiddenDir{realName(d), "the state directory", false})
	}
	for _, d := range [...]string{"/run/sbx", os.Getenv("SBX_RUNTIME"), os.Getenv("XDG_RUNTIME_DIR") + "/sbx"} {
		if strings.HasPrefix(d, "/") {
			out = append(out, forbiddenDir{realName(d), "the runtime directory", false})
		}
	}
	return out
}

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

// unfit says why a file is not shown to a run, "" if it may be. st is nil for
// a file that is still to be made; fd is its directory then.
func unfit(fd int, real string, st *unix.Stat_t, access plan.Access, forbidden []forbiddenDir) string {
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
	if home := os.Getenv("HOME"); dir && home != "" {
		var h unix.Stat_t
		if unix.Stat(home, &h) == nil && same(&h, st) {
			return "the home directory itself is not shown"
		}
	}
	for _, f := range forbidden {
		if inside(f.real, real) {
			return "it contains " + f.what + " " + f.real
		}
		if inside(real, f.real) && !(f.readable && access == plan.AccessRead) {
			return "it lies in " + f.what + " " + f.real
		}
	}
	return ""
}

// inside tells whether path is dir or below it.
func inside(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir) && path[len(dir)] == '/'
}
