package ctl

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/state"
)

// fileID tells a file from every other one, whatever name leads to it.
type fileID struct{ dev, ino uint64 }

// forbiddenDir is a directory of sbx's own.
type forbiddenDir struct {
	// named is its path as it was given, real without symbolic links.
	named, real string
	what        string
	// readable: a file below it may be read.
	readable bool
	// id is the directory, when it exists.
	id     fileID
	exists bool
	// above are the directory, as far as it exists, and what lies above it.
	above map[fileID]bool
}

// protected lists what no tree may contain: a run that could write there, or
// show it to somebody, would decide what later runs may do. The default
// places count as well when this call uses others, since other calls use them.
func (v *Invocation) protected() Protected {
	return protect(Registries(v.Registry), state.Homes())
}

// ProtectedFor is what a daemon keeps from the runs of a user: its own places,
// the registries that it serves, and what the user's own calls would keep, as
// far as his environment does not matter.
func ProtectedFor(registries []string, uid int) Protected {
	return protect(registries, state.HomesOf(uid))
}

func protect(registries, homes []string) Protected {
	var out []forbiddenDir
	seen := map[string]bool{}
	add := func(path, what string, readable bool) {
		if path != "" && !seen[path] {
			seen[path] = true
			out = append(out, newForbidden(path, what, readable))
		}
	}
	// First what may be read of nothing: the same place can be both.
	for _, d := range state.Defaults() {
		add(d, "the state directory", false)
	}
	for _, d := range [...]string{"/run", os.Getenv("XDG_RUNTIME_DIR")} {
		if strings.HasPrefix(d, "/") {
			add(d+"/sbx", "the runtime directory", false)
		}
	}
	if d := os.Getenv("SBX_RUNTIME"); strings.HasPrefix(d, "/") {
		add(d, "the runtime directory", false)
	}
	for _, d := range registries {
		add(d, "the registry", true)
	}
	add("/etc/sbx", "the configuration", true)
	if d := os.Getenv("XDG_CONFIG_HOME"); strings.HasPrefix(d, "/") {
		add(d+"/sbx", "the configuration", true)
	}
	for _, h := range homes {
		add(h+"/.config/sbx", "the configuration", true)
		add(h+"/.local/state/sbx", "the state directory", false)
	}
	return Protected{dirs: out, homes: homes}
}

func newForbidden(path, what string, readable bool) forbiddenDir {
	f := forbiddenDir{named: path, real: realName(path), what: what, readable: readable}
	// What does not exist yet would be made in what does.
	for at, whole := f.real, true; at != ""; whole = false {
		if fd, err := openPath(unix.AT_FDCWD, at, unix.O_DIRECTORY); err == nil {
			f.id, f.above, _ = ancestors(fd) // else the names alone decide
			f.exists = whole && f.above != nil
			unix.Close(fd)
			break
		}
		i := strings.LastIndexByte(at, '/')
		if i == 0 && at != "/" {
			at = "/"
			continue
		}
		at = at[:max(i, 0)]
	}
	return f
}

// maxDepth bounds a walk upwards: no path is longer than PATH_MAX.
const maxDepth = unix.PathMax

// ancestors identifies an open directory and all above it, through mount
// points, up to the root of the caller.
func ancestors(fd int) (self fileID, all map[fileID]bool, err error) {
	var st unix.Stat_t
	if err := unix.Stat("/", &st); err != nil {
		return self, nil, err
	}
	root := fileID{st.Dev, st.Ino}
	if err := unix.Fstat(fd, &st); err != nil {
		return self, nil, err
	}
	self = fileID{st.Dev, st.Ino}
	all = map[fileID]bool{self: true}
	at, last := fd, self
	defer func() {
		if at != fd {
			unix.Close(at)
		}
	}()
	for range maxDepth {
		up, err := openPath(at, "..", unix.O_DIRECTORY)
		if err != nil {
			return self, nil, err
		}
		if at != fd {
			unix.Close(at)
		}
		at = up
		if err := unix.Fstat(at, &st); err != nil {
			return self, nil, err
		}
		id := fileID{st.Dev, st.Ino}
		if id == last && id == root {
			return self, all, nil
		}
		all[id], last = true, id
	}
	return self, nil, unix.ENAMETOOLONG
}
