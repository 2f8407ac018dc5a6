package agree_test

import (
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// view works out what a plan's view shows to the workload, from the steps
// alone and from what the host has at their sources.
type view struct {
	steps []plan.Step
	// owner is the host uid as which the workload reaches trees that are not
	// mapped; a run of root's has one that owns nothing.
	owner uint32
}

// nobodyID stands for the id of a run that root launched.
const nobodyID = 1 << 30

func newView(p *plan.Plan, cwd string, owner uint32) *view {
	v := &view{owner: owner}
	shown := false
	for _, s := range p.View {
		if s.Flags&plan.SourceCwd != 0 {
			// The launch makes the directories above it, where nothing
			// shows them.
			for dir := path.Dir(cwd); dir != "/"; dir = path.Dir(dir) {
				if v.cover(dir) < 0 || v.steps[v.cover(dir)].Kind != plan.Tree {
					v.steps = append(v.steps, plan.Step{Kind: plan.Dir, Path: dir, Mode: 0o755})
				}
			}
			s.Path, s.Source = cwd, cwd
			shown = true
		}
		v.steps = append(v.steps, s)
	}
	for _, m := range p.Masks {
		at := m.Path
		if m.Cwd {
			at = cwd + m.Path
		}
		// There is no symbolic link in the caller's directory, nor on the
		// way to it.
		if st, err := os.Lstat(at); shown && within(at, cwd) && err == nil {
			v.hide(at, st.IsDir())
		}
	}
	return v
}

// hide adds the steps with which a mask covers what is there.
func (v *view) hide(p string, dir bool) {
	if dir {
		v.steps = append(v.steps, plan.Step{Kind: plan.Tmpfs, Path: p}, plan.Step{Kind: plan.Seal, Path: p})
		return
	}
	v.steps = append(v.steps, plan.Step{Kind: plan.Tree, Path: p, Source: "/dev/null"})
}

func within(p, dir string) bool {
	return dir == "/" || p == dir || strings.HasPrefix(p, dir+"/")
}

// cover is the index of the step whose mount p lies in, -1 for the root. A
// later mount lies on top of what was there.
func (v *view) cover(p string) int {
	for i := len(v.steps) - 1; i >= 0; i-- {
		switch s := &v.steps[i]; s.Kind {
		case plan.Tree, plan.Tmpfs, plan.Proc, plan.Devpts, plan.Device:
			if within(p, s.Path) {
				return i
			}
		}
	}
	return -1
}

// entry is what there is at a path whose parents are directories.
type entry struct {
	kind   os.FileMode // type bits; 0 is a regular file
	perm   uint32      // the three bits that count for the workload
	target string      // of a symbolic link
	// of the mount that it lies in
	readOnly, noExec, noDev bool
	// frozen: the file system is read-only, not the mount alone, which the
	// kernel sees before it looks at the mode.
	frozen bool
	// fixed: a file system in which nothing can be made.
	fixed bool
}

// at looks p up, without following it; false when nothing is there.
func (v *view) at(p string) (entry, bool) {
	i := v.cover(p)
	e := entry{noExec: true, noDev: true, readOnly: v.sealed(i)}
	if i < 0 {
		return e, v.made(&e, p, -1)
	}
	s := &v.steps[i]
	switch s.Kind {
	case plan.Tree:
		return v.inTree(e, s, p)
	case plan.Device:
		e.kind, e.perm, e.noDev = os.ModeCharDevice, 6, false
		return e, p == s.Path
	case plan.Proc:
		e.readOnly, e.frozen = true, true
		return inProc(e, s, p)
	case plan.Devpts:
		e.kind, e.perm, e.fixed = os.ModeDir, 5, true
		if p == s.Path+"/ptmx" {
			e.kind, e.perm, e.noDev = os.ModeCharDevice, 6, false
			return e, true
		}
		return e, p == s.Path
	}
	if p == s.Path {
		e.kind, e.perm = os.ModeDir, s.Mode&7
		return e, true
	}
	return e, v.made(&e, p, i)
}

// sealed tells whether the mount of step i (-1: the root) becomes read-only.
func (v *view) sealed(i int) bool {
	p, from := "/", 0
	if i >= 0 {
		p, from = v.steps[i].Path, i
	}
	return slices.ContainsFunc(v.steps[from:], func(s plan.Step) bool { return s.Kind == plan.Seal && s.Path == p })
}

// made fills e with what a step put at p into the file system of step i.
func (v *view) made(e *entry, p string, i int) bool {
	if p == "/" {
		e.kind, e.perm = os.ModeDir, 5
		return true
	}
	for _, s := range v.steps[i+1:] {
		if s.Path != p {
			continue
		}
		switch s.Kind {
		case plan.Dir:
			e.kind, e.perm = os.ModeDir, s.Mode&7
			if v.owner != nobodyID {
				e.perm = s.Mode >> 6 & 7 // the launch makes it under the caller's id
			}
			return true
		case plan.Symlink:
			e.kind, e.perm, e.target = os.ModeSymlink, 7, s.Source
			return true
		case plan.File:
			e.perm = s.Mode & 7
			return true
		}
	}
	return false
}

// inTree looks at the host.
func (v *view) inTree(e entry, s *plan.Step, p string) (entry, bool) {
	host := s.Source + strings.TrimPrefix(p, s.Path)
	e.readOnly = e.readOnly || s.Flags&plan.Writable == 0
	e.noExec = s.Flags&plan.Executable == 0
	var fs unix.Statfs_t
	if unix.Statfs(s.Source, &fs) == nil {
		e.readOnly = e.readOnly || fs.Flags&unix.ST_RDONLY != 0
		e.noExec = e.noExec || fs.Flags&unix.ST_NOEXEC != 0
	}
	st, err := os.Lstat(host)
	if err != nil {
		return e, false
	}
	e.kind = st.Mode().Type()
	if e.kind&os.ModeCharDevice != 0 {
		e.kind = os.ModeCharDevice
	}
	owner := st.Sys().(*syscall.Stat_t).Uid
	as := v.owner
	if s.Flags&plan.Mapped != 0 && v.owner == nobodyID {
		// The owner of the tree is the run's id in it.
		var root unix.Stat_t
		if unix.Stat(s.Source, &root) == nil {
			as = root.Uid
		}
	}
	e.perm = uint32(st.Mode().Perm()) & 7
	if owner == as {
		e.perm = uint32(st.Mode().Perm()) >> 6 & 7
	}
	if e.kind == os.ModeSymlink {
		e.target, _ = os.Readlink(host)
	}
	return e, true
}

// inProc knows the parts of /proc that the probe looks at.
func inProc(e entry, s *plan.Step, p string) (entry, bool) {
	rest := strings.Trim(strings.TrimPrefix(p, s.Path), "/")
	first, below, _ := strings.Cut(rest, "/")
	switch {
	case rest == "", (first == "self" || first == "1") && below == "":
		e.kind, e.perm = os.ModeDir, 5
		return e, true
	case first == "self" || first == "1":
		e.perm = 4
		return e, below == "status"
	case s.Flags&plan.Subset != 0:
		return e, false
	}
	// Of a whole /proc the host's has the same: all is root's.
	st, err := os.Lstat(p)
	if err != nil {
		return e, false
	}
	e.kind, e.perm = st.Mode().Type(), uint32(st.Mode().Perm())&7
	if e.kind == os.ModeSymlink {
		e.target, _ = os.Readlink(p)
	}
	return e, true
}

const (
	mayRead  = 4
	mayWrite = 2
	mayExec  = 1
	// maxLinks is the kernel's bound (path_resolution(7)).
	maxLinks = 40
)

// walk resolves p. It returns the entry and its real path; ENOENT with a parent
// that is there is told by parent, which is then the directory's path.
func (v *view) walk(p string, follow bool) (e entry, real string, errno unix.Errno, parent string) {
	todo := strings.Split(strings.Trim(p, "/"), "/")
	real = "/"
	e, _ = v.at("/")
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if name == "" || name == "." {
			continue
		}
		if e.kind != os.ModeDir {
			return e, real, unix.ENOTDIR, ""
		}
		if e.perm&mayExec == 0 {
			return e, real, unix.EACCES, ""
		}
		if name == ".." {
			real = path.Dir(real)
			e, _ = v.at(real)
			continue
		}
		next := path.Join(real, name)
		found, ok := v.at(next)
		if !ok {
			if len(todo) == 0 {
				parent = real
			}
			return e, next, unix.ENOENT, parent
		}
		if found.kind == os.ModeSymlink && (follow || len(todo) > 0) {
			if links++; links > maxLinks {
				return found, next, unix.ELOOP, ""
			}
			if strings.HasPrefix(found.target, "/") {
				real = "/"
				e, _ = v.at("/")
			}
			todo = append(strings.Split(strings.Trim(found.target, "/"), "/"), todo...)
			continue
		}
		e, real = found, next
	}
	return e, real, 0, ""
}

