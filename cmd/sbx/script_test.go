package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScript runs testdata/script: one script for each verb or topic, with the
// executables as they are shipped, sbxd beside sbx.
//
// Besides the commands of testscript there is `status N COMMAND...`: the exit
// status must be N, and no process of sbx may be left afterwards.
func TestScript(t *testing.T) {
	// What a caller's umask takes away from the scripts' files would decide
	// whether a registry is believed.
	syscall.Umask(0o022)
	bin := t.TempDir()
	for name, cgo := range map[string]string{"sbx": "0", "sbxd": os.Getenv("CGO_ENABLED")} {
		if built := os.Getenv("SBX_TEST_BIN"); built != "" {
			program, err := os.ReadFile(filepath.Join(built, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(bin, name), program, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		cmd := exec.Command("go", "build", "-o", filepath.Join(bin, name), "../"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		if cgo == "" {
			cmd.Env = os.Environ()
		}
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, text)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			// The registry and the state are not below the directory that
			// commands work in, which sbx would not show.
			work := filepath.Join(e.WorkDir, "work")
			e.Cd = work
			for name, dir := range map[string]string{"HOME": "home", "SBX_STATE": "state", "SBX_RUNTIME": "run", "XDG_CONFIG_HOME": "config", "XDG_STATE_HOME": "state", "XDG_RUNTIME_DIR": "run"} {
				e.Setenv(name, filepath.Join(e.WorkDir, dir))
			}
			e.Setenv("PATH", bin+":/usr/bin:/bin")
			return errors.Join(os.MkdirAll(work, 0o755), os.MkdirAll(filepath.Join(e.WorkDir, "home"), 0o755))
		},
		Condition: func(cond string) (bool, error) {
			switch name, arg, _ := strings.Cut(cond, ":"); name {
			case "root":
				return os.Geteuid() == 0, nil
			case "program":
				_, err := os.Stat(arg)
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) < 2 {
					ts.Fatalf("usage: status N COMMAND [ARG...]")
				}
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				err = ts.Exec(args[1], args[2:]...)
				got := 0
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					got = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if got != want {
					ts.Fatalf("exit status %d, want %d", got, want)
				}
				ts.Check(nothingLeft(bin))
			},
			// daemon ARG... runs `sbx serve ARG...` until the script's end and
			// waits until it answers.
			"daemon": func(ts *testscript.TestScript, neg bool, args []string) {
				cmd := exec.Command(filepath.Join(bin, "sbx"), append([]string{"serve"}, args...)...)
				cmd.Dir = ts.Getenv("WORK")
				for _, name := range []string{"HOME", "PATH", "SBX_STATE", "SBX_RUNTIME", "XDG_CONFIG_HOME", "SBX_REGISTRY"} {
					cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
				}
				var said bytes.Buffer
				cmd.Stderr = &said
				ts.Check(cmd.Start())
				ended := make(chan error, 1)
				go func() { ended <- cmd.Wait() }()
				ts.Defer(func() {
					cmd.Process.Signal(syscall.SIGTERM)
					if err := <-ended; err != nil {
						ts.Logf("sbx serve: %v: %s", err, said.String())
					}
				})
				for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
					// The last of its sockets that it makes. One that is made is
					// not listened on yet.
					sockets, _ := filepath.Glob(ts.Getenv("SBX_RUNTIME") + "/*.admin")
					for _, path := range sockets {
						if c, err := net.Dial("unix", path); err == nil {
							c.Close()
							return
						}
					}
					if len(ended) > 0 || time.Now().After(end) {
						ts.Fatalf("sbx serve does not answer")
					}
				}
			},
		},
	})
}

// nothingLeft waits for every process that runs an executable of dir to end.
// Other scripts run at the same time with the same executables, so only what
// has no living sbx above it counts: its parent is PID 1 or a subreaper, not
// this test nor a process of it.
func nothingLeft(dir string) error {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := orphans(dir)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("processes are left: %v", left)
		}
	}
}

func orphans(dir string) []int {
	var out []int
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		exe, err := os.Readlink(link)
		if err != nil || filepath.Dir(exe) != dir {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
		if !below(pid, os.Getpid()) {
			out = append(out, pid)
		}
	}
	return out
}

// below tells whether a process descends from another.
func below(pid, ancestor int) bool {
	for pid > 1 {
		if pid == ancestor {
			return true
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return true // it has ended meanwhile
		}
		_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			return true
		}
		pid, _ = strconv.Atoi(fields[1])
	}
	return false
}
