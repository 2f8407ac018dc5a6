package runner

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/nsexec"
)

// owner is whose tree is mapped.
type owner = nsexec.TreeOwner

// mapOwners finds the owners of the writable trees that have to be mapped
// when root launches. Host uid 0 is never mapped to the run: what a run could
// write as it would be root's. A tree of the run's own user is shown as it is.
func (r *run) mapOwners() bool {
	if r.config.Identity.Mode == nsexec.OwnUser {
		return true
	}
	view, copied := r.Plan.View, false
	for i := range view {
		s := &view[i]
		if s.Flags&plan.Mapped == 0 {
			continue
		}
		path := s.Source
		if s.Flags&plan.SourceCwd != 0 {
			path = "."
		}
		st, err := r.stat(path)
		if err != nil {
			if s.Flags&plan.Optional != 0 && (err == unix.ENOENT || err == unix.ENOTDIR) {
				r.owners = append(r.owners, owner{})
				continue
			}
			return r.refuse(StatusSetup, SetupError, `open "`+path+`"`, err, "")
		}
		shown := path
		if shown == "." {
			shown = r.Cwd
		}
		if s.Ino != 0 && (st.Dev != s.Dev || st.Ino != s.Ino) {
			return r.refuse(StatusRefused, Refused, `open "`+shown+`"`, errReplaced, "")
		}
		if r.who == fixed && (st.Uid == r.fixedUID || st.Uid == 0 && mayWrite(&st, r.fixedUID, r.fixedGID)) {
			if !copied { // the plan may be shared by runs
				view, copied = slices.Clone(view), true
			}
			view[i].Flags &^= plan.Mapped
			continue
		}
		o := owner{UID: st.Uid, GID: st.Gid, RootUID: st.Uid, RootGID: st.Gid}
		if h := &r.Plan.Host; st.Uid == 0 && s.Flags&plan.Writable != 0 {
			if h.OwnerUID == 0 || !mayWrite(&st, h.OwnerUID, h.OwnerGID) {
				return r.refuse(StatusRefused, Refused, `write "`+shown+`"`, errors.New("the tree belongs to root, and a run never writes as root"), chown(h, shown))
			}
			o.UID, o.GID = h.OwnerUID, h.OwnerGID
		}
		if r.config.Identity.Mode == nsexec.NoUserNS {
			return r.refuse(StatusSetup, Refused, `map "`+shown+`"`, errors.New("feature idmap is missing: it needs user namespaces"),
				"sysctl user.max_user_namespaces=10000")
		}
		r.owners = append(r.owners, o)
	}
	if copied {
		p := *r.Plan
		p.View = view
		r.Plan, r.config.Plan = &p, &p
	}
	r.config.Mapped = len(r.owners)
	return true
}

// chown is the command that makes a tree of root's writable.
func chown(h *plan.Host, tree string) string {
	who := "USER"
	if h.OwnerUID != 0 {
		who = h.OwnerName
	}
	return "give it to an ordinary user: chown -R " + who + " " + tree
}

// mayWrite tells whether a user who is not the owner may write to a directory
// or file, by its mode alone. Who is wrong about it because of an access
// control list gets EACCES inside in place of a refusal before: the kernel
// judges the write itself.
func mayWrite(st *unix.Stat_t, uid, gid uint32) bool {
	switch {
	case st.Uid == uid:
		return st.Mode&0o200 != 0
	case st.Gid == gid:
		return st.Mode&0o020 != 0
	}
	return st.Mode&0o002 != 0
}