// try is what the kernel is to answer to one attempt when the filter lets it
// pass. The order of the checks is that of fs/namei.c and fs/open.c.
func (v *view) try(it pathItem) unix.Errno {
	if it.op == 'c' {
		return v.create(it.path)
	}
	e, _, errno, _ := v.walk(it.path, true)
	if errno != 0 {
		return errno
	}
	char := e.kind == os.ModeCharDevice
	switch it.op {
	case 't':
		return 0
	case 'x':
		if e.perm&mayExec == 0 || e.kind == 0 && e.noExec {
			return unix.EACCES
		}
		return 0
	case 'e':
		if e.kind != 0 || e.perm&mayExec == 0 || e.noExec {
			return unix.EACCES
		}
		return 0
	case 'w':
		switch {
		case e.kind == os.ModeDir:
			return unix.EISDIR
		case e.frozen && !char:
			return unix.EROFS
		case char && e.noDev, e.perm&mayWrite == 0:
			return unix.EACCES
		case !char && e.readOnly:
			return unix.EROFS
		}
		return 0
	}
	if char && e.noDev || e.perm&mayRead == 0 {
		return unix.EACCES
	}
	if it.op == 'm' && e.noExec {
		return unix.EPERM
	}
	if it.op == 'm' && e.kind == os.ModeDir {
		return unix.ENODEV
	}
	return 0
}

func (v *view) create(p string) unix.Errno {
	_, _, errno, parent := v.walk(p, false)
	if errno == 0 {
		return unix.EEXIST
	}
	if parent == "" {
		return errno
	}
	dir, _ := v.at(parent)
	switch {
	case dir.readOnly:
		return unix.EROFS
	case dir.perm&mayWrite == 0 || dir.fixed:
		return unix.EACCES
	}
	return 0
}
