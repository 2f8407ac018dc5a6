package integration

import (
	"strings"
	"testing"
)

// TestRemovedDirectory: a working directory that is gone stops only what
// needs one.
func TestRemovedDirectory(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		c := h.act("", "probe")
		c.wrap = []string{"gone"}
		c.env = []string{"TMPDIR=" + h.path("home")}
		r := h.run(t, c)
		wantEnd(t, r, 0, "ok")
		if s := probed(t, r); s.Cwd != "/tmp" {
			t.Errorf("started in %q, want /tmp", s.Cwd)
		}
		here := h.policy(t, "here", "filesystem: {read: [\"{{cwd}}\"]}\n")
		c = h.act(here, "probe")
		c.wrap = []string{"gone"}
		c.env = []string{"TMPDIR=" + h.path("home")}
		r = h.run(t, c)
		wantEnd(t, r, 126, "refused")
	})
}

// TestWorkingDirectory: {{cwd}} is refused where it would show too much, else
// the run starts in it.
func TestWorkingDirectory(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		here := h.policy(t, "here", "filesystem: {read: [\"{{cwd}}\"]}\n")
		h.bundle(t, "tool", bin+"/act", "filesystem: {read: [\"{{cwd}}\"]}")
		for _, tt := range []struct {
			name, dir string
			status    int
		}{
			{"ordinary", h.work(), 0},
			{"root directory", "/", 126},
			{"top level", "/usr", 126},
			{"home itself", h.path("home"), 126},
			{"holds the state", h.base, 126},
			{"is the state", h.path("state"), 126},
			{"is the registry", h.path("registry"), 126},
		} {
			t.Run(tt.name, func(t *testing.T) {
				for _, c := range []call{
					h.act(here, "probe"),
					{verb: "run", flags: []string{"--registry", h.path("registry")}, words: []string{"tool", "probe"}},
				} {
					c.dir = tt.dir
					if tt.name == "is the registry" && c.verb == "" {
						continue // sbx exec has none
					}
					r := h.run(t, c)
					if tt.status == 0 {
						wantEnd(t, r, 0, "ok")
						if s := probed(t, r); s.Cwd != tt.dir {
							t.Errorf("started in %q, want %q", s.Cwd, tt.dir)
						}
						continue
					}
					wantEnd(t, r, tt.status, "refused")
					if !strings.Contains(r.stderr, "hint: ") {
						t.Errorf("no hint\n%s", r)
					}
				}
			})
		}
		c := h.act("", "probe")
		c.flags = append(c.flags, "--chdir", "/usr")
		r := h.run(t, c)
		wantEnd(t, r, 0, "ok")
		if s := probed(t, r); s.Cwd != "/usr" {
			t.Errorf("started in %q, want /usr", s.Cwd)
		}
	})
}
