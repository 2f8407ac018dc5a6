package filter

import (
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/syscalls"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	allow     = Verdict{Kind: Allow}
	violation = Verdict{Kind: Violation}
	kill      = Verdict{Kind: Kill}
	enosys    = Verdict{Kind: Errno, Errno: uint16(unix.ENOSYS)}
	eperm     = Verdict{Kind: Errno, Errno: uint16(unix.EPERM)}
)

// number is the number of a call that must exist.
func number(t testing.TB, arch, name string) uint32 {
	t.Helper()
	nr, ok := syscalls.Number(arch, name)
	if !ok {
		t.Fatalf("%s has no call %s", arch, name)
	}
	return nr
}

// serviceRules is a ruleset like those of real policies: every known call has
// a verdict, most of @system-service are allowed, some look at arguments.
func serviceRules(t testing.TB, arch string) Ruleset {
	t.Helper()
	rs := Ruleset{Arch: arch, Calls: map[uint32]Call{}, Default: enosys, ExecOnce: true}
	for _, name := range syscalls.Names(arch) {
		rs.Calls[number(t, arch, name)] = Call{Default: violation}
	}
	names, _ := syscalls.Group("@system-service")
	for _, name := range names {
		if nr, ok := syscalls.Number(arch, name); ok {
			rs.Calls[nr] = Call{Default: allow}
		}
	}
	for _, name := range []string{"clone3", "memfd_create", "io_uring_setup"} {
		rs.Calls[number(t, arch, name)] = Call{Default: enosys}
	}
	rs.Calls[number(t, arch, "clone")] = Call{
		Rules:   []Rule{{Tests: []Test{{Op: MaskedEqual, Mask: 0x7e020000}}, Verdict: allow}},
		Default: violation,
	}
	rs.Calls[number(t, arch, "socket")] = Call{
		Rules: []Rule{
			{Tests: []Test{{Op: Equal, Value: unix.AF_UNIX}}, Verdict: allow},
			{Tests: []Test{{Op: Equal, Value: unix.AF_INET}}, Verdict: allow},
		},
		Default: Verdict{Kind: Errno, Errno: uint16(unix.EAFNOSUPPORT)},
	}
	rs.Calls[number(t, arch, "ioctl")] = Call{
		Rules:   []Rule{{Tests: []Test{{Index: 1, Op: Equal, Value: unix.TIOCSTI}}, Verdict: eperm}},
		Default: allow,
	}
	return rs
}

