package engine

import (
	"slices"
	"strings"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/policy"
)

// collect gathers what the policy shows, checks that it is there and sorts it
// so that parents come first: the order in a policy never matters.
func (v *view) collect() ([]mount, error) {
	fs := &v.in.Policy.Filesystem
	at := map[string]mount{}
	for _, r := range fs.Read {
		if r.Path == policy.Cwd {
			continue
		}
		f, ok, err := v.exists(r, "filesystem.read")
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		m := mount{kind: plan.Tree, path: v.place(v.real(r.Path), f), source: f.Real, flags: v.treeFlags(), file: f.Kind != Directory, pos: r.Pos}
		if b := v.in.BundleDir; b != "" && within(r.Path, policy.BundleDir) {
			m.path = InsideBundle + strings.TrimPrefix(r.Path, policy.BundleDir)
		}
		if r.AsOwner {
			m.flags |= plan.Mapped
		}
		if r.Optional {
			m.flags |= plan.Optional
		}
		at[m.path] = m
	}
	for _, r := range fs.Write {
		if r.Path == policy.Cwd {
			continue
		}
		f, ok, err := v.exists(r, "filesystem.write")
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if f.Kind != Directory && f.Kind != RegularFile {
			return nil, refuse(r.Pos, "", "filesystem.write: %q is neither a directory nor a regular file", r.Path)
		}
		m := mount{kind: plan.Tree, path: v.place(r.Path, f), source: f.Real, flags: plan.Writable | plan.Mapped, file: f.Kind != Directory, pos: r.Pos}
		if r.Optional {
			m.flags |= plan.Optional
		}
		at[m.path] = m // write of what is read as well: the policy says both
	}
	tmpfs, err := v.tmpfs()
	if err != nil {
		return nil, err
	}
	for _, m := range tmpfs {
		if other, ok := at[m.path]; ok {
			return nil, refuse(other.pos, "", "filesystem: %q is both a tree and a tmpfs", m.path)
		}
		at[m.path] = m
	}
	if v.in.BundleDir != "" {
		at[InsideBundle] = mount{kind: plan.Tree, path: InsideBundle, source: v.in.BundleDir, flags: v.treeFlags()}
	}
	out := make([]mount, 0, len(at))
	for _, m := range at {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b mount) int { return byPath(a.path, b.path) })
	return out, nil
}

// byPath orders paths so that a directory comes right before what is in it.
func byPath(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) }

// exists looks up a stated path; a missing optional one is no error.
func (v *view) exists(r policy.PathRule, what string) (PathFact, bool, error) {
	f := v.in.Host.fact(v.real(r.Path))
	if f.Kind == Absent {
		if r.Optional {
			return f, false, nil
		}
		return f, false, refuse(r.Pos, "write -"+r.Path+" if it may be missing", "%s: %q does not exist", what, r.Path)
	}
	return f, true, nil
}
