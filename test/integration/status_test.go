package integration

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestStatus: the exit status and the outcome of every way to end (SPEC 2).
func TestStatus(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		many := h.policy(t, "many", "filesystem: {read: [BIN], exec: [ACT]}\nlimits: {timeout: 1s}\n")
		text := h.write(t, "work/text", "no program\n", 0o644)
		tests := []struct {
			name    string
			call    call
			status  int
			outcome string
			signal  int
		}{
			{"ok", h.act("", "exit", "0"), 0, "ok", 0},
			{"exit", h.act("", "exit", "42"), 42, "exit", 0},
			{"exit with a number of sbx", h.act("", "exit", "159"), 159, "exit", 0},
			{"exit 255", h.act("", "exit", "255"), 255, "exit", 0},
			{"killed by TERM", h.act("", "die", "TERM"), 143, "signal", 15},
			{"killed by KILL", h.act("", "die", "KILL"), 137, "signal", 9},
			{"killed by HUP", h.act("", "die", "HUP"), 129, "signal", 1},
			{"timeout of the policy", h.act(many, "deaf", "1m"), 124, "timeout", 0},
			{"timeout of the caller", call{flags: []string{"--timeout", "300ms"}, words: []string{bin + "/act", "deaf", "1m"}}, 124, "timeout", 0},
			{"timeout of a spinning one", call{flags: []string{"--timeout=300ms"}, words: []string{bin + "/act", "spin", "1m"}}, 124, "timeout", 0},
			{"violation", h.act("", "forbid"), 159, "violation", 0},
			{"not executable", call{words: []string{text}}, 126, "refused", 0},
			{"a directory", call{words: []string{h.work()}}, 126, "refused", 0},
			{"no such program", call{words: []string{"/nonesuch/program"}}, 127, "refused", 0},
			{"no such name", call{words: []string{"nonesuch-program"}}, 127, "refused", 0},
			{"no such command", call{verb: "run", words: []string{"nonesuch"}}, 127, "refused", 0},
			{"unknown limit", call{flags: []string{"--limit", "colour_max=1"}, words: []string{bin + "/act", "exit", "0"}}, 125, "setup-error", 0},
			{"wider limit", call{flags: []string{"--limit", "pids_max=100000"}, words: []string{bin + "/act", "exit", "0"}}, 125, "setup-error", 0},
			{"wider timeout", call{flags: []string{"--timeout", "1000h"}, words: []string{bin + "/act", "exit", "0"}}, 125, "setup-error", 0},
			{"no such policy", h.act("nonesuch", "exit", "0"), 125, "setup-error", 0},
			{"chdir outside of the view", call{flags: []string{"--chdir", "/nonesuch"}, words: []string{bin + "/act", "exit", "0"}}, 125, "setup-error", 0},
			{"another version expected", call{verb: "run", flags: []string{"--expect", "9.9.9"}, words: []string{"jq", "-n", "1"}}, 126, "refused", 0},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				if tt.call.verb == "run" && tt.call.flags != nil {
					needPrograms(t, "/usr/bin/jq")
				}
				r := h.run(t, tt.call)
				wantEnd(t, r, tt.status, tt.outcome)
				if tt.signal != 0 && r.report.Signal != tt.signal {
					t.Errorf("signal %d, want %d", r.report.Signal, tt.signal)
				}
				own := tt.outcome == "ok" || tt.outcome == "exit" || tt.outcome == "signal"
				if said := strings.HasPrefix(r.stderr, "sbx: "); said == own {
					t.Errorf("sbx spoke: %v, want %v\n%s", said, !own, r)
				}
				if launched := tt.outcome != "refused" && tt.outcome != "setup-error"; launched && r.report.Child == 0 {
					t.Errorf("no child-pid line\n%s", r)
				}
				nothingLeft(t, time.Second)
			})
		}
	})
}

