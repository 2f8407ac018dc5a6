package syscalls

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNumber(t *testing.T) {
	// From the kernel's arch/x86/entry/syscalls/syscall_64.tbl and
	// scripts/syscall.tbl.
	tests := []struct {
		arch, name string
		want       uint32
		ok         bool
	}{
		{"amd64", "read", 0, true},
		{"amd64", "_sysctl", 156, true},
		{"amd64", "execve", 59, true},
		{"amd64", "execveat", 322, true},
		{"amd64", "uretprobe", 335, true},
		{"amd64", "clone3", 435, true},
		{"amd64", "listns", 470, true},
		{"arm64", "io_setup", 0, true},
		{"arm64", "read", 63, true},
		{"arm64", "newfstatat", 79, true},
		{"arm64", "execve", 221, true},
		{"arm64", "execveat", 281, true},
		{"arm64", "listns", 470, true},
		{"arm64", "open", 0, false},
		{"arm64", "arch_specific_syscall", 0, false},
		{"amd64", "mmap2", 0, false},
		{"amd64", "", 0, false},
		{"amd64", "zzz", 0, false},
		{"386", "read", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.arch+"/"+tt.name, func(t *testing.T) {
			got, ok := Number(tt.arch, tt.name)
			if got != tt.want || ok != tt.ok {
				t.Errorf("Number: got %d, %t, want %d, %t", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestNameIsTheInverseOfNumber(t *testing.T) {
	for _, arch := range Arches() {
		names := Names(arch)
		if len(names) < 300 {
			t.Fatalf("%s: got %d names, want at least 300", arch, len(names))
		}
		last := uint32(0)
		for _, name := range names {
			nr, ok := Number(arch, name)
			if !ok {
				t.Fatalf("%s: Number(%q): no number", arch, name)
			}
			if back, ok := Name(arch, nr); !ok || back != name {
				t.Errorf("%s: Name(%d): got %q, %t, want %q", arch, nr, back, ok, name)
			}
			last = max(last, nr)
		}
		if got := Last(arch); got != last {
			t.Errorf("Last(%s): got %d, want %d", arch, got, last)
		}
	}
	for _, tt := range []struct {
		arch string
		nr   uint32
	}{{"amd64", 400}, {"amd64", Last("amd64") + 1}, {"amd64", 1 << 31}, {"arm64", 244}, {"mips", 1}} {
		if name, ok := Name(tt.arch, tt.nr); ok {
			t.Errorf("Name(%s, %d): got %q, want none", tt.arch, tt.nr, name)
		}
	}
	if got := Last("mips"); got != 0 {
		t.Errorf("Last(mips): got %d, want 0", got)
	}
}

func TestNoGroupOpensAGuardedCall(t *testing.T) {
	if len(Groups()) < 25 {
		t.Fatalf("got %d groups, want at least 25", len(Groups()))
	}
	withheld := map[string]bool{}
	for _, name := range Groups() {
		open, ok := Group(name)
		if !ok {
			t.Fatalf("Group(%q): not found", name)
		}
		all, _ := GroupAll(name)
		for _, call := range open {
			if Guarded(call) {
				t.Errorf("Group(%q) holds the guarded call %s", name, call)
			}
		}
		for _, call := range all {
			if !slices.Contains(open, call) {
				withheld[call] = true
				if !Guarded(call) {
					t.Errorf("Group(%q) lacks %s, which is not guarded", name, call)
				}
			}
		}
		if !slices.IsSorted(open) || !slices.IsSorted(all) {
			t.Errorf("group %s is not sorted", name)
		}
	}
	// @known has every call, so every guarded one must have been withheld.
	if len(withheld) != len(GuardedNames()) {
		t.Errorf("withheld %d calls, want all %d guarded ones", len(withheld), len(GuardedNames()))
	}
	if _, ok := Group("@guarded"); ok {
		t.Error("@guarded is a group: allowing it would open everything")
	}
}

func TestGroup(t *testing.T) {
	tests := []struct {
		name     string
		has, not []string
		all      []string // in GroupAll
	}{
		{"@default", []string{"execve", "mmap", "futex_wait", "mseal"}, []string{"open", "clone"}, nil},
		{"@system-service", []string{"read", "openat", "socket", "io_setup", "fork", "get_mempolicy", "cachestat"},
			[]string{"mount", "unshare", "ptrace", "personality", "memfd_create", "clone3", "mbind", "keyctl", "kcmp", "setxattrat"},
			[]string{"personality", "memfd_create", "clone3", "unshare"}},
		{"@debug", nil, []string{"ptrace", "perf_event_open"}, []string{"ptrace", "pidfd_getfd"}},
		{"@clock", nil, []string{"clock_settime"}, []string{"clock_settime"}},
		{"@sandbox", []string{"landlock_restrict_self"}, []string{"seccomp"}, []string{"seccomp"}},
		{"@known", []string{"openat2", "open"}, []string{"bpf"}, []string{"bpf"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Group(tt.name)
			if !ok {
				t.Fatal("not found")
			}
			all, _ := GroupAll(tt.name)
			for _, call := range tt.has {
				if !slices.Contains(got, call) {
					t.Errorf("lacks %s", call)
				}
			}
			for _, call := range tt.not {
				if slices.Contains(got, call) {
					t.Errorf("holds %s", call)
				}
			}
			for _, call := range tt.all {
				if !slices.Contains(all, call) {
					t.Errorf("GroupAll lacks %s", call)
				}
			}
		})
	}
	for _, name := range []string{"", "@", "default", "@Default", "@nothing"} {
		if got, ok := Group(name); ok {
			t.Errorf("Group(%q): got %v, want none", name, got)
		}
		if got, ok := GroupAll(name); ok {
			t.Errorf("GroupAll(%q): got %v, want none", name, got)
		}
	}
}

func TestGuarded(t *testing.T) {
	for _, name := range strings.Fields(`unshare setns ptrace process_vm_readv bpf io_uring_enter userfaultfd keyctl
		seccomp mount fsopen open_tree_attr listns open_by_handle_at reboot clock_settime fanotify_init modify_ldt mbind
		iopl init_module kexec_load vmsplice personality memfd_create clone3 setxattrat file_setattr`) {
		if !Guarded(name) {
			t.Errorf("%s is not guarded", name)
		}
	}
	for _, name := range strings.Fields(`read execve clone openat2 landlock_restrict_self cachestat pkey_alloc nosuchcall`) {
		if Guarded(name) {
			t.Errorf("%s is guarded", name)
		}
	}
	for _, name := range GuardedNames() {
		if !Guarded(name) || !Known(name) {
			t.Errorf("GuardedNames holds %s: guarded %t, known %t", name, Guarded(name), Known(name))
		}
	}
}

// TestDependencies keeps the package cheap to start: it is linked into the
// command, where each imported package costs every run.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{join .Imports \" \"}}", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	if diff := cmp.Diff("math/bits", strings.TrimSpace(string(out))); diff != "" {
		t.Errorf("imports (-want +got):\n%s", diff)
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		nr, _ := Number("amd64", "openat")
		name, _ := Name("amd64", nr)
		_ = Guarded(name)
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func BenchmarkNumber(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := Number("amd64", "openat"); !ok {
			b.Fatal("openat has no number")
		}
	}
}
