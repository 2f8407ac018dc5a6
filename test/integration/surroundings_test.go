package integration

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

func probed(t testing.TB, r result) surroundings {
	t.Helper()
	var s surroundings
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		t.Fatalf("%v\n%s", err, r)
	}
	return s
}

// TestSurroundings: what a workload sees of itself and of its caller.
func TestSurroundings(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		c := h.act("", "probe")
		c.env = []string{"SECRET_OF_CALLER=canary", "LC_ALL=C", "LD_LIBRARY_PATH=/canary", "TZ=UTC"}
		c.wrap = []string{"umask=000", "open=9", "open=77", "open=1500", "ignore=USR1", "ignore=PIPE", "block=TERM", "block=USR2"}
		r := h.run(t, c)
		wantEnd(t, r, 0, "ok")
		s := probed(t, r)
		if s.PID != 2 || s.PPID != 1 {
			t.Errorf("pid %d below %d, want 2 below 1", s.PID, s.PPID)
		}
		if s.SID != 2 && s.SID != 1 {
			t.Errorf("session %d, want one of its own", s.SID)
		}
		if s.UID != 1000 || s.GID != 1000 {
			t.Errorf("ids %d:%d, want 1000:1000", s.UID, s.GID)
		}
		if s.Umask != 0o022 {
			t.Errorf("umask %o, want 022", s.Umask)
		}
		if !slices.Equal(s.FDs, []string{"0", "1", "2"}) {
			t.Errorf("descriptors %q, want 0 1 2", s.FDs)
		}
		slices.Sort(s.Env)
		want := []string{"HOME=/tmp", "LANG=C.UTF-8", "LC_ALL=C", "LOGNAME=sbx", "PATH=/usr/local/bin:/usr/bin:/bin", "TZ=UTC", "USER=sbx"}
		if !slices.Equal(s.Env, want) {
			t.Errorf("environment %q, want %q", s.Env, want)
		}
		if strings.Contains(s.Init, "canary") || strings.Contains(s.Init, "policy") || strings.Contains(s.Init, "SBX_STATE") {
			t.Errorf("init shows %q", s.Init)
		}
		if s.Processes > 2 {
			t.Errorf("%d processes in /proc, want at most 2", s.Processes)
		}
		if host, _ := os.Hostname(); s.Host == host {
			t.Errorf("host name %q is the host's", s.Host)
		}
		for key, want := range map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0000000000000000", "CapPrm": "0000000000000000",
			"CapInh": "0000000000000000", "CapBnd": "0000000000000000", "CapAmb": "0000000000000000"} {
			if s.Status[key] != want {
				t.Errorf("%s is %q, want %q", key, s.Status[key], want)
			}
		}
	})
}

// TestSignalState: ignored and blocked signals are not inherited. The Go
// runtime of our own workload would hide it.
func TestSignalState(t *testing.T) {
	needPrograms(t, "/usr/bin/grep")
	each(t, func(t *testing.T, h *host) {
		r := h.run(t, call{
			words: []string{"/usr/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"},
			wrap:  []string{"ignore=USR1", "ignore=TERM", "ignore=HUP", "ignore=PIPE", "block=TERM", "block=INT", "block=USR2"},
		})
		wantEnd(t, r, 0, "ok")
		for _, want := range []string{"SigBlk:\t0000000000000000\n", "SigIgn:\t0000000000000000\n"} {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("want %q in %q", want, r.stdout)
			}
		}
	})
}

// TestEnvironment: only names that the policy passes can be given.
func TestEnvironment(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		p := h.policy(t, "env", "env: {pass: [COLOUR, \"APP_*\"], set: {FIXED: own}}\n")
		has := func(r result, want string) bool { return slices.Contains(probed(t, r).Env, want) }
		c := h.act(p, "probe")
		c.env, c.flags = []string{"COLOUR=red", "APP_X=a", "FIXED=other"}, append(c.flags, "--env", "APP_Y=from flag", "--env=COLOUR=blue")
		r := h.run(t, c)
		wantEnd(t, r, 0, "ok")
		for _, want := range []string{"COLOUR=blue", "APP_X=a", "APP_Y=from flag", "FIXED=own"} {
			if !has(r, want) {
				t.Errorf("no %q in %q", want, probed(t, r).Env)
			}
		}
		for _, env := range []string{"PATH=/x", "FIXED=x", "LD_PRELOAD=/x", "OTHER=x"} {
			c := h.act(p, "probe")
			c.flags = append(c.flags, "--env", env)
			r := h.run(t, c)
			wantEnd(t, r, 125, r.report.Outcome)
			if name, _, _ := strings.Cut(env, "="); !strings.Contains(r.stderr, name) {
				t.Errorf("%q is not named\n%s", name, r)
			}
		}
	})
}
