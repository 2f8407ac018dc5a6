package runner

import (
	"errors"
	"os"
	"strings"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/weak"
	"github.com/sbx-project/sbx/nsexec"
)

// DefaultIDBase is the start of a range that systemd's table of uids leaves
// unused (https://systemd.io/UIDS-GIDS); 32 ids for each of 4,194,304 pids end
// below the range that it gives to foreign images.
const DefaultIDBase = 1879048192

// user is whose ids a run has.
type user uint8

const (
	// ownBlock: a block of ids that own nothing, computed from init's pid.
	ownBlock user = iota
	// launcher: an ordinary user launches, and has no other ids to give.
	launcher
	// fixed: ids that belong to somebody, whom the policy or who serves the
	// run names.
	fixed
)

// ErrNeedsDaemon refuses ids that an ordinary user cannot give.
var ErrNeedsDaemon = errors.New("needs the daemon: an ordinary user gives a run no other rights than his own")

// chooseIdentity picks the way to the run's ids (SPEC 4, Identity).
//
// Trust boundary: a plan and the daemon's client say whose ids a run gets.
// Privilege here: root's, when the run has any but the launcher's own.
// Checked before: the plan is root's or the launcher's; the engine takes a
// name from a registry of root alone. Checked again: nobody but root gives
// ids away, and 0 is never given. Fails closed: without ids there is no run.
func (r *run) chooseIdentity() bool {
	who, uid, gid := r.whose()
	switch self := os.Geteuid(); {
	case self != 0 && r.Plan.Host.NeedsDaemon:
		return r.refuse(StatusRefused, Refused, "run without the daemon", ErrNeedsDaemon, "the configuration of this host says daemon: required; see sbx status")
	case self != 0 && who == fixed && uid == uint32(self):
		who = launcher
	case self != 0 && (who == fixed || r.Plan.User.Name == plan.UserDynamic):
		return r.refuse(StatusRefused, Refused, "user "+r.Plan.User.Name, ErrNeedsDaemon, "sbx serve as root gives a run other ids")
	case self != 0:
		who = launcher
	}
	r.who = who
	id := &r.config.Identity
	if who == launcher {
		*id = nsexec.Identity{Mode: nsexec.OwnUser, HostUID: uint32(os.Geteuid()), HostGID: uint32(os.Getegid())}
		r.layer("identity", Degraded, "the host id is the caller's own, and he keeps his supplementary groups")
		return true
	}
	if r.IDBase == 0 {
		r.IDBase = r.Plan.Host.IDBase
	}
	if r.IDBase == 0 {
		r.IDBase = DefaultIDBase
	}
	r.fixedUID, r.fixedGID = uid, gid
	r.layer("identity", Applied, "")
	id.Mode = nsexec.LateUserNS
	if strings.TrimSpace(readNumber("/proc/sys/user/max_user_namespaces")) == "0" {
		id.Mode = nsexec.NoUserNS
		// init's pid is not known yet, and nobody could tell it its ids later:
		// the supervisor's own pid is as unique for as long as the run can be.
		ids := r.hostIDs(os.Getpid())
		id.HostUID, id.HostGID = ids.UID, ids.GID
		if r.Plan.Capabilities != 0 {
			return r.refuse(StatusSetup, Refused, "keep the policy's capabilities", errors.New("feature userns is missing: they count only inside the run's own user namespace"),
				"sysctl user.max_user_namespaces=10000")
		}
	}
	return true
}

// whose says what the plan and the options ask for. Where the user's group is
// root's, the run gets the group with the user's number: group 0 owns half of
// the host.
func (r *run) whose() (who user, uid, gid uint32) {
	switch u := &r.Plan.User; {
	case u.UID != 0:
		uid, gid = u.UID, u.GID
	case u.Name == plan.UserDynamic || r.HostUID == 0:
		return ownBlock, 0, 0
	default:
		uid, gid = r.HostUID, r.HostGID
	}
	if gid == 0 {
		gid = uid
	}
	return fixed, uid, gid
}

// hostIDs are the run's ids outside. A block is numbered by a pid, and unique
// while that pid lives.
func (r *run) hostIDs(pid int) nsexec.HostIDs {
	first := r.IDBase + nsexec.IDsPerRun*uint32(pid)
	ids := nsexec.HostIDs{UID: first, GID: first, Nobody: first + 1}
	if weak.Off("ids") {
		return nsexec.HostIDs{Nobody: ids.Nobody}
	}
	if r.who == fixed {
		ids.UID, ids.GID = r.fixedUID, r.fixedGID
	}
	return ids
}
