package engine

import (
	"path/filepath"
	"strings"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/policy"
)

// A hole is a mount in a writable tree. rename(2) and unlink(2) of a mount
// point are EBUSY within its own mount namespace (mount_namespaces(7)), so a
// direct child of the tree's root stays where it is. A deeper one does not:
// the run renames a directory between, and the run after it finds another one
// there, or a symbolic link to what the policy never named.

// below counts the elements from dir down to p: 0 when p is dir or not in it.
func below(p, dir string) int {
	if p == dir || !within(p, dir) {
		return 0
	}
	return strings.Count(p[len(dir):], "/")
}

// held refuses a hole at p that the run could move away. pos is the rule's;
// a hole without a rule of its own has the position of the writable tree.
func (v *view) held(p string, pos policy.Pos, what string) error {
	var o *mount
	for i := range v.shown {
		m := &v.shown[i]
		if !m.file && below(p, m.path) > 0 && (o == nil || len(m.path) >= len(o.path)) {
			o = m
		}
	}
	if o == nil || o.kind != plan.Tree || o.flags&plan.Writable == 0 || below(p, o.path) == 1 {
		return nil
	}
	if pos == (policy.Pos{}) {
		pos = o.pos
	}
	return refuse(pos, "write the directories beside it one by one, or move it to "+o.path+"/"+filepath.Base(p),
		"%s: %q lies deeper in the writable tree %q than a direct child: a run could rename a directory above it", what, p, o.path)
}

// holes refuses mounts whose place or source a run could replace for the runs
// after it.
func (v *view) holes() error {
	for i := range v.shown {
		m := &v.shown[i]
		if err := v.held(m.path, m.pos, "filesystem"); err != nil {
			return err
		}
		for j := range v.shown {
			w := &v.shown[j]
			if m.kind != plan.Tree || w.kind != plan.Tree || w.flags&plan.Writable == 0 || w.file || below(m.source, w.source) == 0 {
				continue
			}
			if m.path == w.path+strings.TrimPrefix(m.source, w.source) {
				continue // a hole, looked at by held
			}
			pos := m.pos
			if pos == (policy.Pos{}) {
				pos = w.pos
			}
			return refuse(pos, "", "filesystem: %q shows a part of the writable tree %q, which a run could replace", m.path, w.path)
		}
	}
	fs := &v.in.Policy.Filesystem
	for _, w := range fs.Write {
		if w.Path == policy.Cwd {
			continue
		}
		f := v.in.Host.fact(v.real(w.Path))
		if f.Kind != Directory {
			continue
		}
		for _, l := range v.in.Program.Links {
			if below(l.Path, f.Real) > 0 {
				return refuse(w.Pos, "name the program's real path", "filesystem.write: the program's name %q is a link in the writable tree %q, which a run could turn", l.Path, w.Path)
			}
		}
		for _, list := range []struct {
			what  string
			rules []policy.PathRule
		}{{"read", fs.Read}, {"write", fs.Write}, {"exec", fs.Exec}, {"mask", fs.Mask}} {
			for _, r := range list.rules {
				if err := v.firm("filesystem."+list.what, r, w.Path, f.Real); err != nil {
					return err
				}
			}
		}
	}
	return v.cwdHoles()
}

// firm refuses a path that leads through what a run could replace in the
// writable tree whose real path is real.
func (v *view) firm(what string, r policy.PathRule, tree, real string) error {
	p := v.real(r.Path)
	f := v.in.Host.fact(p)
	ways := v.in.Host.Ways[p]
	for i, at := range ways {
		n := below(at, real)
		switch {
		case n == 0:
		case f.Kind != Absent || i < len(ways)-1:
			return refuse(r.Pos, "name the path that it leads to", "%s: %q leads through the symbolic link %q in the writable tree %q, which a run could turn", what, r.Path, at, tree)
		case what == "filesystem.mask" && n == 1:
			// What a run puts there is its own, and hidden from the next.
		default:
			return refuse(r.Pos, "make it first, or take it out", "%s: %q does not exist in the writable tree %q, where a run could put a link", what, r.Path, tree)
		}
	}
	return nil
}

// firmTrees are where no caller's directory is shown writable: they belong to
// the system, or to the view itself.
var firmTrees = []string{"/bin", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sbx", "/usr"}

// cwdHoles refuses, beside a writable {{cwd}}, code that is bound after it:
// the launch alone knows whether it is a hole, and checks the rest.
func (v *view) cwdHoles() error {
	fs := &v.in.Policy.Filesystem
	writable := false
	for _, r := range fs.Write {
		writable = writable || r.Path == policy.Cwd
	}
	if !writable {
		return nil
	}
	for _, r := range fs.Exec {
		f := v.in.Host.fact(v.real(r.Path))
		if r.Path == policy.View || f.Kind == Absent || within(r.Path, policy.BundleDir) {
			continue
		}
		firm := false
		for _, dir := range firmTrees {
			firm = firm || within(f.Real, dir)
		}
		if !firm {
			return refuse(r.Pos, "install it below /usr, or ship it in the bundle",
				"filesystem.exec: %q may lie below the writable %s, which is known at the launch only", r.Path, policy.Cwd)
		}
	}
	return nil
}
