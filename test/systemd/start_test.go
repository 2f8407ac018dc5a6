package systemd

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestVerify: systemd finds nothing to say about the units.
func TestVerify(t *testing.T) {
	fresh(t)
	for _, unit := range []string{service, socket} {
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/"+unit).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", unit, err, out)
		}
	}
}

// TestStart: the unit is active when the daemon serves and not before: here a
// bundle of the registry has a check that goes on until it is let go. Its run has
// a group below the unit's own.
func TestStart(t *testing.T) {
	fresh(t)
	gate := t.TempDir() + "/gate" // a pipe that nobody writes
	if err := errors.Join(unix.Mkfifo(gate, 0o644), os.Chmod(filepath.Dir(gate), 0o755), os.Chmod(filepath.Dir(filepath.Dir(gate)), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := bundle("slow", "", "checks: [{argv: [read, "+gate+"], expect: {exit: 0}}]\npolicy: {filesystem: {read: ["+filepath.Dir(gate)+"]}}"); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(registry + "/slow.yaml")
	ctl(t, "start", "--no-block", service)
	until(t, callLimit, "the check goes on", func() bool {
		leaves, _ := filepath.Glob(unitPath + "/sbx/run-*")
		return len(leaves) > 0
	})
	wantState(t, service, "activating")
	open := make(chan error, 1)
	go func() { open <- os.WriteFile(gate, nil, 0) }() // waits for the check to read
	select {
	case err := <-open:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(slow(callLimit)):
		t.Fatal("the check reads nothing")
	}
	until(t, callLimit, "the unit is active", func() bool { return state(service) == "active" })
	if text := show(t, "StatusText"); !strings.HasPrefix(text, "serving "+registry+" on /run/sbx/") {
		t.Errorf("status %q", text)
	}
	for _, uid := range []uint32{0, ordinary} {
		r := sbx(t, uid, "hello")
		r.want(t, 0, "ok")
		if r.stdout != "hello\n" {
			t.Errorf("%s", r)
		}
	}
	sbx(t, ordinary, "slow", "hello").want(t, 0, "ok")
}

// TestActivation: a call starts the service and is answered, the first of a boot
// and each one after an end of the daemon or of the socket.
func TestActivation(t *testing.T) {
	fresh(t)
	for _, first := range []struct {
		name string
		do   func()
	}{
		{"nothing has run yet", func() {}},
		{"the service was stopped", func() { ctl(t, "stop", service) }},
		{"the socket was made anew", func() { ctl(t, "stop", service, socket); ctl(t, "start", socket) }},
		{"the runtime directory is empty", func() {
			ctl(t, "stop", service, socket)
			if err := os.RemoveAll("/run/sbx"); err != nil {
				t.Error(err)
			}
			ctl(t, "start", socket)
		}},
	} {
		t.Run(first.name, func(t *testing.T) {
			first.do()
			wantState(t, service, "inactive")
			wantState(t, socket, "active")
			sbx(t, ordinary, "hello").want(t, 0, "ok")
			wantState(t, service, "active")
		})
	}
}

// TestActivationByMany: those who call at once, when no daemon runs, are all
// answered, by one.
func TestActivationByMany(t *testing.T) {
	fresh(t)
	var calls []*call
	for i := range uint32(12) {
		calls = append(calls, start(t, i%2*ordinary, "hello"))
	}
	for _, c := range calls {
		c.end(t).want(t, 0, "ok")
	}
	wantState(t, service, "active")
	if n := metric(t, "sbx_runs_total"); n != 12 {
		t.Errorf("the daemon has counted %v runs, want 12", n)
	}
}

// TestRequired: dist/sbx.yaml has an ordinary user's runs go through the daemon;
// root may run by himself.
func TestRequired(t *testing.T) {
	fresh(t)
	r := sbx(t, ordinary, "--direct", "hello")
	if r.status != 126 || r.stdout != "" || !strings.Contains(r.stderr, "daemon") {
		t.Errorf("want 126 and why\n%s", r)
	}
	wantState(t, service, "inactive")
	if r := sbx(t, 0, "--direct", "hello"); r.status != 0 || r.report.Via != "direct" {
		t.Errorf("%s", r)
	}
	// Nor where nobody can be asked.
	ctl(t, "stop", socket)
	if r := sbx(t, ordinary, "hello"); r.status != 126 || r.stdout != "" {
		t.Errorf("without a socket: want 126\n%s", r)
	}
}
