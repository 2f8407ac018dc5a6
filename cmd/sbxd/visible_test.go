package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/daemon"
	"github.com/sbx-project/sbx/registry"
)

// TestHidden: who may not see all is told of what he could run if an earlier
// registry had no command of that name.
func TestHidden(t *testing.T) {
	rows := []listed{
		{Name: "tool", Version: "1.0.0", Registry: "/etc/sbx/registry", runs: true},
		{Name: "tool", Version: "2.0.0", Registry: "/home/u/registry", Shadowed: true, shadow: "/etc/sbx/registry", runs: true},
		{Name: "jq", Version: "1.0.0", Registry: "built-in", Shadowed: true, shadow: "/home/u/registry", runs: true},
		{Name: "bad", Registry: "/home/u/registry", Shadowed: true, shadow: "/etc/sbx/registry"},
		{Name: "others", Version: "1.0.0", Registry: "/home/u/registry", Shadowed: true, shadow: "/etc/sbx/registry", runs: true, allow: registry.Allow{Users: []string{"1001"}}},
	}
	c := caller{ids: daemon.Caller{UID: 1000}, required: true, served: func(string) bool { return false }}
	want := []string{
		"tool 2.0.0 of /home/u/registry is shadowed by that of /etc/sbx/registry",
		"jq 1.0.0 of built-in is shadowed by that of /home/u/registry",
	}
	if diff := cmp.Diff(want, c.hidden(rows)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if root := (&caller{}).hidden(rows); root != nil {
		t.Errorf("root is told %q", root)
	}
}

// TestCallerRuns: what is shown to whom, without and with a daemon.
func TestCallerRuns(t *testing.T) {
	open, ops := registry.Allow{}, registry.Allow{Users: []string{"root", "1001"}, Groups: []string{"2002"}}
	tests := []struct {
		name             string
		ids              daemon.Caller
		required, served bool
		row              listed
		want             bool
	}{
		{"for everybody", daemon.Caller{UID: 1000}, false, true, listed{runs: true, allow: open}, true},
		{"for others, by a daemon", daemon.Caller{UID: 1000}, false, true, listed{runs: true, allow: ops}, false},
		{"for others, directly", daemon.Caller{UID: 1000}, false, false, listed{runs: true, allow: ops}, true},
		{"for others, the daemon is required and away", daemon.Caller{UID: 1000}, true, false, listed{runs: true, allow: ops}, false},
		{"a user by number", daemon.Caller{UID: 1001}, true, true, listed{runs: true, allow: ops}, true},
		{"a group by number", daemon.Caller{UID: 1000, GID: 2002}, true, true, listed{runs: true, allow: ops}, true},
		{"a further group", daemon.Caller{UID: 1000, Groups: []uint32{7, 2002}}, true, true, listed{runs: true, allow: ops}, true},
		{"root", daemon.Caller{}, false, true, listed{runs: true, allow: registry.Allow{Users: []string{"1001"}}}, true},
		{"shadowed", daemon.Caller{}, false, false, listed{runs: true, Shadowed: true}, false},
		{"nothing to run", daemon.Caller{}, false, false, listed{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := caller{ids: tt.ids, required: tt.required, served: func(key string) bool { return tt.served && key == "k" }}
			tt.row.key = "k"
			if got := c.runs(&tt.row); got != tt.want {
				t.Errorf("shown: %t, want %t", got, tt.want)
			}
		})
	}
}
