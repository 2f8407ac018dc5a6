package integration

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/testenv"
)

// TestBesideDaemon: while a daemon holds the state of a registry, who does not
// go by the daemon runs and sees the revision in force at once (SPEC 2), whether
// its plan is there, of another build, or gone.
func TestBesideDaemon(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.revision(t, "tool", "1.0.0", "", "")
		h.serve(t)
		wantEnd(t, h.run(t, h.both(false, call{words: []string{"tool", "exit", "0"}})), 0, "ok")
		paths := slices.DeleteFunc(h.plans(t), func(path string) bool { return filepath.Base(path) != "tool.plan" })
		if len(paths) != 1 {
			t.Fatalf("plans %q", paths)
		}
		text, err := os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		kept, err := plan.Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		foreign := *kept
		foreign.Build = "another"
		other, err := foreign.Encode()
		if err != nil {
			t.Fatal(err)
		}
		var mode os.FileMode = 0o644
		if st, err := os.Stat(paths[0]); err == nil {
			mode = st.Mode().Perm()
		}
		for _, tt := range []struct {
			name   string
			before func()
		}{
			{"its plan", func() {}},
			{"no plan", func() { os.Remove(paths[0]) }},
			{"a plan of another build", func() { h.write(t, strings.TrimPrefix(paths[0], h.base+"/"), string(other), mode) }},
		} {
			t.Run(tt.name, func(t *testing.T) {
				for _, verb := range []string{"run", "show"} {
					tt.before()
					var r result
					if verb == "run" {
						r = h.run(t, h.both(true, call{words: []string{"tool", "exit", "0"}}))
						if wantEnd(t, r, 0, "ok"); r.report.Version != "1.0.0" || r.report.Revision != kept.Revision || uint64(r.report.Generation) != kept.Generation || !r.report.Counted {
							t.Errorf("%s", r)
						}
					} else if r = h.operator(t, "show", "tool"); r.status != 0 || !strings.Contains(r.stdout, kept.Revision) {
						t.Errorf("%s", r)
					}
					// What would wait for the daemon waits five seconds at least.
					if r.took > slow(2*time.Second) {
						t.Errorf("%s took %v", verb, r.took)
					}
				}
			})
		}
		// A violation that is not settled yet holds here as well.
		os.Remove(paths[0])
		wantEnd(t, h.run(t, h.both(true, call{words: []string{"tool", "forbid"}})), 159, "violation")
		os.Remove(paths[0])
		wantEnd(t, h.run(t, h.both(true, call{words: []string{"tool", "exit", "0"}})), 126, "refused")
	})
}
