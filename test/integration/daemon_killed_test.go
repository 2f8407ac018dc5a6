package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// stale are the sockets that nobody listens on.
func (h *host) stale(t testing.TB) (paths []string) {
	t.Helper()
	all, _ := filepath.Glob(h.path("run") + "/*")
	for _, path := range all {
		if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 && !listens(path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// TestDaemonKilled: with SIGKILL of the daemon while 50 runs are going nothing
// of them is left after a second, every client says so, and the next daemon
// serves over whatever the killed one left: sockets, and groups, which NoLeaks
// looks for. The audit log holds: it has the start of every run, and verifies
// before and after.
func TestDaemonKilled(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "act", bin+"/act", "")
		daemon := h.serve(t)
		clients := make([]*exec.Cmd, 50)
		for i := range clients {
			clients[i] = h.started(t, h.both(false, call{words: []string{"act", "deaf", "1m"}}))
		}
		daemon.Process.Kill()
		for _, c := range clients {
			if status, _ := gone(t, c, slow(5*time.Second)); status != 125 {
				t.Errorf("a client ends with %d, want 125", status)
			}
		}
		gone(t, daemon, patience())
		nothingLeft(t, time.Second)
		h.auditVerifies(t)
		// Without a daemon behind it the socket means nothing.
		r := h.run(t, h.both(false, call{words: []string{"act", "exit", "0"}}))
		if wantEnd(t, r, 0, "ok"); r.report.Via != "direct" {
			t.Errorf("via %q after the daemon's death", r.report.Via)
		}
		stale := h.stale(t)
		if len(stale) != 2 {
			t.Errorf("the killed daemon left the sockets %q, want two", stale)
		}
		h.serve(t)
		r = h.run(t, h.both(false, call{words: []string{"act", "exit", "0"}}))
		if wantEnd(t, r, 0, "ok"); r.report.Via != "daemon" {
			t.Errorf("via %q with the next daemon", r.report.Via)
		}
		if r := h.operator(t, "status"); r.status != 0 {
			t.Errorf("the admin socket\n%s", r)
		}
		opened, started, ended := 0, 0, 0
		for _, l := range h.audit(t) {
			switch l.Event {
			case "opened":
				opened++
			case "start":
				started++
			case "run":
				ended++
			}
		}
		if opened != 2 || started != 51 || ended != 1 {
			t.Errorf("the audit log has %d writers, %d starts and %d ends; want 2, 51, 1", opened, started, ended)
		}
	})
}
