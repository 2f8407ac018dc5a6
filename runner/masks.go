package runner

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/links"
	"github.com/sbx-project/sbx/internal/plan"
)

// hideMasks covers what the policy masks in the trees of the call, by the rules
// that the engine has for the trees that the policy names: a mask hides what
// its path leads to. The run is refused where the call shows just that or a
// part of it, and where a run could move it away for the runs after it.
//
// A file that is not there is not hidden, for nothing can be mounted over it:
// what a workload makes there in a writable tree is its own. What somebody else
// makes there while the run lasts, or puts in the place of what is hidden, the
// run sees.
//
// Trust boundary. Who controls the input: the caller has the trees, and with
// him whoever may write to them, an earlier run that still goes on among them.
// What privilege is held: the supervisor's. What has been checked: that the
// trees may be shown at all. What fails closed: a place is looked at below its
// tree's descriptor without following a link, and the launch covers what it
// finds there in the same way (plan.Covers), or does not launch.
func (r *run) hideMasks() bool {
	if len(r.Plan.Masks) == 0 {
		return true
	}
	trees := r.callTrees()
	defer func() {
		for i := range trees {
			trees[i].close()
		}
	}()
	var covers []cover
	for i := range r.Plan.Masks {
		var refusal *maskRefusal
		if covers, refusal = r.hideMask(&r.Plan.Masks[i], trees, covers); refusal != nil {
			return r.refuse(StatusRefused, Refused, refusal.step, refusal.err, refusal.hint)
		}
	}
	if covers = outermost(covers, r.Plan.View); len(covers) == 0 {
		return true
	}
	p := *r.Plan // it may be shared by runs
	p.View = withCovers(p.View, covers)
	r.Plan, r.config.Plan = &p, &p
	return true
}

// maskRefusal says why a run with a mask is refused.
type maskRefusal struct {
	step string
	err  error
	hint string
}

// hideMask adds the places of one mask to covers.
func (r *run) hideMask(m *plan.Mask, trees []callTree, covers []cover) ([]cover, *maskRefusal) {
	if len(trees) == 0 && len(r.Trees) == 0 {
		return covers, nil
	}
	path := m.Path
	if m.Cwd {
		if !strings.HasPrefix(r.Cwd, "/") {
			return nil, &maskRefusal{"hide " + strconv.Quote("{{cwd}}"+path), errors.New("the working directory has no path"), hintCwd}
		}
		path = strings.TrimSuffix(r.Cwd, "/") + path
	}
	mask := strconv.Quote(path)
	w, err := links.Follow(path)
	if err != nil {
		return nil, &maskRefusal{"hide " + mask, err, "who runs the command must be able to tell where the path leads"}
	}
	covered := func(tree string) bool { return within(tree, path) || within(tree, w.Real) }
	for i := range trees {
		t := &trees[i]
		refuse := func(why string) *maskRefusal {
			return &maskRefusal{"show " + strconv.Quote(t.path), errors.New("the view hides " + mask + why), t.hint()}
		}
		if covered(t.path) {
			return nil, refuse("")
		}
		for _, l := range w.Links {
			if t.writable && l != t.path && within(l, t.path) {
				return nil, refuse(", which leads through the symbolic link " + strconv.Quote(l) + ": a run could turn it")
			}
		}
	}
	for i := range r.Trees { // one that another tree shows already is none of trees
		if t := r.Trees[i].Path; covered(t) {
			return nil, &maskRefusal{"show " + strconv.Quote(t), errors.New("the view hides " + mask), hintTree}
		}
	}
	places := []string{path}
	if w.Real != path {
		places = append(places, w.Real)
	}
	for _, at := range places {
		t := holder(trees, at)
		if t == nil {
			continue
		}
		if child, _, deep := strings.Cut(at[len(t.path)+1:], "/"); deep && t.writable {
			return nil, &maskRefusal{"show " + strconv.Quote(t.path),
				errors.New("the view hides " + mask + ", which lies deeper than a direct child: a run could rename a directory above it"),
				"mask " + t.path + "/" + child + " in its place, or show less to be written"}
		}
		mode, err := t.look(at)
		switch {
		case err == unix.ENOENT || err == unix.ENOTDIR:
			continue
		case err == unix.ELOOP && at != w.Real:
			continue // a link; what it leads to is the other place
		case err == unix.ELOOP:
			err = errReplaced
			fallthrough
		case err != nil:
			return nil, &maskRefusal{"hide " + mask, err, ""}
		case within(r.Plan.Exec.Inside, at) || within(r.Plan.Exec.Path, at):
			return nil, &maskRefusal{"hide " + mask, errors.New("it hides the program"), ""}
		}
		covers = append(covers, cover{at, mode&unix.S_IFMT == unix.S_IFDIR})
	}
	return covers, nil
}

