package runner

import (
	"errors"
	"strings"
	"syscall"
	"time"

	"github.com/sbx-project/sbx/internal/cgroup"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/weak"
	"github.com/sbx-project/sbx/nsexec"
)

// Laid is a launch for the next calls, with what the runner does besides. Its
// memory is Options.Lay.
type Laid struct {
	Image *nsexec.Image
	// Used is how much of the memory is used.
	Used []byte
	// Place is the directory that the run's control group is made in, Writes
	// what is written to it; empty: the run has none.
	Place  string
	Writes []cgroup.Write
	// Controllers is what the group above Place offered.
	Controllers string
	// OwnGroup says in which groups the launcher was; empty: it did not matter.
	OwnGroup string
	// Denied is the directory that no control group could be made in, NoLeaf
	// what the error said.
	Denied, NoLeaf string
	// IDBase is the first host id of the blocks for runs; 0: UID and GID are the
	// run's ids, where it has other than the launcher's.
	IDBase, UID, GID uint32
}

// Adopted is a run that was launched from a Laid by this process, before it came
// to Run.
type Adopted struct {
	// PID is that of init, Control the supervisor's end of its socket.
	PID, Control int
	// Leaf is the run's control group, -1 for none, LeafName its name, Parent
	// the directory that it is in, Place the name of that.
	Parent, Leaf    int
	Place, LeafName string
	// ID is the run's id, Elapsed for how long it has gone on.
	ID      string
	Elapsed time.Duration
	// Told is the signal by which this process was told to end meanwhile; 0:
	// none. It was forwarded.
	Told syscall.Signal
	// Signals is what TakeSignals has given.
	Signals int
	// Controllers is what the group above Place offers; NoLeaf says why there is
	// no group.
	Controllers, NoLeaf string
}

// Abandon ends a run that Run is not given.
func Abandon(a *Adopted) {
	r := run{Options: Options{Adopt: a}}
	r.adopt()
	r.release()
}

// adopt takes over what was launched.
func (r *run) adopt() {
	a := r.Adopt
	r.child = nsexec.Adopt(a.PID, a.Control)
	if a.Leaf >= 0 {
		r.parent, r.leaf = cgroup.Adopt(a.Parent, a.Place, a.Leaf, a.LeafName)
	} else {
		r.noLeaf = errors.New(a.NoLeaf)
	}
}

// lay lays the launch that has just gone well out for the next calls, where it
// does not depend on more of a call than an image takes.
func (r *run) lay() {
	if r.Lay == nil || r.report.Outcome != OK && r.report.Outcome != Exit || weak.Built || r.output != nil || r.CwdFD > 0 || len(r.Trees) > 0 || len(r.Plan.Masks) > 0 {
		return
	}
	// A run that ends before the first look at it cannot be held to less.
	const shortest = 10 * watchInterval
	if r.Timeout > 0 && r.Timeout < shortest {
		return
	}
	own := r.config.Identity.Mode == nsexec.OwnUser
	for i := range r.Plan.View {
		if r.Plan.View[i].Flags&plan.Mapped != 0 && !own {
			return // it depends on whose the tree is
		}
	}
	l := &Laid{Writes: r.writes}
	var err error
	if own || r.parent != nil && !r.parent.Usual() {
		if l.OwnGroup, err = cgroup.OwnText(); err != nil {
			return
		}
	}
	switch {
	case r.leaf != nil:
		l.Place = r.parent.Path()
		if l.Controllers, err = r.parent.Offered(); err != nil || r.wronged(l.Controllers) {
			return
		}
	case errors.Is(r.noLeaf, cgroup.ErrNotDelegated) && own:
		var d *cgroup.NotDelegatedError
		if errors.As(r.noLeaf, &d) {
			l.Denied, l.NoLeaf = d.Path, d.Error()
		}
	default:
		return
	}
	switch r.who {
	case ownBlock:
		l.IDBase = r.IDBase
	case fixed:
		l.UID, l.GID = r.fixedUID, r.fixedGID
	}
	if l.Image, l.Used, err = nsexec.Lay(r.config, r.Lay); err != nil {
		return
	}
	r.report.Laid = l
}

// wronged tells whether a limit is not held though its controller is offered: it
// may be the next time.
func (r *run) wronged(controllers string) bool {
	for i := range r.held {
		if h := &r.held[i]; h.Err != nil && contains(strings.Fields(controllers), strings.TrimPrefix(layerOf(h.Name), "cgroup.")) {
			return true
		}
	}
	return false
}
