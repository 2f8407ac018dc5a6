package filter

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// childEnv names what a child copy of the test binary does: a filter cannot
// be taken off again, and some verdicts end the process.
const childEnv = "SBX_FILTER_TEST_CHILD"

func TestMain(m *testing.M) {
	if what := os.Getenv(childEnv); what != "" {
		runtime.LockOSThread() // never unlocked: the filter stays
		if err := child(what); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ok")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// probeRules allows everything but a few calls that nothing in the Go runtime
// makes.
func probeRules() (Ruleset, error) {
	rs := Ruleset{Arch: runtime.GOARCH, Default: allow, Calls: map[uint32]Call{
		unix.SYS_GETSID: {Default: violation},
		unix.SYS_SYNC:   {Default: kill},
		unix.SYS_GETPGID: {Default: enosys, Rules: []Rule{
			{Tests: []Test{{Op: Equal, Value: 5}}, Verdict: eperm},
			{Tests: []Test{{Op: Equal, Value: 1<<40 | 6, Wide: true}}, Verdict: Verdict{Kind: Errno, Errno: 77}},
			{Tests: []Test{{Op: Equal, Value: 0}}, Verdict: allow},
		}},
	}}
	return rs, rs.validate()
}

func child(what string) error {
	rs, err := probeRules()
	if err != nil {
		return err
	}
	if strings.HasPrefix(what, "exec") {
		rs.ExecOnce, rs.ExecveVerdict, rs.ExecveatVerdict = true, eperm, eperm
	}
	if what == "exec-again" { // already under the filter
		_, _, errno := unix.RawSyscall(unix.SYS_EXECVE, 0, 0, 0)
		if errno != unix.EPERM {
			return fmt.Errorf("execve: got %v, want EPERM", errno)
		}
		_, _, errno = unix.RawSyscall6(unix.SYS_EXECVEAT, 0, 0, 0, 0, unix.AT_EMPTY_PATH, 0)
		if errno != unix.EPERM {
			return fmt.Errorf("execveat: got %v, want EPERM", errno)
		}
		return nil
	}
	if what == "far" {
		rs = farRules(runtime.GOARCH)
	}
	p, err := Compile(rs)
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	var path, argv, envp uint64
	self := -1
	if what == "exec-once" {
		if self, err = unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		if path, argv, envp, err = secretExec([]string{"test"}, []string{childEnv + "=exec-again"}); err != nil {
			return err
		}
		p.Insns = patch(p, [6]uint32{uint32(path), uint32(path >> 32), uint32(argv), uint32(argv >> 32), uint32(envp), uint32(envp >> 32)})
	}
	listener, errno := load(p.Insns, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}

	call := func(nr uintptr, arg uintptr) unix.Errno {
		_, _, errno := unix.RawSyscall(nr, arg, 0, 0)
		return errno
	}
	switch what {
	case "verdicts":
		for _, tt := range []struct {
			nr, arg uintptr
			want    unix.Errno
		}{
			{unix.SYS_GETPPID, 0, 0},
			{unix.SYS_GETPGID, 0, 0},
			{unix.SYS_GETPGID, 5, unix.EPERM},
			{unix.SYS_GETPGID, 1<<40 | 5, unix.EPERM},
			{unix.SYS_GETPGID, 6, unix.ENOSYS},
			{unix.SYS_GETPGID, 1<<40 | 6, 77},
		} {
			if got := call(tt.nr, tt.arg); got != tt.want {
				return fmt.Errorf("call %d(%#x): got %v, want %v", tt.nr, tt.arg, got, tt.want)
			}
		}
		return nil
	case "far":
		for nr, c := range rs.Calls {
			_, _, got := unix.RawSyscall6(uintptr(nr), 0, 1<<40|7, 0, 1<<20, 3000, 2500)
			want := rs.Evaluate(nr, [6]uint64{0, 1<<40 | 7, 0, 1 << 20, 3000, 2500})
			if want == allow {
				want = enosys // nobody has these numbers
			}
			if got != unix.Errno(want.Errno) {
				return fmt.Errorf("call %d %v: got %v, want %v", nr, c, got, want)
			}
		}
		return nil
	case "violation", "x32":
		nr := uintptr(unix.SYS_GETSID)
		if what == "x32" {
			nr |= x32Bit
		}
		type result struct {
			n   notification
			err error
		}
		seen := make(chan result)
		go func() { // on a thread without the filter
			n, err := answerOne(listener, unix.EXDEV)
			seen <- result{n, err}
		}()
		_, _, got := unix.Syscall(nr, 1234, 0, 0)
		r := <-seen
		switch {
		case r.err != nil:
			return r.err
		case got != unix.EXDEV:
			return fmt.Errorf("getsid: got %v, want the supervisor's EXDEV", got)
		case uintptr(r.n.nr) != nr || r.n.args[0] != 1234:
			return fmt.Errorf("notified of call %d(%d), want getsid(1234)", r.n.nr, r.n.args[0])
		}
		return nil
	case "kill":
		call(unix.SYS_SYNC, 0)
	case "exec-once":
		if _, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(self), uintptr(path), uintptr(argv), uintptr(argv), unix.AT_EMPTY_PATH, 0); errno != unix.EPERM {
			return fmt.Errorf("execveat with other envp: got %v, want EPERM", errno)
		}
		_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(self), uintptr(path), uintptr(argv), uintptr(envp), unix.AT_EMPTY_PATH, 0)
		return fmt.Errorf("execveat: got %v, want no return", errno)
	}
	return fmt.Errorf("%s: still alive", what)
}

// TestKernel loads programs and looks at what the kernel does. It needs no
// privilege: no_new_privs takes its place.
func TestKernel(t *testing.T) {
	tests := []struct {
		what   string
		signal unix.Signal
	}{
		{"verdicts", 0},
		{"far", 0},
		{"violation", 0},
		{"exec-once", 0},
		{"kill", unix.SIGSYS},
	}
	if runtime.GOARCH == "amd64" {
		tests = append(tests, struct {
			what   string
			signal unix.Signal
		}{"x32", 0})
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), childEnv+"="+tt.what)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil {
				t.Fatal(err)
			}
			status := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if tt.signal != 0 {
				if !status.Signaled() || status.Signal() != tt.signal {
					t.Errorf("got %v, want death by %v\n%s", cmd.ProcessState, tt.signal, out)
				}
				return
			}
			if err != nil || string(out) != "ok\n" {
				t.Errorf("got %v, want ok\n%s", err, out)
			}
		})
	}
}
