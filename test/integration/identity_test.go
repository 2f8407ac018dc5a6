package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

// The ids of a policy in these tests: nobody has them here.
const (
	stranger      = 54321
	strangerGroup = 54322
	another       = 65432
)

// TestNamedUser: a registry of root says whose ids a run has on the host.
// Inside it is user 1000 as ever, what it writes belongs to the owner of the
// tree, and it is in no group but the one that was given.
func TestNamedUser(t *testing.T) {
	testenv.Root(t)
	needBinaries(t)
	testenv.NoLeaks(t)
	h := newHost(t, "root")
	own, other, shared, closed := h.mkdir(t, "own"), h.mkdir(t, "other"), h.mkdir(t, "shared"), h.mkdir(t, "closed")
	give(t, own, stranger)
	give(t, other, another)
	if err := os.Chmod(shared, 0o1777); err != nil {
		t.Fatal(err)
	}
	policy := fmt.Sprintf("user: %d:%d\nfilesystem: {write: [%s, %s, %s]}", stranger, strangerGroup, own, other, shared)
	h.bundle(t, "named", bin+"/act", policy)
	flags := []string{"--registry", h.path("registry")}
	for _, tt := range []struct {
		dir      string
		uid, gid uint32
	}{{own, stranger, strangerGroup}, {other, another, another}, {shared, stranger, strangerGroup}} {
		r := h.run(t, call{verb: "run", flags: flags, words: []string{"named", "write", tt.dir + "/made", "x"}})
		if r.status != 0 {
			t.Fatalf("write in %s: %s", tt.dir, r)
		}
		st, err := os.Stat(tt.dir + "/made")
		if err != nil {
			t.Fatal(err)
		}
		if s := st.Sys().(*syscall.Stat_t); s.Uid != tt.uid || s.Gid != tt.gid {
			t.Errorf("what was made in %s belongs to %d:%d, want %d:%d", tt.dir, s.Uid, s.Gid, tt.uid, tt.gid)
		}
	}
	r := h.run(t, call{verb: "run", flags: flags, words: []string{"named", "probe"}})
	var s surroundings
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		t.Fatalf("%v\n%s", err, r)
	}
	if s.UID != 1000 || s.GID != 1000 || s.Status["Groups"] != "" || s.Status["CapEff"] != "0000000000000000" {
		t.Errorf("inside: %d:%d, groups %q, effective capabilities %s", s.UID, s.GID, s.Status["Groups"], s.Status["CapEff"])
	}
	cmd := h.started(t, call{verb: "run", flags: flags, words: []string{"named", "sleep", "1m"}})
	status := initStatus(t, cmd.Process.Pid)
	for key, want := range map[string]int{"Uid": stranger, "Gid": strangerGroup} {
		id := strconv.Itoa(want)
		if got := strings.Fields(status[key]); !slices.Equal(got, []string{id, id, id, id}) {
			t.Errorf("%s on the host: %q, want %s", key, got, id)
		}
	}
	if status["Groups"] != "" {
		t.Errorf("groups on the host: %s", status["Groups"])
	}
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()

	h.bundle(t, "closed", bin+"/act", fmt.Sprintf("user: %d:%d\nfilesystem: {write: [%s]}", stranger, strangerGroup, closed))
	r = h.run(t, call{verb: "run", flags: flags, words: []string{"closed", "exit", "0"}})
	if r.status != 126 || !strings.Contains(r.stderr, "hint: give it to an ordinary user: chown -R") {
		t.Errorf("a writable tree of root's: %s", r)
	}
}

// initStatus is the status of init as the host sees it: the fields of
// proc_pid_status(5) by their names.
func initStatus(t *testing.T, sbx int) map[string]string {
	t.Helper()
	// Any of its threads may have cloned it.
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", sbx))
	if err != nil {
		t.Fatal(err)
	}
	var init []string
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		init = append(init, strings.Fields(string(text))...)
	}
	if len(init) != 1 {
		t.Fatalf("sbx has the children %q, want one", init)
	}
	text, err := os.ReadFile("/proc/" + init[0] + "/status")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		out[key] = strings.TrimSpace(value)
	}
	return out
}

// TestUserNeedsDaemon: an ordinary user's run has his own id or none.
func TestUserNeedsDaemon(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.bundle(t, "free", bin+"/act", "user: dynamic")
		r := h.run(t, call{verb: "run", flags: []string{"--registry", h.path("registry")}, words: []string{"free", "exit", "0"}})
		if h.uid == 0 {
			if r.status != 0 {
				t.Errorf("root: %s", r)
			}
			return
		}
		if r.status != 126 || !strings.Contains(r.stderr, "needs the daemon") || r.report.Outcome != "refused" {
			t.Errorf("user: %s", r)
		}
		h.bundle(t, "named", bin+"/act", fmt.Sprintf("user: %d:%d", stranger, stranger))
		r = h.run(t, call{verb: "run", flags: []string{"--registry", h.path("registry")}, words: []string{"named", "exit", "0"}})
		if r.status != 126 || !strings.Contains(r.stderr, "only a registry that belongs to root names a user") {
			t.Errorf("a user in a user's registry: %s", r)
		}
	})
}

// TestCapabilitiesInside: a policy's capabilities are held over the run's own
// user namespace, by the workload alone, and the bounding set has no others.
func TestCapabilitiesInside(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		const chown, kill = 1 << 0, 1 << 5
		policy := h.policy(t, "caps", "capabilities: [CAP_KILL, CAP_CHOWN]\n")
		r := h.run(t, h.act(policy, "probe"))
		var s surroundings
		if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
			t.Fatalf("%v\n%s", err, r)
		}
		want := fmt.Sprintf("%016x", chown|kill)
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
			if s.Status[set] != want {
				t.Errorf("%s is %s, want %s", set, s.Status[set], want)
			}
		}
		if s.UID != 1000 || s.Status["NoNewPrivs"] != "1" {
			t.Errorf("uid %d, NoNewPrivs %s", s.UID, s.Status["NoNewPrivs"])
		}
		// What the namespace does not own stays out of reach.
		if err := os.Chmod(h.write(t, "work/closed", "x", 0o600), 0o600); err != nil {
			t.Fatal(err)
		}
		secret := "/etc/shadow"
		if _, err := os.Stat(secret); err != nil { // a guest has none
			secret = h.path("secret")
			if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		wide := h.policy(t, "wide", "capabilities: [CAP_DAC_OVERRIDE, CAP_CHOWN, CAP_FOWNER]\nfilesystem: {read: ["+secret+"]}\n")
		if r := h.run(t, h.act(wide, "cat", secret)); r.status != 1 || !strings.Contains(r.stdout, "permission denied") {
			t.Errorf("root's file with CAP_DAC_OVERRIDE: %s", r)
		}
		cmd := h.started(t, h.act(policy, "sleep", "1m"))
		if caps := initStatus(t, cmd.Process.Pid)["CapPrm"]; caps != "0000000000000000" {
			t.Errorf("init holds the capabilities %s", caps)
		}
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
}
