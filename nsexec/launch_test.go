package nsexec

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// TestMain lets the test binary be the workload: what it does inside is
// chosen by its first argument.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[0] == "victim" {
		os.Exit(victim(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// refuse is a filter that hands getcpu-like call nr to the listener and
// allows everything else.
func refuse(nr uint32) []byte {
	var b []byte
	for _, f := range []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: nr},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	} {
		b = binary.NativeEndian.AppendUint16(b, f.Code)
		b = append(b, f.Jt, f.Jf)
		b = binary.NativeEndian.AppendUint32(b, f.K)
	}
	return b
}

// testPlan shows /usr and the test binary, which is static.
func testPlan(t *testing.T) *plan.Plan {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(exe, &st); err != nil {
		t.Fatal(err)
	}
	id := plan.Stamp{Path: exe, Dev: st.Dev, Ino: st.Ino, Size: st.Size, MtimeNs: st.Mtim.Nano(), CtimeNs: st.Ctim.Nano()}
	return &plan.Plan{
		Exec:     plan.Exec{Path: exe, Inside: "/sbx/bin/victim", Identity: id},
		Hostname: "sandbox",
		Filter:   plan.Filter{Insns: refuse(unix.SYS_PTRACE)},
		Rlimits:  []plan.Rlimit{{Resource: unix.RLIMIT_CORE}},
		View: []plan.Step{
			{Kind: plan.Tree, Path: "/usr", Source: "/usr"},
			{Kind: plan.Dir, Path: "/sbx", Mode: 0o755},
			{Kind: plan.Dir, Path: "/sbx/bin", Mode: 0o755},
			{Kind: plan.Tree, Flags: plan.Executable | plan.OverFile, Path: "/sbx/bin/victim", Source: exe},
			{Kind: plan.Proc, Flags: plan.Subset, Path: "/proc"},
			{Kind: plan.Tmpfs, Path: "/tmp", Mode: 0o1777, Size: 1 << 20, Files: 100},
			{Kind: plan.Seal, Path: "/"},
		},
		DenyWriteExecute: true,
	}
}

// identity is how this test process may launch.
func identity() Identity {
	if os.Getuid() == 0 {
		return Identity{Mode: LateUserNS}
	}
	return Identity{Mode: OwnUser, HostUID: uint32(os.Getuid()), HostGID: uint32(os.Getgid())}
}

// run launches victim args and returns the last record, init's status and
// what the workload wrote.
func run(t *testing.T, p *plan.Plan, args ...string) (Record, *Child, unix.WaitStatus, string) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	// The child inherits descriptors 0, 1 and 2 as they are.
	saved, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup2(int(out.Fd()), 1); err != nil {
		t.Fatal(err)
	}
	c, err := Start(Config{Plan: p, Argv: append([]string{"victim"}, args...), Env: []string{"HOME=/tmp"},
		Chdir: "/tmp", CgroupFD: -1, Identity: identity(), TimeOffset: 1})
	unix.Dup2(saved, 1)
	unix.Close(saved)
	if err != nil {
		t.Fatal(err)
	}
	var last Record
	for {
		r, err := c.Next()
		if err != nil {
			break
		}
		last = r
		if r.Kind == NeedMaps {
			id := 1879048192 + 32*uint32(c.PID)
			if err := c.WriteMaps(HostIDs{UID: id, GID: id, Nobody: id + 1}); err != nil {
				t.Fatal(err)
			}
			if err := c.Proceed(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if r.Kind == Violation {
			c.Signal(unix.SIGKILL)
		}
		break
	}
	ws, _, err := c.Wait()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(out.Name())
	return last, c, ws, string(b)
}

// lacking is what this kernel is known not to have: PR_SET_MDWE before 6.3.
func lacking(t *testing.T) uint64 {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	if r := unix.ByteSliceToString(u.Release[:]); strings.HasPrefix(r, "6.1.") {
		return DegradedMDWE
	}
	return 0
}

func TestExitStatus(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want unix.WaitStatus
	}{
		{"zero", []string{"exit", "0"}, 0},
		{"forty-two", []string{"exit", "42"}, 42 << 8},
		{"killed by its own SIGTERM", []string{"kill", "15"}, 15},
		{"killed by its own SIGKILL", []string{"kill", "9"}, 9},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, c, _, _ := run(t, testPlan(t), tc.args...)
			if r.Kind != Exited || unix.WaitStatus(r.Status) != tc.want {
				t.Errorf("got %+v (step %s, %v), want Exited with %#x", r, c.StepName(r.Step), syscall.Errno(r.Errno), tc.want)
			}
			if want := lacking(t); r.Degraded != want {
				t.Errorf("degraded %#x, want %#x", r.Degraded, want)
			}
		})
	}
}

func TestViolationIsNamed(t *testing.T) {
	for _, how := range []string{"ptrace", "child", "thread"} {
		t.Run(how, func(t *testing.T) {
			r, _, _, _ := run(t, testPlan(t), how)
			if r.Kind != Violation || r.Known != 1 || r.NR != unix.SYS_PTRACE || r.Args[0] != 0x1234 {
				t.Errorf("got %+v, want a violation of ptrace(0x1234)", r)
			}
		})
	}
}

func TestFailedStepIsNamed(t *testing.T) {
	p := testPlan(t)
	p.View[0].Source = "/nowhere"
	r, c, ws, _ := run(t, p, "exit", "0")
	if r.Kind != Failed || syscall.Errno(r.Errno) != unix.ENOENT || c.StepName(r.Step) != `open "/nowhere"` {
		t.Errorf("got %+v step %q, want Failed with ENOENT at open /nowhere", r, c.StepName(r.Step))
	}
	if ws.ExitStatus() != statusFailed {
		t.Errorf("init's status %v", ws)
	}
}

func TestChangedProgramIsRefused(t *testing.T) {
	p := testPlan(t)
	p.Exec.Identity.CtimeNs++
	r, c, _, _ := run(t, p, "exit", "0")
	if r.Kind != Failed || syscall.Errno(r.Errno) != unix.ESTALE || !strings.HasPrefix(c.StepName(r.Step), "verify ") {
		t.Errorf("got %+v step %q, want ESTALE at verify", r, c.StepName(r.Step))
	}
}

// TestInside lets the victim describe what it sees.
func TestInside(t *testing.T) {
	_, _, _, out := run(t, testPlan(t), "status")
	for _, want := range []string{
		"pid 2\n", "sid 2\n", "uid 1000\n", "hostname sandbox\n", "cwd /tmp\n", "umask 022\n",
		"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "CapAmb:\t0000000000000000\n",
		"NoNewPrivs:\t1\n", "Seccomp:\t2\n", "SigIgn:\t0000000000000000\n", "SigBlk:\t0000000000000000\n",
		"fds 0 1 2\n", "env HOME=/tmp\n", "init environ EACCES\n", "root ro\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "test.run") || strings.Contains(out, "init cmdline /") {
		t.Errorf("the supervisor's arguments are visible:\n%s", out)
	}
}
