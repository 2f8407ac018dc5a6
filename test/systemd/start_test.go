package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
// bundle of the registry has a check of some seconds.
func TestStart(t *testing.T) {
	fresh(t)
	const check = 3 * time.Second
	if err := bundle("slow", "", "checks: [{argv: [sleep, "+check.String()+"], expect: {exit: 0}}]"); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(registry + "/slow.yaml")
	begin := time.Now()
	ctl(t, "start", "--no-block", service)
	activating, proved := false, false
	until(t, callLimit, "the unit is active", func() bool {
		now := state(service)
		activating = activating || now == "activating"
		leaves, _ := filepath.Glob(unitPath + "/sbx/run-*")
		proved = proved || now == "activating" && len(leaves) > 0
		return now == "active"
	})
	if took := time.Since(begin); took < check || !activating {
		t.Errorf("active after %v, although a check takes %v; seen activating: %v", took, check, activating)
	}
	if !proved {
		t.Error("no group of the check below the unit's own")
	}
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
