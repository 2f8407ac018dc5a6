package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestNoUserNamespaces: where user namespaces are disabled root still runs what
// writes no tree of others. A write tree, which would have to be mapped, and
// what else needs one is refused with the feature and its mend.
func TestNoUserNamespaces(t *testing.T) {
	testenv.Root(t)
	if !testenv.Guest() {
		t.Skip("it writes a setting of the whole machine: in guests only")
	}
	testenv.NoLeaks(t)
	h := newHost(t, "root")
	tree := h.mkdir(t, "tree")
	if err := os.Chown(tree, ordinary, ordinary); err != nil {
		t.Fatal(err)
	}
	policies := map[string]string{
		"read":    h.policy(t, "read", "filesystem: {read: ["+tree+"]}\n"),
		"write":   h.policy(t, "write", "filesystem: {write: ["+tree+"]}\n"),
		"require": h.policy(t, "require", "require: [userns]\n"),
		"idmap":   h.policy(t, "idmap", "require: [idmap]\n"),
		"caps":    h.policy(t, "caps", "capabilities: [CAP_CHOWN]\n"),
	}
	// As long as there are any, the tree can be written: the refusals below
	// are for the setting.
	r := h.run(t, h.act(policies["write"], "write", tree+"/file", "text"))
	wantEnd(t, r, 0, "ok")
	if state, why := r.report.layer("userns"); state != "applied" {
		t.Errorf("layer userns is %q: %s", state, why)
	}

	const setting = "/proc/sys/user/max_user_namespaces"
	was, err := os.ReadFile(setting)
	if err == nil {
		err = os.WriteFile(setting, []byte("0"), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(setting, was, 0); err != nil {
			t.Error(err)
		}
	})

	r = h.run(t, h.act(policies["read"], "probe"))
	wantEnd(t, r, 0, "ok")
	if state, why := r.report.layer("userns"); state != "degraded" || !strings.Contains(why, "disabled") {
		t.Errorf("layer userns is %q: %s", state, why)
	}
	for _, layer := range []string{"pidns", "mountns", "netns", "ipcns", "utsns", "identity", "capabilities", "no_new_privs", "seccomp"} {
		if state, why := r.report.layer(layer); state != "applied" {
			t.Errorf("layer %s is %q: %s", layer, state, why)
		}
	}
	if strings.Contains(r.stdout, `"UID":0,`) || !strings.Contains(r.stdout, `"CapEff":"0000000000000000"`) || !strings.Contains(r.stdout, `"CapBnd":"0000000000000000"`) {
		t.Errorf("the run is root, or has capabilities\n%s", r)
	}
	r = h.run(t, h.act(policies["read"], "write", tree+"/file", "other"))
	wantEnd(t, r, 1, "exit")
	for _, tt := range []struct{ policy, outcome, names string }{
		{"write", "refused", "feature idmap is missing"}, // its plan was kept: the launch refuses
		{"caps", "setup-error", "needs userns"},
		{"require", "setup-error", "userns needs userns"},
		{"idmap", "setup-error", "idmap needs idmap"},
	} {
		t.Run(tt.policy, func(t *testing.T) {
			r := h.run(t, h.act(policies[tt.policy], "write", tree+"/file", "other"))
			wantEnd(t, r, 125, tt.outcome)
			_, hint, hinted := strings.Cut(r.stderr, "\nhint: ")
			if !strings.Contains(r.stderr, tt.names) || !hinted || !strings.Contains(hint, "max_user_namespaces") {
				t.Errorf("want %q, and the setting in a hint\n%s", tt.names, r)
			}
		})
	}
	if text, err := os.ReadFile(tree + "/file"); err != nil || string(text) != "text" {
		t.Errorf("the tree was written: %q, %v", text, err)
	}
	// An ordinary user makes no sandbox without: with words.
	u := newHost(t, "user")
	r = u.run(t, u.act("", "exit", "0"))
	wantEnd(t, r, 125, "setup-error")
	if !strings.Contains(r.stderr, "feature userns") {
		t.Errorf("the feature is not named\n%s", r)
	}
	nothingLeft(t, 0)
}