func TestGolden(t *testing.T) {
	small := Ruleset{Arch: "amd64", Default: enosys, ExecOnce: true, Calls: map[uint32]Call{
		0: {Default: allow}, 1: {Default: allow}, 2: {Default: violation}, 3: {Default: allow},
		16: {Rules: []Rule{
			{Tests: []Test{{Index: 1, Op: Equal, Value: unix.TIOCSTI}}, Verdict: eperm},
			{Tests: []Test{{Index: 1, Op: Equal, Value: unix.TIOCLINUX}}, Verdict: eperm},
		}, Default: allow},
		56: {Rules: []Rule{{Tests: []Test{{Op: MaskedEqual, Mask: 0x7e020000}}, Verdict: allow}}, Default: violation},
		9: {Rules: []Rule{{Tests: []Test{
			{Index: 2, Op: MaskedEqual, Mask: 6, Value: 2}, {Index: 5, Op: LessOrEqual, Value: 1 << 40, Wide: true},
		}, Verdict: allow}}, Default: eperm},
	}}
	tests := []struct {
		name string
		rs   Ruleset
	}{
		{"small", small},
		{"empty-arm64", Ruleset{Arch: "arm64"}},
		{"service-amd64", serviceRules(t, "amd64")},
		{"service-arm64", serviceRules(t, "arm64")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Compile(tt.rs)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tt.name+".dump.golden", Dump(p.Insns))
			golden(t, tt.name+".describe.golden", Describe(tt.rs))
			again, err := Compile(tt.rs)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(p, again); diff != "" {
				t.Errorf("a second Compile differs (-first +second):\n%s", diff)
			}
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with -update)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestCompileRefuses(t *testing.T) {
	one := func(c Call) Ruleset { return Ruleset{Arch: "amd64", Calls: map[uint32]Call{5: c}} }
	rule := func(test Test) Ruleset { return one(Call{Rules: []Rule{{Tests: []Test{test}, Verdict: allow}}}) }
	tests := []struct {
		name string
		rs   Ruleset
		want string
	}{
		{"no architecture", Ruleset{}, `architecture "": want amd64 or arm64`},
		{"x32 number", Ruleset{Arch: "amd64", Calls: map[uint32]Call{x32Bit: {}}}, "numbers end at"},
		{"errno 0", Ruleset{Arch: "amd64", Default: Verdict{Kind: Errno}}, "default: errno 0: want 1 to 4095"},
		{"errno 4096", one(Call{Default: Verdict{Kind: Errno, Errno: 4096}}), "call 5: errno 4096"},
		{"kind", one(Call{Default: Verdict{Kind: 9}}), "verdict kind 9 does not exist"},
		{"argument 6", rule(Test{Index: 6, Op: Equal}), "call 5: rule 0: test 0: argument 6"},
		{"no operation", rule(Test{}), "operation 0 does not exist"},
		{"operation 8", rule(Test{Op: 8}), "operation 8 does not exist"},
		{"value over 32 bits", rule(Test{Op: Equal, Value: 1 << 32}), "value 0x100000000: the test compares 32 bits"},
		{"mask over 32 bits", rule(Test{Op: MaskedEqual, Mask: 1 << 32}), "mask 0x100000000: the test compares 32 bits"},
		{"value outside mask", rule(Test{Op: MaskedEqual, Mask: 1, Value: 2}), "never matches"},
		{"rule verdict", one(Call{Rules: []Rule{{Verdict: Verdict{Kind: Errno}}}}), "errno 0"},
		{"exec-once that allows", Ruleset{Arch: "amd64", ExecOnce: true, ExecveatVerdict: allow}, "exec-once cannot allow"},
		{"exec-once that allows execve", Ruleset{Arch: "amd64", ExecOnce: true, ExecveVerdict: allow}, "exec-once cannot allow"},
		{"too long", tooLong(), "the kernel takes 4096"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compile(tt.rs)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// tooLong has 5,000 rules on one call.
func tooLong() Ruleset {
	var c Call
	for i := range uint64(5000) {
		c.Rules = append(c.Rules, Rule{Tests: []Test{{Op: Equal, Value: 2 * i}}, Verdict: allow})
	}
	return Ruleset{Arch: "amd64", Calls: map[uint32]Call{7: c}}
}

func TestForeignABIs(t *testing.T) {
	rs := Ruleset{Arch: "amd64", Default: allow, Calls: map[uint32]Call{1: {Default: allow}}}
	p, err := Compile(rs)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		arch, nr uint32
		want     uint32
	}{
		{"native", unix.AUDIT_ARCH_X86_64, 1, unix.SECCOMP_RET_ALLOW},
		{"i386", unix.AUDIT_ARCH_I386, 1, unix.SECCOMP_RET_USER_NOTIF},
		{"arm64", unix.AUDIT_ARCH_AARCH64, 1, unix.SECCOMP_RET_USER_NOTIF},
		{"last native number", unix.AUDIT_ARCH_X86_64, x32Bit - 1, unix.SECCOMP_RET_ALLOW},
		{"x32", unix.AUDIT_ARCH_X86_64, x32Bit, unix.SECCOMP_RET_USER_NOTIF},
		{"x32 write", unix.AUDIT_ARCH_X86_64, x32Bit | 1, unix.SECCOMP_RET_USER_NOTIF},
		{"-1", unix.AUDIT_ARCH_X86_64, 1<<32 - 1, unix.SECCOMP_RET_USER_NOTIF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Run(p.Insns, tt.arch, tt.nr, 0, [6]uint64{})
			if err != nil || got != tt.want {
				t.Errorf("got %s, %v, want %s", returnText(got), err, returnText(tt.want))
			}
		})
	}
}

// TestHighGarbage is CVE-2019-10063: an int argument with bits above the low
// 32 is the same argument to the kernel, and must be the same to a rule.
func TestHighGarbage(t *testing.T) {
	nr := number(t, "amd64", "ioctl")
	for _, tt := range []struct {
		name string
		wide bool
		want uint32
	}{
		{"int", false, unix.SECCOMP_RET_ERRNO | 1},
		{"wide", true, unix.SECCOMP_RET_ALLOW},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rs := Ruleset{Arch: "amd64", Calls: map[uint32]Call{nr: {
				Rules:   []Rule{{Tests: []Test{{Index: 1, Op: Equal, Value: unix.TIOCSTI, Wide: tt.wide}}, Verdict: eperm}},
				Default: allow,
			}}}
			p, err := Compile(rs)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Run(p.Insns, unix.AUDIT_ARCH_X86_64, nr, 0, [6]uint64{0, 1<<32 | unix.TIOCSTI})
			if err != nil || got != tt.want {
				t.Errorf("got %s, %v, want %s", returnText(got), err, returnText(tt.want))
			}
		})
	}
}

