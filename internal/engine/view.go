package engine

import (
	"path"
	"strings"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/weak"
	"github.com/sbx-project/sbx/policy"
)

// Places inside.
const (
	// InsideBundle is where the bundle's directory is shown.
	InsideBundle = "/sbx/bundle"
	// insideBin holds a program or script that no shown tree holds.
	insideBin = "/sbx/bin"
)

// Sizes of the file systems that every minimal view has.
const (
	// devSize is for mount points and four links; a page would do.
	devSize, devFiles = 64 << 10, 64
	// shmSize is that of a tmpfs which a policy does not size.
	shmSize  = uint64(policy.DefaultTmpfsSize)
	shmFiles = policy.DefaultTmpfsFiles
	maskSize = 4096
)

const pathCache = "/etc/ld.so.cache"

// mount is one file system or bind that the view needs, before it is put in
// order.
type mount struct {
	path, source string
	kind         plan.StepKind
	flags        plan.Flags
	file         bool
	mode         uint32
	size, files  uint64
	pos          policy.Pos
}

// view puts the file tree together.
type view struct {
	in    *Input
	steps []plan.Step
	// late are the masks for the launch to place.
	late []plan.Mask
	// shown are the trees and file systems so far; dirs the directories made.
	shown []mount
	dirs  map[string]bool
	// links maps a top-level symbolic link of the view to its target.
	links map[string]string
	// viewExec: everything read-only in the view is executable.
	viewExec bool
	inside   string // of the program
	script   string // of the script, inside
}

func makeView(in *Input) (*view, error) {
	v := &view{in: in, dirs: map[string]bool{"/": true}, links: map[string]string{}}
	fs := &in.Policy.Filesystem
	for _, r := range fs.Exec {
		v.viewExec = v.viewExec || r.Path == policy.View
	}
	minimal := fs.View == "minimal"
	if minimal {
		v.system()
	}
	mounts, err := v.collect()
	if err != nil {
		return nil, err
	}
	if minimal {
		v.etc(mounts)
	}
	if minimal || fs.Proc != "" {
		flags := plan.Subset
		if fs.Proc == "full" {
			flags = 0
		}
		v.mount(mount{kind: plan.Proc, path: "/proc", flags: flags})
	}
	if minimal || len(in.Policy.Devices) > 0 {
		if err := v.dev(minimal); err != nil {
			return nil, err
		}
	}
	for _, m := range mounts {
		if err := v.add(m); err != nil {
			return nil, err
		}
	}
	v.cwd()
	v.weaken()
	if err := v.executables(); err != nil {
		return nil, err
	}
	if err := v.holes(); err != nil {
		return nil, err
	}
	if err := v.masks(); err != nil {
		return nil, err
	}
	if v.has("/dev") {
		v.step(plan.Step{Kind: plan.Seal, Path: "/dev"})
	}
	v.step(plan.Step{Kind: plan.Seal, Path: "/"})
	return v, nil
}

func (v *view) step(s plan.Step) { v.steps = append(v.steps, s) }

// system shows /usr and what the host has beside it.
func (v *view) system() {
	usr := []Link{{Path: "/usr"}}
	for _, l := range append(usr, v.in.Host.Links...) {
		if l.Target != "" {
			v.links[l.Path] = l.Target
			v.step(plan.Step{Kind: plan.Symlink, Path: l.Path, Source: l.Target})
			continue
		}
		v.mount(mount{kind: plan.Tree, path: l.Path, source: l.Path, flags: v.treeFlags()})
	}
}

// treeFlags are those of a read-only tree.
func (v *view) treeFlags() plan.Flags {
	if v.viewExec {
		return plan.Executable
	}
	return 0
}

func (v *view) real(p string) string { return v.in.real(p) }

// real replaces a leading {{bundle}} by the bundle's directory.
func (in *Input) real(p string) string {
	if in.BundleDir != "" && within(p, policy.BundleDir) {
		return in.BundleDir + strings.TrimPrefix(p, policy.BundleDir)
	}
	return p
}

// place returns where a host path is mounted: at its own name, but where a
// shown tree holds it, at the place of what it leads to, because a symbolic
// link on the way would be followed out of the view.
func (v *view) place(p string, f PathFact) string {
	p = v.follow(p)
	if o := v.over(p); o == nil || o.kind != plan.Tree {
		return p
	}
	if in, ok := v.seen(f.Real); ok {
		return in
	}
	return f.Real
}

// seen returns where the view shows a real path of the host, if it does.
func (v *view) seen(real string) (string, bool) {
	for i := len(v.shown) - 1; i >= 0; i-- {
		m := &v.shown[i]
		if m.kind != plan.Tree || m.file || !within(real, m.source) {
			continue
		}
		if p := m.path + strings.TrimPrefix(real, m.source); v.over(p) == m {
			return p, true
		}
	}
	return "", false
}

