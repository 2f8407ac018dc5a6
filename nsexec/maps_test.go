package nsexec

import "testing"

// TestTreeMaps: who is who in a mapped tree. Root on disk is the run only
// where the caller says so, which is for trees shown read-only.
func TestTreeMaps(t *testing.T) {
	run := HostIDs{UID: 100, GID: 200, Nobody: 300}
	for _, tt := range []struct {
		name          string
		owner         TreeOwner
		users, groups string
	}{
		{"an ordinary user's", TreeOwner{7, 8, 7, 8}, "7 100 1\n", "8 200 1\n"},
		{"with root's group", TreeOwner{7, 0, 7, 0}, "7 100 1\n", "7 200 1\n0 300 1\n"},
		{"root's, read-only", TreeOwner{0, 0, 0, 0}, "0 100 1\n", "0 200 1\n"},
		{"root's, written as another", TreeOwner{7, 8, 0, 0}, "7 100 1\n0 300 1\n", "8 200 1\n0 300 1\n"},
		{"root's with the other's group", TreeOwner{7, 8, 0, 8}, "7 100 1\n0 300 1\n", "8 200 1\n"},
		{"root's with a third group", TreeOwner{7, 0, 0, 9}, "7 100 1\n0 300 1\n", "7 200 1\n0 300 1\n9 301 1\n"},
	} {
		users, groups := treeMaps(tt.owner, run)
		if users != tt.users || groups != tt.groups {
			t.Errorf("%s: %q %q, want %q %q", tt.name, users, groups, tt.users, tt.groups)
		}
	}
}