// patch does what the launch does.
func patch(p Program, words [6]uint32) []byte {
	out := append([]byte(nil), p.Insns...)
	for i, at := range p.ExecOnce {
		binary.NativeEndian.PutUint32(out[int(at)*insnSize+4:], words[i])
	}
	return out
}

func TestExecOnce(t *testing.T) {
	const path, argv, envp = 0x2345_6789_abc1, 0x1111_0000_7000, 0x3fff_ffff_8000
	secret := [6]uint64{3, path, argv, envp, unix.AT_EMPTY_PATH}
	words := [6]uint32{path & 0xffffffff, path >> 32, argv & 0xffffffff, argv >> 32, envp & 0xffffffff, envp >> 32}
	for _, arch := range syscalls.Arches() {
		t.Run(arch, func(t *testing.T) {
			execve, execveat := execNumbers(arch)
			audit, err := auditArch(arch)
			if err != nil {
				t.Fatal(err)
			}
			// Entries for both calls must have no say.
			p, err := Compile(Ruleset{Arch: arch, Default: allow, ExecOnce: true, ExecveVerdict: enosys, ExecveatVerdict: eperm,
				Calls: map[uint32]Call{execve: {Default: allow}, execveat: {Default: allow}}})
			if err != nil {
				t.Fatal(err)
			}
			if len(p.ExecOnce) != 6 {
				t.Fatalf("got %d constants to replace, want 6", len(p.ExecOnce))
			}
			check := func(name string, insns []byte, nr uint32, args [6]uint64, want uint32) {
				t.Helper()
				got, err := Run(insns, audit, nr, 0, args)
				if err != nil || got != want {
					t.Errorf("%s: got %s, %v, want %s", name, returnText(got), err, returnText(want))
				}
			}
			const refused = unix.SECCOMP_RET_ERRNO | 1
			patched := patch(p, words)
			check("the one call", patched, execveat, secret, unix.SECCOMP_RET_ALLOW)
			check("execve", patched, execve, secret, enosys.returnValue())
			check("other fd", patched, execveat, [6]uint64{9, path, argv, envp, unix.AT_EMPTY_PATH}, unix.SECCOMP_RET_ALLOW)
			check("no flags", patched, execveat, [6]uint64{3, path, argv, envp, 0}, refused)
			check("more flags", patched, execveat, [6]uint64{3, path, argv, envp, unix.AT_EMPTY_PATH | unix.AT_SYMLINK_NOFOLLOW}, refused)
			for argument := 1; argument <= 3; argument++ {
				for bit := range 64 {
					args := secret
					args[argument] ^= 1 << bit
					check("one bit off", patched, execveat, args, refused)
				}
			}
			// Differences must not cancel out.
			check("swapped", patched, execveat, [6]uint64{3, argv, path, envp, unix.AT_EMPTY_PATH}, refused)

			ones := uint64(1<<64 - 1)
			check("unpatched, placeholders", p.Insns, execveat, [6]uint64{3, ones, ones, ones, unix.AT_EMPTY_PATH}, refused)
			check("unpatched, secret", p.Insns, execveat, secret, refused)
			check("unpatched, zero", p.Insns, execveat, [6]uint64{}, refused)
		})
	}
}

