package runner

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/nsexec"
)

// TestWhose: whose ids a run gets, by what the policy says and by whom the
// daemon serves.
func TestWhose(t *testing.T) {
	named := plan.User{Name: "backup", UID: 34, GID: 35}
	for _, tt := range []struct {
		name               string
		user               plan.User
		hostUID, hostGID   uint32
		who                user
		wantUID, wantGroup uint32
	}{
		{name: "nothing said", who: ownBlock},
		{name: "caller, nobody served", user: plan.User{Name: "caller"}, who: ownBlock},
		{name: "caller served", user: plan.User{Name: "caller"}, hostUID: 1001, hostGID: 100, who: fixed, wantUID: 1001, wantGroup: 100},
		{name: "caller with root's group", hostUID: 1001, who: fixed, wantUID: 1001, wantGroup: 1001},
		{name: "root served", user: plan.User{Name: "caller"}, hostUID: 0, hostGID: 5, who: ownBlock},
		{name: "dynamic for a client", user: plan.User{Name: plan.UserDynamic}, hostUID: 1001, hostGID: 100, who: ownBlock},
		{name: "a name for a client", user: named, hostUID: 1001, hostGID: 100, who: fixed, wantUID: 34, wantGroup: 35},
		{name: "a name with root's group", user: plan.User{Name: "games", UID: 5}, who: fixed, wantUID: 5, wantGroup: 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &run{Options: Options{Plan: &plan.Plan{User: tt.user}, HostUID: tt.hostUID, HostGID: tt.hostGID, IDBase: 1000000}}
			who, uid, gid := r.whose()
			if who != tt.who || uid != tt.wantUID || gid != tt.wantGroup {
				t.Fatalf("whose: %d, %d:%d; want %d, %d:%d", who, uid, gid, tt.who, tt.wantUID, tt.wantGroup)
			}
			r.who, r.fixedUID, r.fixedGID = who, uid, gid
			want := nsexec.HostIDs{UID: 1000000 + 32*7, GID: 1000000 + 32*7, Nobody: 1000001 + 32*7}
			if who == fixed {
				want.UID, want.GID = tt.wantUID, tt.wantGroup
			}
			if got := r.hostIDs(7); got != want {
				t.Errorf("host ids %+v, want %+v", got, want)
			}
		})
	}
}

func TestMayWrite(t *testing.T) {
	for _, tt := range []struct {
		mode         uint32
		owner, group uint32
		uid, gid     uint32
		want         bool
	}{
		{0o755, 7, 7, 7, 9, true},
		{0o577, 7, 7, 7, 7, false},
		{0o775, 0, 7, 5, 7, true},
		{0o757, 0, 7, 5, 7, false},
		{0o755, 0, 0, 5, 7, false},
		{0o1777, 0, 0, 5, 7, true},
	} {
		st := unix.Stat_t{Mode: unix.S_IFDIR | tt.mode, Uid: tt.owner, Gid: tt.group}
		if got := mayWrite(&st, tt.uid, tt.gid); got != tt.want {
			t.Errorf("mode %o of %d:%d for %d:%d: %v, want %v", tt.mode, tt.owner, tt.group, tt.uid, tt.gid, got, tt.want)
		}
	}
}
