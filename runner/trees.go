package runner

import (
	"errors"
	"slices"
	"strings"

	"github.com/sbx-project/sbx/internal/plan"
)

// showTrees puts Options.Trees into a copy of the plan's view: the plan itself
// may be shared by runs.
func (r *run) showTrees() bool {
	if len(r.Trees) == 0 {
		return true
	}
	p := *r.Plan
	var err error
	if p.View, err = withTrees(r.Plan.View, r.Trees, r.Cwd); err != nil {
		return r.refuse(StatusRefused, Refused, "", err, "the policy shows the place otherwise: filesystem.read or filesystem.write can name it")
	}
	r.Plan = &p
	return true
}

// withTrees returns view with trees in it, before the seal of the root. A tree
// that the view shows already, with the rights that it needs, adds nothing. A
// tree that would cover something of the view, or that lies where the view
// shows something else, is an error: what a policy masks, a caller cannot
// show.
func withTrees(view, trees []plan.Step, cwd string) ([]plan.Step, error) {
	end := len(view)
	if end > 0 && view[end-1].Kind == plan.Seal {
		end--
	}
	out, seal := slices.Clone(view[:end]), view[end:]
	trees = slices.Clone(trees)
	// The outer first, so that an inner one lies on it.
	slices.SortStableFunc(trees, func(a, b plan.Step) int { return len(a.Path) - len(b.Path) })
	for _, t := range trees {
		var err error
		if out, err = withTree(out, t, cwd); err != nil {
			return nil, errors.New(`show "` + t.Path + `": ` + err.Error())
		}
	}
	return append(out, seal...), nil
}

func withTree(view []plan.Step, t plan.Step, cwd string) ([]plan.Step, error) {
	holder, at := -1, "" // the innermost mount that holds t.Path, and its place
	holds := ""          // what the view has below t.Path
	for i := range view {
		s := &view[i]
		p := place(s, cwd)
		switch {
		case s.Kind == plan.Dir:
		case s.Kind == plan.Seal:
			if within(t.Path, p) { // a mask, or /dev
				return nil, errors.New(`the view hides "` + p + `"`)
			}
		case s.Kind == plan.Symlink && within(t.Path, p):
			return nil, errors.New(`the view has a symbolic link "` + p + `"`)
		case p != t.Path && within(p, t.Path):
			holds = p
		case s.Kind == plan.File:
		case within(t.Path, p) && len(p) >= len(at):
			holder, at = i, p
		}
	}
	covers := errors.New(`it holds "` + holds + `", which the policy shows otherwise`)
	if holder < 0 || view[holder].Kind == plan.Tmpfs {
		if holds != "" {
			return nil, covers
		}
		return append(parents(view, t.Path, at, cwd), t), nil
	}
	h := &view[holder]
	switch {
	case h.Kind != plan.Tree || h.Flags&plan.SourceCwd == 0 && h.Source != h.Path:
		return nil, errors.New(`the view shows something else at "` + at + `"`)
	case t.Flags&plan.Writable != 0 && h.Flags&(plan.Executable|plan.OverFile) == plan.Executable|plan.OverFile:
		return nil, errors.New("it is what the run executes")
	case h.Flags&plan.Writable != 0 || t.Flags&^h.Flags&(plan.Writable|plan.Mapped) == 0:
		return view, nil // shown already; with more rights than needed, by the policy
	case h.Flags&plan.SourceCwd != 0 && at == t.Path:
		// The caller's directory itself is shown once, by its descriptor.
		h.Flags |= t.Flags & (plan.Writable | plan.Mapped)
		h.Dev, h.Ino = t.Dev, t.Ino
		return view, nil
	case holds != "":
		return nil, covers
	}
	t.Flags |= plan.Exists
	return append(view, t), nil
}

// parents adds the directories between the mount at and path.
func parents(view []plan.Step, path, at, cwd string) []plan.Step {
	for i := len(at) + 1; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		dir := path[:i]
		if !slices.ContainsFunc(view, func(s plan.Step) bool {
			return s.Kind != plan.Symlink && s.Kind != plan.Seal && place(&s, cwd) == dir
		}) {
			view = append(view, plan.Step{Kind: plan.Dir, Path: dir, Mode: 0o755})
		}
	}
	return view
}

// place is where a step puts something.
func place(s *plan.Step, cwd string) string {
	if s.Flags&plan.SourceCwd != 0 {
		return cwd
	}
	return s.Path
}

func within(path, dir string) bool {
	return dir == "/" || strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}
