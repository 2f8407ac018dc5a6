package engine

import (
	"path"
	"strings"

	"github.com/sbx-project/sbx/internal/elfclosure"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/weak"
	"github.com/sbx-project/sbx/policy"
)

// executables binds what may be executed or mapped as code over itself
// without noexec: the program, its loader and libraries, and the entries of
// filesystem.exec with theirs. Everything else in the view is noexec, so
// nothing that the program finds or writes becomes code, not through the
// dynamic loader either.
func (v *view) executables() error {
	pr := &v.in.Program
	v.inside = v.programPlace()
	if v.dynamic() && v.in.Host.LoaderCache && v.over(pathCache) == nil && !v.has(pathCache) {
		v.mount(mount{kind: plan.Tree, path: pathCache, source: pathCache, flags: plan.Optional, file: true})
	}
	if v.wantsAlternatives() {
		const dir = "/etc/alternatives"
		if err := v.add(mount{kind: plan.Tree, path: dir, source: dir, flags: v.treeFlags()}); err != nil {
			return err
		}
	}
	// The program is bound even where its tree is executable: the launch
	// verifies the bound file and executes it by descriptor.
	v.mount(mount{kind: plan.Tree, path: v.inside, source: pr.Path, flags: plan.Executable, file: true})
	if pr.Script != nil {
		v.script = v.scriptPlace()
	}
	v.closure(pr.Closure)
	for _, r := range v.in.Policy.Filesystem.Exec {
		if r.Path == policy.View {
			continue
		}
		f, ok, err := v.exists(r, "filesystem.exec")
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if f.Kind != Directory && f.Kind != RegularFile {
			return refuse(r.Pos, "", "filesystem.exec: %q is neither a directory nor a regular file", r.Path)
		}
		v.executable(v.spot(v.real(r.Path), f.Real), f.Real, f.Kind != Directory, r.Pos)
		v.closure(v.in.Host.Exec[v.real(r.Path)].Closure)
	}
	return nil
}

// dynamic tells whether the loader runs at all.
func (v *view) dynamic() bool {
	if v.in.Program.Closure.Loader.Path != "" {
		return true
	}
	for _, e := range v.in.Host.Exec {
		if e.Closure.Loader.Path != "" || len(e.Closure.Libs) > 0 {
			return true
		}
	}
	return false
}

func (v *view) has(p string) bool {
	for _, m := range v.shown {
		if m.path == p {
			return true
		}
	}
	return false
}

// wantsAlternatives: names in /usr/bin lead through /etc/alternatives, which
// matters to who executes by name, and some libraries do.
func (v *view) wantsAlternatives() bool {
	h := &v.in.Host
	if !h.AlternativesExist || v.in.Policy.Filesystem.View != "minimal" {
		return false
	}
	return h.Alternatives || !execOnce(v.in)
}

// programPlace: a shown tree shows the program at its own path; a bundle at
// the bundle's; else a neutral place, unless the program looks for libraries
// beside itself ($ORIGIN).
func (v *view) programPlace() string {
	pr := &v.in.Program
	if p, ok := v.seen(pr.Path); ok {
		return p
	}
	for _, l := range pr.Closure.Libs {
		if l.Private {
			return pr.Path
		}
	}
	return path.Join(insideBin, path.Base(pr.Path))
}

func (v *view) scriptPlace() string {
	s := v.in.Program.Script
	if p, ok := v.seen(s.Path); ok {
		return p
	}
	p := path.Join(insideBin, path.Base(s.Path))
	if p == v.inside {
		p += ".script"
	}
	v.mount(mount{kind: plan.Tree, path: p, source: s.Path, file: true})
	return p
}

// spot returns where a file is bound executable: where a tree shows it, else
// at the name under which it is looked for.
func (v *view) spot(p, real string) string {
	if in, ok := v.seen(real); ok {
		return in
	}
	return v.place(p, PathFact{Real: real})
}

// closure makes the loader's files executable where it will look for them.
func (v *view) closure(c elfclosure.Closure) {
	files := c.Libs
	if c.Loader.Path != "" {
		files = append([]elfclosure.File{c.Loader}, files...)
	}
	for _, f := range files {
		v.executable(v.spot(f.Path, f.Real), f.Real, true, policy.Pos{})
	}
}

// executable binds source at p without noexec, once.
func (v *view) executable(p, source string, file bool, pos policy.Pos) {
	for i := range v.shown {
		m := &v.shown[i]
		if m.kind == plan.Tree && m.flags&plan.Executable != 0 && m.flags&plan.Writable == 0 &&
			(m.path == p || !m.file && v.over(p) == m) {
			return
		}
	}
	v.mount(mount{kind: plan.Tree, path: p, source: source, flags: plan.Executable, file: file, pos: pos})
}

// execOnce reports whether nothing but the one exec of the program is open:
// filesystem.exec names nothing that execve(2) could start. A directory of
// plug-ins without programs is only mapped.
func execOnce(in *Input) bool {
	if weak.Off("once") {
		return false
	}
	for _, r := range in.Policy.Filesystem.Exec {
		p := r.Path
		if in.BundleDir != "" && within(p, policy.BundleDir) {
			p = in.BundleDir + strings.TrimPrefix(p, policy.BundleDir)
		}
		if p == policy.View || in.Host.Exec[p].Program {
			return false
		}
	}
	return true
}