// follow replaces a top-level symbolic link of the view.
func (v *view) follow(p string) string {
	for link, target := range v.links {
		if within(p, link) {
			return path.Join("/", target) + strings.TrimPrefix(p, link)
		}
	}
	return p
}

func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// over returns the innermost mount that holds p, nil for the root.
func (v *view) over(p string) *mount {
	var best *mount
	for i := range v.shown {
		m := &v.shown[i]
		// Of two at one place the later one lies on top.
		if within(p, m.path) && !m.file && (best == nil || len(m.path) >= len(best.path)) {
			best = m
		}
	}
	return best
}

// add shows a mount that is not shown yet.
func (v *view) add(m mount) error {
	o := v.over(m.path)
	if o == nil || o.kind != plan.Tree {
		v.mount(m)
		return nil
	}
	// The mount point is a path in the host's tree: it must be there, and
	// not behind a symbolic link, which would be followed in the host's root.
	below := o.source + strings.TrimPrefix(m.path, o.path)
	source := m.source
	if m.kind == plan.Tmpfs {
		if v.in.Host.fact(m.path).Kind != Directory {
			return refuse(m.pos, "make the directory or choose another path", "filesystem.tmpfs: %q is inside the tree %q, which has no such directory", m.path, o.path)
		}
		source = v.in.Host.fact(m.path).Real
	}
	if source != below {
		return refuse(m.pos, "name "+source, "filesystem: %q leads through a symbolic link in the tree %q", m.path, o.path)
	}
	const differs = plan.Writable | plan.Executable | plan.Mapped
	if m.kind == plan.Tree && o.flags&differs == m.flags&differs {
		if o.flags&plan.Writable != 0 {
			// Unmounted, it could be replaced by a link, and the run after
			// that would write where the link leads.
			return refuse(m.pos, "take it out", "filesystem.write: %q is part of the writable tree %q", m.path, o.path)
		}
		return nil // there already, with the same rights
	}
	v.mount(m)
	return nil
}

// mount adds the step and the directories above it.
func (v *view) mount(m mount) {
	o := v.over(m.path)
	inTree := o != nil && o.kind == plan.Tree
	if inTree {
		m.flags |= plan.Exists
	} else {
		v.parents(m.path)
	}
	if m.file {
		m.flags |= plan.OverFile
	}
	v.step(plan.Step{Kind: m.kind, Flags: m.flags, Mode: m.mode, Path: m.path, Source: m.source, Size: m.size, Files: m.files})
	v.shown = append(v.shown, m)
	if !m.file {
		v.dirs[m.path] = true
	}
}

// parents makes the directories above p that are not there yet.
func (v *view) parents(p string) {
	dir := path.Dir(p)
	if v.dirs[dir] {
		return
	}
	if o := v.over(dir); o != nil && o.kind == plan.Tree {
		return
	}
	v.parents(dir)
	v.dirs[dir] = true
	v.step(plan.Step{Kind: plan.Dir, Path: dir, Mode: 0o755})
}

// cwd shows the caller's directory, whose path only the launch knows.
func (v *view) cwd() {
	fs := &v.in.Policy.Filesystem
	flags := plan.Flags(0)
	found := false
	for _, r := range fs.Read {
		if r.Path == policy.Cwd {
			found = true
			if r.AsOwner {
				flags |= plan.Mapped
			}
		}
	}
	for _, r := range fs.Write {
		if r.Path == policy.Cwd {
			found, flags = true, plan.Writable|plan.Mapped
		}
	}
	if found {
		v.step(plan.Step{Kind: plan.Tree, Flags: flags | plan.SourceCwd})
	}
}

// shownCwd tells whether the view shows the caller's directory, and writable.
func (v *view) shownCwd() (shown, writable bool) {
	for i := range v.steps {
		if f := v.steps[i].Flags; f&plan.SourceCwd != 0 {
			return true, f&plan.Writable != 0
		}
	}
	return false, false
}

// weaken shows what no view shows, for tests that must find it.
func (v *view) weaken() {
	if weak.Off("sys") {
		v.step(plan.Step{Kind: plan.Dir, Path: "/sys", Mode: 0o755})
		v.step(plan.Step{Kind: plan.Tree, Flags: plan.Exists, Path: "/sys", Source: "/sys"})
	}
	if weak.Off("dev") {
		v.step(plan.Step{Kind: plan.Tree, Flags: plan.Exists, Path: "/dev", Source: "/dev"})
	}
	if weak.Off("tmp") {
		v.step(plan.Step{Kind: plan.Tree, Flags: plan.Exists | plan.Writable, Path: "/tmp", Source: "/tmp"})
	}
}
