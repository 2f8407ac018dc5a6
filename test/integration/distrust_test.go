package integration

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestDistrusted: a bundle in force that others may write from now on refuses by
// the daemon, and one event and one audit line say so with the verdict 412; mended
// it runs again.
func TestDistrusted(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		bundle := h.bundle(t, "act", bin+"/act", "")
		h.serve(t)
		act := h.both(false, call{words: []string{"act", "exit", "0"}})
		wantEnd(t, h.run(t, act), 0, "ok")
		events := func() int {
			return strings.Count(h.web(t, "/v1/events?follow=false"), `"kind":"distrusted"`)
		}
		check(t, os.Chmod(bundle, 0o666))
		for end := time.Now().Add(patience()); events() == 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("no event: %s", h.web(t, "/v1/events?follow=false"))
			}
		}
		if r := h.run(t, act); r.status != 126 || !strings.Contains(r.stderr, bundle) {
			t.Errorf("%s", r)
		}
		if r := h.operator(t, "reload", "--wait"); r.status != 1 || !strings.Contains(r.stderr, bundle) {
			t.Errorf("%s", r)
		}
		if n := events(); n != 1 || !strings.Contains(h.web(t, "/v1/events?follow=false"), `"verdict":412`) {
			t.Errorf("%d events: %s", n, h.web(t, "/v1/events?follow=false"))
		}
		check(t, os.Chmod(bundle, 0o644))
		for end := time.Now().Add(patience()); ; time.Sleep(10 * time.Millisecond) {
			r := h.run(t, act)
			if r.status == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("mended\n%s", r)
			}
		}
		lines := 0
		for _, l := range h.audit(t) {
			if l.Outcome == "distrusted" && l.Verdict == 412 && l.Command == "act" && l.Version == "1.0.0" && strings.Contains(l.Reason, bundle) {
				lines++
			}
		}
		if lines != 1 {
			t.Errorf("%d audit lines", lines)
		}
	})
}