// farRules is a ruleset whose program eight-bit jumps do not span. The numbers
// are unused ones, so that it can be loaded without harm.
func farRules(arch string) Ruleset {
	rs := Ruleset{Arch: arch, Default: allow, Calls: map[uint32]Call{}}
	for nr := uint32(500); nr < 900; nr++ {
		c := Call{Default: Verdict{Kind: Errno, Errno: uint16(nr%7 + 1)}}
		if nr%3 == 0 {
			for i := range uint64(5) {
				c.Rules = append(c.Rules, Rule{Verdict: allow, Tests: []Test{
					{Index: uint8(nr % 6), Op: Op(nr%6 + 1), Value: uint64(nr)*3 + i}}})
			}
		}
		rs.Calls[nr] = c
	}
	return rs
}

func TestFarJumps(t *testing.T) {
	for _, arch := range syscalls.Arches() {
		t.Run(arch, func(t *testing.T) {
			rs := farRules(arch)
			p, err := Compile(rs)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(p.Insns) / insnSize; n < 1000 {
				t.Fatalf("got %d instructions: too short to need far jumps", n)
			}
			if !strings.Contains(Dump(p.Insns), ": goto ") {
				t.Fatal("no long jump in the program")
			}
			agreesWithEvaluate(t, rs, p)
		})
	}
}

// agreesWithEvaluate compares the program of rs with its meaning.
func agreesWithEvaluate(t testing.TB, rs Ruleset, p Program) {
	t.Helper()
	arch, err := auditArch(rs.Arch)
	if err != nil {
		t.Fatal(err)
	}
	code, err := decode(p.Insns, maxInsns)
	if err != nil {
		t.Fatal(err)
	}
	check := func(nr uint32, args [6]uint64) {
		t.Helper()
		got, err := interpret(code, newData(arch, nr, 0, args))
		if want := rs.Evaluate(nr, args); err != nil || got != want.returnValue() {
			t.Fatalf("call %d args %x: got %s, %v, want %s\n%s", nr, args, returnText(got), err, want, Describe(rs))
		}
	}
	for nr := range uint32(probedNumbers) {
		check(nr, [6]uint64{})
		check(nr|x32Bit, [6]uint64{})
		check(nr, [6]uint64{1<<64 - 1, 1<<64 - 1, 1<<64 - 1, 1<<64 - 1, 1<<64 - 1, 1<<64 - 1})
	}
	check(1<<32-1, [6]uint64{})
	for nr, call := range rs.Calls {
		for _, args := range probes(call) {
			check(nr, args)
		}
	}
}

func TestServiceRules(t *testing.T) {
	for _, arch := range syscalls.Arches() {
		t.Run(arch, func(t *testing.T) {
			rs := serviceRules(t, arch)
			p, err := Compile(rs)
			if err != nil {
				t.Fatal(err)
			}
			agreesWithEvaluate(t, rs, p)
			// What performance is promised for: few instructions.
			if n := len(p.Insns) / insnSize; n > 150 {
				t.Errorf("got %d instructions, want at most 150", n)
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	tests := []struct {
		name string
		code []insn
		want string
	}{
		{"no end", []insn{{code: opLoad}}, "ends without an answer"},
		{"load outside", []insn{{code: opLoad, k: 64}, {code: opReturn}}, "load at 64"},
		{"odd load", []insn{{code: opLoad, k: 2}, {code: opReturn}}, "load at 2"},
		{"jump outside", []insn{{code: opJump, k: 1 << 31}, {code: opReturn}}, "leaves the program"},
		{"branch outside", []insn{{code: opEqual, jt: 1}, {code: opReturn}}, "leaves the program"},
		{"packet load", []insn{{code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS}, {code: opReturn}}, "not permitted"},
		{"xor", []insn{{code: unix.BPF_ALU | unix.BPF_XOR}, {code: opReturn}}, "not permitted"},
		{"scratch", []insn{{code: unix.BPF_ST, k: 16}, {code: opReturn}}, "scratch word 16"},
		{"division", []insn{{code: unix.BPF_ALU | unix.BPF_DIV}, {code: opReturn}}, "division by zero"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Run(encode(tt.code), 0, 0, 0, [6]uint64{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
	for _, size := range []int{0, 7, 9, (maxInsns + 1) * insnSize} {
		if _, err := Run(make([]byte, size), 0, 0, 0, [6]uint64{}); err == nil {
			t.Errorf("%d bytes: got no error", size)
		}
	}
}
