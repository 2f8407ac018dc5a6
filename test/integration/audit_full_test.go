package integration

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestAuditFull: on a disk without room no run starts, and an operator sees why:
// status as text and JSON, readiness, metric and events; the daemon counts as
// alive. With room again it goes on by itself, and the log says what it missed.
func TestAuditFull(t *testing.T) {
	testenv.Root(t)
	needBinaries(t)
	testenv.NoLeaks(t)
	h := newHost(t, "root")
	h.bundle(t, "act", bin+"/act", "")
	check(t, os.MkdirAll(h.path("state"), 0o755))
	check(t, unix.Mount("sbx-test", h.path("state"), "tmpfs", 0, "size=4M,mode=755"))
	t.Cleanup(func() { check(t, unix.Unmount(h.path("state"), 0)) })
	h.serve(t)
	act := h.both(false, call{words: []string{"act", "exit", "0"}})
	wantEnd(t, h.run(t, act), 0, "ok")
	web := func(path string) string { t.Helper(); return h.web(t, path) }

	file, err := os.Create(h.path("state/fill"))
	check(t, err)
	for chunk := 64 << 10; chunk > 0; chunk /= 2 {
		for err = nil; err == nil; {
			_, err = file.Write(make([]byte, chunk))
		}
	}
	check(t, file.Close())
	// The last page of the log may have room for a line or two.
	var r result
	for end := time.Now().Add(patience()); ; {
		if r = h.run(t, act); r.status == 125 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("runs start although nothing can be recorded\n%s", r)
		}
	}
	const why = "no space left on device"
	if wantEnd(t, r, 125, "refused"); !strings.Contains(r.stderr, why) {
		t.Errorf("%s", r)
	}
	if s := h.operator(t, "status"); s.status != 0 || !strings.Contains(s.stdout, ", not ready,") || !strings.Contains(s.stdout, why+": no run starts until its cause has gone") {
		t.Errorf("status\n%s", s)
	}
	var seen struct {
		Ready bool
		Audit struct {
			Error   string
			Lasting bool
		}
	}
	check(t, json.Unmarshal([]byte(h.operator(t, "status", "--json").stdout), &seen))
	if seen.Ready || !strings.Contains(seen.Audit.Error, why) || seen.Audit.Lasting {
		t.Errorf("status --json: %+v", seen)
	}
	for path, want := range map[string]string{"/-/ready": why, "/-/healthy": `"ok":true`, "/metrics": "\nsbx_audit_writable 0\n", "/v1/events?follow=false": "no run starts: "} {
		if got := web(path); !strings.Contains(got, want) {
			t.Errorf("%s has no %q: %s", path, want, got)
		}
	}

	check(t, os.Remove(h.path("state/fill")))
	for end := time.Now().Add(patience()); !strings.Contains(web("/-/ready"), `"ok":true`); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not ready again: %s", web("/-/ready"))
		}
	}
	wantEnd(t, h.run(t, act), 0, "ok")
	if got := web("/metrics"); !strings.Contains(got, "\nsbx_audit_writable 1\n") {
		t.Error("the metric says that nothing can be written")
	}
	if got := web("/v1/events?follow=false"); !strings.Contains(got, "it can be written again") {
		t.Errorf("events: %s", got)
	}
	missed := 0
	for _, l := range h.audit(t) {
		if l.Event == "missed" {
			missed++
		}
	}
	if missed == 0 { // there may be several: a short line can have room where a run's has none
		t.Error("no line says what was missed")
	}
}
