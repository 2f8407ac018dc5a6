package integration

import (
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/policy"
)

// TestRequire: under each policy, whatever layer it requires, it runs exactly
// where the report of the same run without that demand has the layer as
// applied, and the report of the one that runs has it so, too.
func TestRequire(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		for _, tt := range []struct {
			name, text string
			not        string // never applied, by any caller on any host
		}{
			{"any-program", "filesystem: {exec: [view]}", "exec-once,idmap,cgroup.cpu,cgroup.io,audit"},
			{"once", "filesystem: {exec: []}", "idmap,audit"},
			{"any-memory", "memory_deny_write_execute: false", "mdwe,idmap"},
			{"nothing", "extends: []\nfilesystem: {view: minimal}\nsyscalls: {allow: [\"@system-service\"]}", "cgroup.memory,cgroup.pids,idmap"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				plain := h.run(t, h.act(h.policy(t, tt.name, tt.text+"\n"), "exit", "0"))
				wantEnd(t, plain, 0, "ok")
				for _, layer := range policy.Layers() {
					state, _ := plain.report.layer(layer)
					if never(tt.not, layer) && state == "applied" {
						t.Errorf("%s is applied\n%s", layer, plain)
					}
					r := h.run(t, h.act(h.policy(t, tt.name+"-"+strings.ReplaceAll(layer, ".", "-"), tt.text+"\nrequire: ["+layer+"]\n"), "exit", "0"))
					if state == "applied" {
						wantEnd(t, r, 0, "ok")
						if got, why := r.report.layer(layer); got != "applied" {
							t.Errorf("required %s is %q: %s", layer, got, why)
						}
						continue
					}
					if r.status != 125 || r.stdout != "" || !strings.Contains(r.stderr, layer) {
						t.Errorf("required %s, which is %q without the demand: want 125 and its name\n%s", layer, state, r)
					}
				}
			})
		}
	})
}

func never(list, layer string) bool { return strings.Contains(","+list+",", ","+layer+",") }

// TestUnixBesideTrees: no key shows a directory of the host to a run that may
// connect to socket files.
func TestUnixBesideTrees(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		dir := h.mkdir(t, "tree")
		h.write(t, "tree/file", "x", 0o644)
		for _, filesystem := range []string{"read: [" + dir + "]", "write: [" + dir + "]", "exec: [" + dir + "]", `read: ["{{cwd}}"]`} {
			for sockets, refused := range map[string]bool{"unix": true, "inet": false} {
				p := h.policy(t, "beside", "sockets: ["+sockets+"]\nfilesystem: {"+filesystem+"}\n")
				r := h.run(t, h.act(p, "exit", "0"))
				if got := r.status == 125 && strings.Contains(r.stderr, "sockets: unix beside the directory") && strings.Contains(r.stderr, "hint: "); got != refused {
					t.Errorf("%s, %s: refused %v, want %v\n%s", sockets, filesystem, got, refused, r)
				}
			}
		}
	})
}
