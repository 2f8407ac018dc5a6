package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tableCalls knows two groups and two guarded calls.
var tableCalls = Calls{
	Group: func(name string) ([]string, bool) {
		calls, ok := map[string][]string{
			"@default": {"exit"}, "@io": {"read", "write"}, "@debug": {"ptrace", "peek"},
			"@many": {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"},
		}[name]
		return calls, ok
	},
	Guarded: func(name string) bool { return name == "ptrace" || name == "bpf" },
}

func called(list ...string) []Name {
	var out []Name
	for _, s := range list {
		out = append(out, Name{Text: s})
	}
	return out
}

func some[T any](v T) *Limit[T] { return &Limit[T]{Value: v} }

// TestCompare: each row is a change and its way back.
func TestCompare(t *testing.T) {
	yes, no := true, false
	ioctl := Rule{Names: called("ioctl"), Args: []Arg{{Index: 1, Op: "eq", Value: 1}}, Action: "allow"}
	for _, tt := range []struct {
		name        string
		a, b        Policy
		there, back string // changes, joined by "; "
	}{
		{"nothing", Policy{User: "caller"}, Policy{}, "", ""},
		{"proc", Policy{}, Policy{Filesystem: Filesystem{Proc: "full"}}, "wider: shows all of /proc", "narrower: shows only the run's own processes in /proc"},
		{"view", Policy{Filesystem: Filesystem{View: "none"}}, Policy{Filesystem: Filesystem{View: "minimal"}}, "wider: shows the minimal view: /usr, a small /etc, /proc, /dev, /tmp", "narrower: takes the minimal view away"},
		{"write tree", Policy{}, Policy{Filesystem: Filesystem{Write: []PathRule{{Path: "/srv"}}}}, "dangerous: adds the write tree /srv", "narrower: takes the write tree /srv away"},
		{"write below a write tree", Policy{Filesystem: Filesystem{Write: []PathRule{{Path: "/srv"}}}}, Policy{Filesystem: Filesystem{Write: []PathRule{{Path: "/srv"}, {Path: "/srv/x"}}}},
			"neutral: adds the write tree /srv/x, which a tree above it did already", "neutral: takes the write tree /srv/x away, which a tree above it still does"},
		{"beside a write tree", Policy{Filesystem: Filesystem{Write: []PathRule{{Path: "/srv"}}}}, Policy{Filesystem: Filesystem{Write: []PathRule{{Path: "/srv"}, {Path: "/srv2"}}}},
			"dangerous: adds the write tree /srv2", "narrower: takes the write tree /srv2 away"},
		{"read becomes write", Policy{Filesystem: Filesystem{Read: []PathRule{{Path: "/srv"}}}}, Policy{Filesystem: Filesystem{Write: []PathRule{{Path: "/srv"}}}},
			"dangerous: adds the write tree /srv; narrower: no longer shows /srv", "neutral: shows /srv, which a tree above it did already; narrower: takes the write tree /srv away"},
		{"read", Policy{}, Policy{Filesystem: Filesystem{Read: []PathRule{{Path: "/etc/ssl"}}}}, "wider: shows /etc/ssl", "narrower: no longer shows /etc/ssl"},
		{"read as owner", Policy{Filesystem: Filesystem{Read: []PathRule{{Path: "/srv"}}}}, Policy{Filesystem: Filesystem{Read: []PathRule{{Path: "/srv", AsOwner: true}}}},
			"wider: shows /srv with its owner's rights", "narrower: shows /srv with others' rights only"},
		{"exec of the view", Policy{}, Policy{Filesystem: Filesystem{Exec: []PathRule{{Path: "view"}}}}, "dangerous: lets every program of the view be executed", "narrower: no longer lets view be executed"},
		{"mask in the caller's directory", Policy{Filesystem: Filesystem{Mask: []PathRule{{Path: "{{cwd}}/.git"}}}}, Policy{}, "wider: uncovers {{cwd}}/.git", "narrower: covers {{cwd}}/.git"},
		{"mask", Policy{Filesystem: Filesystem{Mask: []PathRule{{Path: "/proc/kcore"}}}}, Policy{}, "wider: uncovers /proc/kcore", "narrower: covers /proc/kcore"},
		{"tmpfs", Policy{Filesystem: Filesystem{Tmpfs: []Tmpfs{{Path: "/tmp", Size: 1 << 20, Files: 10}}}}, Policy{Filesystem: Filesystem{Tmpfs: []Tmpfs{{Path: "/tmp", Size: 1 << 21, Files: 10}}}},
			"wider: lets memory files at /tmp grow from 1M, 10 files, to 2M, 10 files", "narrower: shrinks memory files at /tmp to 1M, 10 files"},
		{"guarded call", Policy{}, Policy{Syscalls: Syscalls{Allow: called("ptrace")}}, "dangerous: opens ptrace, a guarded call", "narrower: no longer allows ptrace"},
		{"a group opens no guarded call", Policy{}, Policy{Syscalls: Syscalls{Allow: called("@debug")}}, "wider: allows peek", "narrower: no longer allows peek"},
		{"a group spelt out", Policy{Syscalls: Syscalls{Allow: called("@io")}}, Policy{Syscalls: Syscalls{Allow: called("read", "write", "exit")}}, "", ""},
		{"many calls", Policy{}, Policy{Syscalls: Syscalls{Allow: called("@many")}}, "wider: allows a, b, c, d, e, f, g, h and 2 more", "narrower: no longer allows a, b, c, d, e, f, g, h and 2 more"},
		{"deny beats allow", Policy{Syscalls: Syscalls{Allow: called("read"), Deny: called("read")}}, Policy{Syscalls: Syscalls{Allow: called("read"), Deny: called("@io")}}, "", ""},
		{"a denial is dropped", Policy{Syscalls: Syscalls{Allow: called("@io"), Deny: called("read")}}, Policy{Syscalls: Syscalls{Allow: called("@io")}}, "wider: allows read", "narrower: no longer allows read"},
		{"errno beats allow", Policy{Syscalls: Syscalls{Allow: called("@io"), Errno: map[string][]Name{"EPERM": called("read")}}}, Policy{Syscalls: Syscalls{Allow: called("@io")}}, "wider: allows read", "narrower: no longer allows read"},
		{"errno for a violation", Policy{}, Policy{Syscalls: Syscalls{Errno: map[string][]Name{"EPERM": called("bpf")}}}, "wider: answers with an errno, no longer as violations: bpf", "narrower: takes as violations: bpf"},
		{"default", Policy{Syscalls: Syscalls{Default: "kill"}}, Policy{Syscalls: Syscalls{Default: "errno"}}, "wider: answers what it does not allow with an errno: no violation is seen", "narrower: kills at what it does not allow"},
		{"allowing rule", Policy{}, Policy{Syscalls: Syscalls{Rules: []Rule{ioctl}}}, "wider: adds the rule {names: [ioctl], args: [{index: 1, op: eq, value: 0x1}], action: allow}", "narrower: removes the rule {names: [ioctl], args: [{index: 1, op: eq, value: 0x1}], action: allow}"},
		{"killing rule", Policy{Syscalls: Syscalls{Rules: []Rule{{Names: called("read"), Action: "kill"}}}}, Policy{}, "wider: removes the rule {names: [read], args: [], action: kill}", "narrower: adds the rule {names: [read], args: [], action: kill}"},
		{"network", Policy{}, Policy{Network: Network{Mode: "egress", Allow: []Endpoint{{CIDR: "0.0.0.0/0", Port: 443}, {Host: "a.example", Port: 53, UDP: true}}}},
			"dangerous: connects to any address (0.0.0.0/0:443); dangerous: opens the network; wider: connects to udp://a.example:53",
			"narrower: no longer connects to 0.0.0.0/0:443; narrower: no longer connects to udp://a.example:53; narrower: closes the network"},
		{"loopback", Policy{Network: Network{Mode: "none"}}, Policy{Network: Network{Mode: "loopback"}}, "wider: opens its own loopback", "narrower: closes the network"},
		{"sockets", Policy{}, Policy{Sockets: []string{"inet"}}, "wider: opens sockets of family inet", "narrower: closes sockets of family inet"},
		{"a limit is dropped", Policy{Limits: Limits{MemoryMax: some(Bytes(256 << 20))}}, Policy{}, "wider: drops memory_max (256M)", "narrower: sets memory_max to 256M"},
		{"a limit is raised", Policy{Limits: Limits{Timeout: some(time.Minute)}}, Policy{Limits: Limits{Timeout: some(time.Hour)}}, "wider: raises timeout from 1m to 1h", "narrower: lowers timeout from 1h to 1m"},
		{"the same part of a processor", Policy{Limits: Limits{CPUMax: some(CPU{50_000, 100_000})}}, Policy{Limits: Limits{CPUMax: some(CPU{500, 1000})}}, "", ""},
		{"more of a processor", Policy{Limits: Limits{CPUMax: some(CPU{50_000, 100_000})}}, Policy{Limits: Limits{CPUMax: some(CPU{600, 1000})}}, "wider: raises cpu_max from 50% to 600 1000", "narrower: lowers cpu_max from 600 1000 to 50%"},
		{"rlimit", Policy{Limits: Limits{Rlimits: map[string]Limit[uint64]{"nofile": {Value: 64}}}}, Policy{Limits: Limits{Rlimits: map[string]Limit[uint64]{"nofile": {Value: 64, Optional: true}}}},
			"wider: runs without rlimit_nofile where the host cannot hold it", "narrower: refuses to run where the host cannot hold rlimit_nofile"},
		{"devices", Policy{}, Policy{Devices: []string{"/dev/fuse"}}, "dangerous: opens the device /dev/fuse", "narrower: closes the device /dev/fuse"},
		{"env", Policy{Env: Env{Set: map[string]string{"A": "1"}}}, Policy{Env: Env{Pass: []string{"LANG"}, Set: map[string]string{"A": "2"}}}, `wider: passes the variable LANG; neutral: sets A to "2"`, `neutral: sets A to "1"; narrower: no longer passes the variable LANG`},
		{"user", Policy{User: "caller"}, Policy{User: "postgres"}, "dangerous: runs as postgres", "narrower: runs as the caller, no longer as postgres"},
		{"dynamic", Policy{User: "dynamic"}, Policy{}, "wider: runs as the caller, not as a user of its own", "narrower: runs as a user of its own"},
		{"capability", Policy{}, Policy{Capabilities: []string{"CAP_SYS_ADMIN"}}, "dangerous: gives the capability CAP_SYS_ADMIN", "narrower: takes the capability CAP_SYS_ADMIN"},
		{"write and execute", Policy{DenyWriteExecute: &yes}, Policy{DenyWriteExecute: &no}, "dangerous: lets memory be written and executed", "narrower: refuses memory that is written and executed"},
		{"require", Policy{Require: []string{"userns"}}, Policy{}, "wider: no longer requires the layer userns", "narrower: requires the layer userns"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := func(way string, a, b Policy, want string) {
				var got []string
				list := Compare(a, b, tableCalls)
				for _, c := range list {
					got = append(got, c.Risk.String()+": "+c.Text)
					if c.Key == "" {
						t.Errorf("%q has no key", c.Text)
					}
				}
				if d := cmp.Diff(want, strings.Join(got, "; ")); d != "" {
					t.Errorf("%s (-want +got):\n%s", way, d)
				}
				if Widens(list) != (strings.Contains(want, "wider: ") || strings.Contains(want, "dangerous: ")) {
					t.Errorf("%s: Widens is %v", way, Widens(list))
				}
			}
			check("there", tt.a, tt.b, tt.there)
			check("back", tt.b, tt.a, tt.back)
			check("same", tt.b, tt.b, "")
		})
	}
}

func TestAnywhere(t *testing.T) {
	for e, want := range map[Endpoint]bool{
		{Host: "*"}: true, {CIDR: "0.0.0.0/0"}: true, {CIDR: "::/0"}: true, {CIDR: "0.0.0.0/1"}: true, {CIDR: "2000::/3"}: true,
		{Host: "*.example.org"}: false, {CIDR: "10.0.0.0/8"}: false, {CIDR: "2001:db8::/32"}: false, {Host: "@host"}: false, {}: false,
	} {
		if anywhere(e) != want {
			t.Errorf("%+v: %v", e, !want)
		}
	}
}

func TestRisks(t *testing.T) {
	var seen []string
	for r := Narrower; r <= Dangerous; r++ {
		text, err := r.MarshalText()
		if err != nil || slices.Contains(seen, string(text)) || strings.HasPrefix(string(text), "Risk") {
			t.Errorf("risk %d is %q, %v", r, text, err)
		}
		seen = append(seen, string(text))
	}
	if Risk(0).String() != "Risk(0)" || (Dangerous+1).String() != "Risk(5)" {
		t.Error("an unknown risk has a name")
	}
}
