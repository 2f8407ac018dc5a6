package engine

import (
	"errors"
	"os"
	"os/user"
	"strconv"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/plan"
)

// TestIdentity: who may say whose ids a run has, and what becomes of it.
func TestIdentity(t *testing.T) {
	// Whoever runs this test has a name, and is not root where that matters.
	somebody, err := user.Lookup("daemon")
	if err != nil {
		t.Skip(err)
	}
	if _, err := os.Stat(userFile); err != nil {
		t.Skip(err)
	}
	for _, tt := range []struct {
		policy  string
		foreign bool // the registry is not root's
		want    plan.User
		stamps  string
		err     string
	}{
		{policy: "{}", want: plan.User{Name: "caller"}},
		{policy: "user: caller", foreign: true, want: plan.User{Name: "caller"}},
		{policy: "user: dynamic", foreign: true, want: plan.User{Name: plan.UserDynamic}},
		{policy: "user: 4000000000:7", want: plan.User{Name: "4000000000:7", UID: 4000000000, GID: 7}},
		{policy: "user: daemon", want: plan.User{Name: "daemon", UID: idNumber(t, somebody.Uid), GID: idNumber(t, somebody.Gid)}, stamps: userFile},
		{policy: "user: daemon", foreign: true, err: "1:7: user: daemon: only a registry that belongs to root names a user"},
		{policy: "user: 7:7", foreign: true, err: "1:7: user: 7:7: only a registry that belongs to root names a user"},
		{policy: "user: no-such-user-here", err: "1:7: user: no-such-user-here: this host has no such user"},
	} {
		var stamps []string
		r := Request{Policy: resolved(t, tt.policy), NamesUsers: !tt.foreign}
		got, err := identity(&r, func(p string) error { stamps = append(stamps, p); return nil })
		if tt.err != "" {
			var e *Error
			if !errors.As(err, &e) || e.Error() != tt.err || e.Status != StatusRefused || e.Hint == "" {
				t.Errorf("%s: %v, want %d %q with a hint", tt.policy, err, StatusRefused, tt.err)
			}
			continue
		}
		if err != nil || got != tt.want || strings.Join(stamps, " ") != tt.stamps {
			t.Errorf("%s: %+v, stamps %q, %v; want %+v, %q", tt.policy, got, stamps, err, tt.want, tt.stamps)
		}
	}
}

// TestNeverRoot: a name of uid 0 is refused whatever it is called.
func TestNeverRoot(t *testing.T) {
	r := Request{Policy: resolved(t, "user: caller"), NamesUsers: true}
	for _, name := range []string{"root", "0:5"} {
		r.Policy.User = name // the parser refuses both
		if u, err := identity(&r, func(string) error { return nil }); err == nil || !strings.Contains(err.Error(), "id 0 is never given") {
			t.Errorf("user %s: %+v, %v; want a refusal", name, u, err)
		}
	}
}

// TestCapabilities: the bits are the kernel's numbers.
func TestCapabilities(t *testing.T) {
	p, err := Compile(merged(t, `capabilities: [CAP_NET_BIND_SERVICE, CAP_CHOWN, CAP_CHECKPOINT_RESTORE]`))
	if err != nil {
		t.Fatal(err)
	}
	if want := uint64(1 | 1<<10 | 1<<40); p.Capabilities != want {
		t.Errorf("capabilities %#x, want %#x", p.Capabilities, want)
	}
	if text := Describe(p); !strings.Contains(text, "CAP_CHOWN CAP_NET_BIND_SERVICE CAP_CHECKPOINT_RESTORE") {
		t.Errorf("Describe names none of them:\n%s", text)
	}
}

func idNumber(t *testing.T, s string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}
