package hostile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// proc is one process of a run as the host sees it.
type proc struct {
	pid    int
	status map[string]string
}

func readProc(pid int) (proc, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	p := proc{pid: pid, status: map[string]string{}}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		p.status[name] = strings.TrimSpace(value)
	}
	return p, err
}

// file is the text of one file of the process's directory.
func (p proc) file(name string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.pid, name))
	return string(text)
}

// TestFromOutside holds a run and reads what the host's /proc says of the
// program and of the init above it: lines 1, 2, 5, 21, 22, 24.
func TestFromOutside(t *testing.T) {
	each(t, func(t *testing.T, s *suite) {
		// What the kernel's memory killer thinks of the caller is not the
		// run's. (Less than 0 takes a capability that a container's root lacks.)
		const score = "/proc/self/oom_score_adj"
		was, err := os.ReadFile(score)
		if err == nil {
			err = os.WriteFile(score, []byte("500"), 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer os.WriteFile(score, was, 0)
		cmd, _, _ := s.start(t, "hold", dirtyOptions(t, s))
		defer func() { cmd.Process.Kill(); cmd.Wait(); s.none(t, "after"); s.sweep(t) }()
		pids := s.running(s.self)
		if len(pids) != 1 {
			t.Fatalf("%d processes run the program, want 1", len(pids))
		}
		work, err := readProc(pids[0])
		if err != nil {
			t.Fatal(err)
		}
		var parent int
		fmt.Sscan(work.status["PPid"], &parent)
		init, err := readProc(parent)
		if err != nil {
			t.Fatal(err)
		}
		check := func(line int, class byte, name string, ok bool, what string) {
			t.Run(fmt.Sprintf("%02d/%s", line, name), func(t *testing.T) {
				verdict := held
				if !ok {
					verdict = through
					t.Error(what)
				}
				record(s.name, act{line: line, class: class, name: "outside-" + name}, verdict, what)
			})
		}
		for _, p := range []struct {
			name string
			proc
		}{{"program", work}, {"init", init}} {
			if s.uid == 0 {
				for _, field := range []string{"Uid", "Gid"} {
					ids := strings.Fields(p.status[field])
					zero := false
					for _, id := range ids {
						zero = zero || id == "0"
					}
					check(1, 'E', p.name+"-"+strings.ToLower(field), len(ids) == 4 && !zero, p.name+" "+field+" "+p.status[field])
				}
				check(2, 'S', p.name+"-groups", p.status["Groups"] == "", p.name+" groups "+p.status["Groups"])
			}
			check(2, 'S', p.name+"-no-new-privs", p.status["NoNewPrivs"] == "1", p.name+" NoNewPrivs "+p.status["NoNewPrivs"])
			for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
				check(2, 'S', p.name+"-"+set, strings.Trim(p.status[set], "0") == "", p.name+" "+set+" "+p.status[set])
			}
			check(21, 'H', p.name+"-environ", !strings.Contains(p.file("environ"), "canary-of-the-caller"), p.name+" shows the caller's environment")
		}
		// (What root wrote a user does not get below.)
		check(29, 'R', "memory-killer", s.uid != 0 || strings.TrimSpace(work.file("oom_score_adj")) == "0", "oom_score_adj "+work.file("oom_score_adj"))
		core, _ := lastLine(work.file("limits"), "Max core file size")
		check(22, 'H', "core", strings.HasPrefix(strings.Join(strings.Fields(core), " "), "0 0 "), "core limit "+core)
		check(2, 'S', "seccomp", work.status["Seccomp"] == "2", "Seccomp "+work.status["Seccomp"])
		check(21, 'H', "init-cmdline", !strings.Contains(init.file("cmdline"), "policy"), fmt.Sprintf("init's command line %q", init.file("cmdline")))
		for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"} {
			host, _ := os.Readlink("/proc/self/ns/" + ns)
			inside, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", work.pid, ns))
			check(5, 'S', "namespace-"+ns, err == nil && inside != host, fmt.Sprintf("%s is the host's (%v)", inside, err))
		}
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", work.pid))
		check(20, 'E', "program-descriptors", len(links) == 3, fmt.Sprintf("%d descriptors", len(links)))
		for _, link := range []string{"root", "cwd"} {
			target, err := os.Stat(fmt.Sprintf("/proc/%d/%s/", init.pid, link))
			host, _ := os.Stat("/")
			// Without privilege the way itself is closed: init is undumpable.
			closed := os.Geteuid() != 0 && os.IsPermission(err)
			check(24, 'E', "init-"+link, closed || target != nil && !os.SameFile(target, host), "init's "+link+" is the host's root")
		}
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", init.pid))
		for _, fd := range fds {
			for _, way := range []string{"/../out/secret", "/../../out/secret", s.out + "/secret", "/secret"} {
				_, err := os.Stat(fd + way)
				check(24, 'E', "init-fd-"+filepath.Base(fd), err != nil, fmt.Sprintf("%s%s is there", fd, way))
			}
		}
	})
}

func dirtyOptions(t *testing.T, s *suite) options {
	if os.Geteuid() != 0 {
		return options{}
	}
	return inherit(t, s)
}