// TestUsage: what sbx does not understand is 125, before anything happens.
func TestUsage(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		for _, tt := range []struct {
			name string
			args []string
			want string
		}{
			{"unknown flag", []string{"run", "--bogus", "jq"}, `unknown flag "--bogus"`},
			{"no name", []string{"run"}, "NAME"},
			{"no program", []string{"exec"}, "CMD"},
			{"flag without value", []string{"run", "--timeout"}, "--timeout"},
			{"bad duration", []string{"run", "--timeout", "soon", "jq"}, "positive duration"},
			{"zero duration", []string{"run", "--timeout", "0s", "jq"}, "positive duration"},
			{"bad limit", []string{"run", "--limit", "memory_max", "jq"}, "KEY=VALUE"},
			{"relative chdir", []string{"run", "--chdir", "x", "jq"}, "absolute"},
			{"status-fd that is not open", []string{"run", "--status-fd", "77", "jq"}, "--status-fd 77"},
			{"result in a missing directory", []string{"run", "--result", "/nonesuch/file", "jq"}, "/nonesuch/file"},
			{"tty", []string{"run", "-t", "jq"}, "not built yet"},
			{"unknown verb", []string{"jump"}, "no such verb"},
			{"verb of later", []string{"learn"}, "not built yet"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				r := h.run(t, call{verb: tt.args[0], plain: true, words: tt.args[1:]})
				if r.status != 125 || !strings.Contains(r.stderr, tt.want) || !strings.HasPrefix(r.stderr, "sbx: ") || r.stdout != "" {
					t.Errorf("want 125 and %q\n%s", tt.want, r)
				}
			})
		}
	})
}

// TestStatusDescriptor: --status-fd carries the same stream as --result.
func TestStatusDescriptor(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		c := h.act("", "exit", "3")
		c.flags, c.files = append(c.flags, "--status-fd", "3"), []*os.File{write}
		r := h.run(t, c)
		write.Close()
		text := make([]byte, 64<<10)
		n, _ := read.Read(text)
		got, err := parseReport(text[:n])
		if err != nil {
			t.Fatal(err)
		}
		wantEnd(t, r, 3, "exit")
		if got.Child == 0 || got.Child != r.report.Child || got.Run != r.report.Run || got.ExitCode != 3 {
			t.Errorf("the streams differ: %+v and %+v", got, r.report)
		}
	})
}

// TestReportOfCommand: a registered command is named in its report.
func TestReportOfCommand(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.bundle(t, "db.backup", bin+"/act", "")
		for _, words := range [][]string{{"db.backup", "exit", "5"}, {"db", "backup", "exit", "5"}} {
			r := h.run(t, call{verb: "run", flags: []string{"--registry", h.path("registry")}, words: words})
			wantEnd(t, r, 5, "exit")
			if p := r.report; p.Command != "db.backup" || p.Version != "1.0.0" || p.Generation != 1 || p.Via != "direct" || !p.Counted || p.Run == "" || len(p.Revision) < 64 {
				t.Errorf("report %+v", p)
			}
			if r.report.Usage.Wall <= 0 || r.report.Usage.MaxRSS <= 0 {
				t.Errorf("usage %+v", r.report.Usage)
			}
		}
		// A group prints its children.
		r := h.run(t, call{verb: "run", flags: []string{"--registry", h.path("registry")}, words: []string{"db", "nonesuch"}})
		wantEnd(t, r, 127, "refused")
		if !strings.Contains(r.stderr, "db.backup") {
			t.Errorf("the children are not named\n%s", r)
		}
	})
}

// TestOwnership: a registry that somebody else could change is not believed,
// and the message names the component.
func TestOwnership(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.bundle(t, "tool", bin+"/act", "")
		h.mkdir(t, "registry/group")
		h.bundle(t, "group.tool", bin+"/act", "")
		restore := func(path string, mode os.FileMode) {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct{ name, path, command string }{
			{"registry", "registry", "tool"},
			{"manifest", "registry/tool.yaml", "tool"},
			{"group", "registry/group", "group.tool"},
			{"above the registry", ".", "tool"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				path := h.path(tt.path)
				st, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				good := h.run(t, call{verb: "run", flags: []string{"--registry", h.path("registry")}, words: []string{tt.command, "exit", "0"}})
				wantEnd(t, good, 0, "ok")
				restore(path, st.Mode().Perm()|0o020)
				defer restore(path, st.Mode().Perm())
				r := h.run(t, call{verb: "run", flags: []string{"--registry", h.path("registry")}, words: []string{tt.command, "exit", "0"}})
				wantEnd(t, r, 126, "refused")
				if !strings.Contains(r.stderr, path) {
					t.Errorf("the component %s is not named\n%s", path, r)
				}
			})
		}
	})
}