// Hints for whose tree a mask is about.
const (
	hintCwd  = "change to the directory that the command works on"
	hintTree = "filesystem.mask of the policy is about this place: name another one"
)

// errReplaced: what was looked at once is another thing now.
var errReplaced = errors.New("it was replaced meanwhile")

// callTree is a tree that the view shows for this call alone, under its own real
// path: the caller's directory, or what a path parameter names.
type callTree struct {
	path     string
	cwd      bool
	writable bool
	// dev and ino are what must be found at path; ino 0: it is this process's
	// own working directory, whatever becomes of its path.
	dev, ino uint64
	// fd is its descriptor once something was looked for in it; notYet before.
	fd int
}

const notYet = -1

// callTrees are those of the view, in its order.
func (r *run) callTrees() (out []callTree) {
	for i := range r.Plan.View {
		s := &r.Plan.View[i]
		t := callTree{path: s.Path, writable: s.Flags&plan.Writable != 0, dev: s.Dev, ino: s.Ino, fd: notYet}
		switch {
		case s.Kind != plan.Tree:
			continue
		case s.Flags&plan.SourceCwd != 0:
			t.path, t.cwd = r.Cwd, true
			t.dev, t.ino = r.config.CwdStamp.Dev, r.config.CwdStamp.Ino
		case s.Ino == 0:
			continue // the policy's own
		}
		out = append(out, t)
	}
	return out
}

// holder is the innermost tree that holds a path below itself, nil for none.
func holder(trees []callTree, path string) (best *callTree) {
	for i := range trees {
		if t := &trees[i]; path != t.path && within(path, t.path) && (best == nil || len(t.path) >= len(best.path)) {
			best = t
		}
	}
	return best
}

func (t *callTree) hint() string {
	if t.cwd {
		return hintCwd
	}
	return hintTree
}

// look tells the mode of what lies at a path below the tree. ELOOP: there is a
// symbolic link on the way or at its end.
func (t *callTree) look(path string) (uint32, error) {
	if t.fd == notYet {
		if err := t.open(); err != nil {
			return 0, err
		}
	}
	var st unix.Stat_t
	fd, err := openStill(t.fd, path[len(t.path)+1:], unix.RESOLVE_BENEATH)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	err = unix.Fstat(fd, &st)
	return st.Mode, err
}

func (t *callTree) open() (err error) {
	if t.ino == 0 {
		t.fd = unix.AT_FDCWD
		return nil
	}
	t.fd, err = openStill(unix.AT_FDCWD, t.path, 0)
	var st unix.Stat_t
	switch {
	case err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP:
		return errReplaced
	case err != nil:
		return err
	}
	if err = unix.Fstat(t.fd, &st); err == nil && (st.Dev != t.dev || st.Ino != t.ino) {
		err = errReplaced
	}
	return err
}

func (t *callTree) close() {
	if t.fd >= 0 {
		unix.Close(t.fd)
	}
}

// openStill opens what a path is without a symbolic link on its way
// (openat2(2), Linux 5.6).
func openStill(at int, path string, resolve uint64) (int, error) {
	for {
		fd, err := unix.Openat2(at, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | resolve})
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// cover is a place that is to be hidden, and whether it is a directory.
type cover struct {
	path string
	dir  bool
}

// outermost sorts covers and leaves out what another one of them, or a mask of
// the view, hides already.
func outermost(covers []cover, view []plan.Step) (out []cover) {
	slices.SortFunc(covers, func(a, b cover) int { return strings.Compare(a.path, b.path) })
	for _, c := range covers {
		// A directory comes before what is in it, though not right before.
		if slices.ContainsFunc(out, func(o cover) bool { return within(c.path, o.path) }) ||
			slices.ContainsFunc(view, func(s plan.Step) bool { return s.Kind == plan.Seal && s.Path != "/" && within(c.path, s.Path) }) {
			continue
		}
		out = append(out, c)
	}
	return out
}

// coverSize is the size of the tmpfs that hides a directory: the least.
const coverSize = 4096

// withCovers returns view with covers on top of all, before the seal of the
// root.
func withCovers(view []plan.Step, covers []cover) []plan.Step {
	end := len(view)
	if end > 0 && view[end-1].Kind == plan.Seal && view[end-1].Path == "/" {
		end--
	}
	out := slices.Clone(view[:end])
	for _, c := range covers {
		if c.dir {
			out = append(out, plan.Step{Kind: plan.Tmpfs, Flags: plan.Exists | plan.Covers, Path: c.path, Size: coverSize, Files: 1})
		} else {
			out = append(out, plan.Step{Kind: plan.Tree, Flags: plan.Exists | plan.OverFile | plan.Covers, Path: c.path, Source: "/dev/null"})
		}
	}
	return append(out, view[end:]...)
}
