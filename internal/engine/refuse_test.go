package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/policy"
)

func pathParameter(in *Input) {
	in.Params = []plan.Param{{Name: "in", Type: plan.ParamPath, Access: plan.AccessRead, Max: 9}}
}

func hostRequires(name string) func(*Input) {
	return func(in *Input) { in.Require = []string{name} }
}

// TestRequireMet: what a policy requires and asks for is in the plan, and what
// the host requires refuses no command that has nothing of it.
func TestRequireMet(t *testing.T) {
	for _, text := range []string{
		`require: [exec-once, mdwe, keyring, no_new_privs, userns.limit, fifos, landlock, audit]`,
		`{limits: {cpu_max: 50%, io_max: ["8:0 rbps=1M"]}, require: [cgroup.cpu, cgroup.io, cgroup.memory, cgroup.pids, cgroup]}`,
		`{extends: [], limits: {cpu_weight: 50, memory_swap_max: 0}, require: [cgroup.cpu, cgroup.memory]}`,
		`{filesystem: {write: [/srv/out]}, require: [idmap]}`,
		`{filesystem: {read: [{path: /srv/in, as: owner}]}, require: [idmap]}`,
		`{filesystem: {write: ["{{cwd}}"]}, require: [idmap]}`,
	} {
		in := merged(t, text)
		p, err := Compile(in)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if len(p.Require) != len(in.Policy.Require) || !slices.IsSorted(p.Require) {
			t.Errorf("%s: the plan requires %q", text, p.Require)
		}
	}
	in := merged(t, `{}`)
	in.Params = []plan.Param{{Name: "out", Type: plan.ParamPath, Access: plan.AccessWrite, Max: 9}}
	in.Policy.Require = []string{"idmap"}
	if _, err := Compile(in); err != nil {
		t.Errorf("idmap beside a parameter that writes: %v", err)
	}
	in = merged(t, `extends: []`)
	in.Require = []string{"idmap", "cgroup.io", "cgroup.memory", "cgroup.cpu", "cgroup.pids", "seccomp"}
	p, err := Compile(in)
	if err != nil {
		t.Fatalf("the host requires what the plan has not: %v", err)
	}
	if len(p.Require) != 0 || len(p.Host.Require) != 6 || !slices.IsSorted(p.Host.Require) {
		t.Errorf("the plan requires %q, the host %q", p.Require, p.Host.Require)
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, policy string
		change       func(*Input)
		want         string // part of the message
		hint         string // part of the hint
		feature      string
		notBuilt     bool
	}{
		{name: "missing path", policy: "filesystem:\n  read: [/nowhere]", want: `2:10: filesystem.read: "/nowhere" does not exist`, hint: "write -/nowhere"},
		{name: "missing exec", policy: "filesystem: {exec: [/nowhere]}", want: `filesystem.exec: "/nowhere" does not exist`},
		{name: "unknown call", policy: `syscalls: {allow: [opennat]}`, want: `1:20: unknown syscall "opennat"`, hint: `did you mean "openat"?`},
		{name: "unknown group", policy: `syscalls: {deny: ["@mounts"]}`, want: `unknown syscall group "@mounts"`, hint: `"@mount"`},
		{name: "guarded by number", policy: `syscalls: {allow: ["nr:101"]}`, want: `"nr:101" is ptrace`, hint: "write ptrace"},
		{name: "wide value", policy: `syscalls: {rules: [{names: [socket], args: [{index: 0, op: eq, value: 0x100000001}], action: allow}]}`, want: "argument 0 of socket never has the value"},
		{name: "wide mask", policy: `syscalls: {rules: [{names: [ioctl], args: [{index: 1, op: masked_eq, value: 1, mask: 0xff000000ff}], action: allow}]}`, want: "1:20: syscalls.rules: mask 0xff000000ff of argument 1 of ioctl", hint: "write mask: 0xff"},
		{name: "unknown call of another spelling", policy: `syscalls: {allow: [sys_read]}`, want: `unknown syscall "sys_read"`, hint: `did you mean "read"?`},
		{name: "unknown group far from all", policy: `syscalls: {allow: ["@everything"]}`, want: `unknown syscall group "@everything"`, hint: "one of: @aio, @basic-io"},
		{name: "egress", policy: `{}`, change: func(in *Input) { in.Policy.Network.Mode = "egress" }, want: "egress", notBuilt: true},
		{name: "capabilities", policy: "capabilities:\n- CAP_CHOWN", change: func(in *Input) { in.Features = without("userns") }, want: "2:3: capabilities: CAP_CHOWN needs userns", feature: "userns"},
		{name: "CAP_SYS_ADMIN and mount", policy: `{capabilities: [CAP_CHOWN, CAP_SYS_ADMIN], syscalls: {allow: [umount2]}}`, want: "1:28: capabilities: CAP_SYS_ADMIN together with the call umount2", hint: "take one"},
		{name: "CAP_SYS_ADMIN and a rule for mount", policy: `{capabilities: [CAP_SYS_ADMIN], syscalls: {rules: [{names: [mount], args: [{index: 3, op: eq, value: 32}], action: allow}]}}`, want: "with the call mount"},
		{name: "unix beside a tree", policy: `{sockets: [unix], filesystem: {exec: [/usr/lib/plugins], read: [/srv/in]}}`, want: `1:65: sockets: unix beside the directory "/srv/in"`, hint: "name the socket files"},
		{name: "deep mask in the caller's writable tree", policy: `filesystem: {write: ["{{cwd}}"], mask: ["{{cwd}}/a/b/c"]}`, want: `1:41: filesystem.mask: "{{cwd}}/a/b/c" lies deeper in the writable {{cwd}} than a direct child`, hint: "mask {{cwd}}/a in its place"},
		{name: "template", policy: `{}`, change: func(in *Input) { in.Args = []string{"{{nope}}"} }, want: `"nope" is not a parameter`},
		{name: "memory", policy: `limits: {memory_max: 1M}`, change: func(in *Input) { in.Features = without("cgroup.memory") }, want: "limits: memory_max needs cgroup.memory", hint: "write -memory_max", feature: "cgroup.memory"},
		{name: "layer", policy: `require: [landlock]`, change: func(in *Input) { in.Features = without("landlock") }, want: "require: landlock needs landlock (Linux 5.19)", feature: "landlock"},
		{name: "require exec-once beside exec", policy: "filesystem: {exec: [view]}\nrequire: [seccomp, exec-once]", want: "2:20: require: exec-once: the policy lets more than the program be executed", hint: "filesystem.exec"},
		{name: "require exec-once beside a program", policy: `{filesystem: {exec: [/bin/sh]}, require: [exec-once]}`, want: "require: exec-once:"},
		{name: "require mdwe without it", policy: `{memory_deny_write_execute: false, require: [mdwe]}`, want: "require: mdwe: the policy says memory_deny_write_execute: false", hint: "take one of them out"},
		{name: "require cgroup.memory without a limit", policy: `{extends: [], require: [cgroup.memory]}`, want: "require: cgroup.memory: the policy has no limit that it would hold", hint: "memory_max"},
		{name: "require cgroup.pids without a limit", policy: `{extends: [], require: [cgroup.pids]}`, want: "require: cgroup.pids: the policy has no limit"},
		{name: "require cgroup.cpu without a limit", policy: `{require: [cgroup.cpu]}`, want: "require: cgroup.cpu: the policy has no limit", hint: "cpu_max or cpu_weight"},
		{name: "require cgroup.io without a limit", policy: `{require: [cgroup.io]}`, want: "require: cgroup.io: the policy has no limit"},
		{name: "require idmap without a mapped tree", policy: `{filesystem: {read: [/srv/in]}, require: [idmap]}`, want: "require: idmap: the policy shows no tree that is mapped", hint: "filesystem.write"},
		{name: "require idmap beside a parameter that reads", policy: `{require: [idmap]}`, change: pathParameter, want: "require: idmap: the policy shows no tree"},
		{name: "require fifos", policy: `require: [fifos]`, change: func(in *Input) { in.Features = without("landlock") }, want: "require: fifos needs landlock", feature: "landlock"},
		{name: "require userns.limit", policy: `require: [userns.limit]`, change: func(in *Input) { in.Features = without("userns") }, want: "require: userns.limit needs userns", feature: "userns"},
		{name: "require an unknown name", policy: `{}`, change: func(in *Input) { in.Policy.Require = []string{"cgroup2"} }, want: `require: unknown layer "cgroup2"`, hint: "cgroup"},
		{name: "the host requires exec-once", policy: `filesystem: {exec: [view]}`, change: hostRequires("exec-once"), want: "require: exec-once of /etc/sbx/sbx.yaml: the policy lets more", hint: "filesystem.exec"},
		{name: "the host requires mdwe", policy: `memory_deny_write_execute: false`, change: hostRequires("mdwe"), want: "require: mdwe of /etc/sbx/sbx.yaml: the policy says"},
		{name: "the host requires an unknown name", policy: `{}`, change: hostRequires("mdew"), want: "require: mdew of /etc/sbx/sbx.yaml: unknown layer", hint: "mdwe"},
		{name: "bundle's feature", policy: `{}`, change: func(in *Input) { in.Needs = []string{"idmap"}; in.Features = without("idmap") }, want: "the bundle needs idmap", feature: "idmap"},
		{name: "core", policy: `limits: {rlimit_core: 1M}`, want: "rlimit_core is always 0"},
		{name: "tmpfs over memory", policy: `{filesystem: {tmpfs: [{path: /tmp, size: 1G}]}, limits: {memory_max: 512M}}`, want: "memory_max is 536870912"},
		{name: "tmpfs in a tree", policy: `filesystem: {tmpfs: [{path: /usr/none}]}`, want: "has no such directory"},
		{name: "tree and tmpfs", policy: `filesystem: {read: [/srv/in], tmpfs: [{path: /srv/in}]}`, want: "both a tree and a tmpfs"},
		{name: "deny exit", policy: "syscalls:\n  deny: [exit]", want: `2:10: syscalls: "exit" would refuse exit, which every run needs`, hint: "take it out"},
		{name: "errno for exit_group", policy: `syscalls: {errno: {EIO: [exit_group]}}`, want: `would refuse exit_group`},
		{name: "deny rt_sigreturn", policy: `syscalls: {deny: [rt_sigreturn]}`, want: `would refuse rt_sigreturn`},
		{name: "deny restart_syscall by number", policy: `syscalls: {deny: ["nr:219"]}`, want: `1:19: syscalls: "restart_syscall" would refuse restart_syscall`},
		{name: "deny execveat", policy: `syscalls: {deny: [execveat]}`, want: `would refuse execveat`, hint: "without filesystem.exec"},
		{name: "errno for a group with exit", policy: `syscalls: {errno: {EPERM: ["@default"]}}`, want: `"@default" would refuse exit`, hint: "name the calls"},
		{name: "deny a group with exit", policy: `syscalls: {deny: ["@known"]}`, want: `"@known" would refuse exit`},
		{name: "rule kills execveat", policy: `{filesystem: {exec: [/bin/sh]}, syscalls: {rules: [{names: [execveat], args: [{index: 4, op: eq, value: 0x1000}], action: kill}]}}`, want: `"execveat" would refuse execveat`},
		{name: "rule on exit_group", policy: `syscalls: {rules: [{names: [exit_group], args: [{index: 0, op: ge, value: 1}], action: errno, errno: EIO}]}`, want: `would refuse exit_group`},
		{name: "rule on a group with exit", policy: `syscalls: {rules: [{names: ["@default"], args: [{index: 0, op: eq, value: 1}], action: kill}]}`, want: `would refuse exit`},
		{name: "loader variables", policy: `{}`, change: func(in *Input) { in.Policy.Env.Pass = []string{"L*"} }, want: "steer the dynamic loader"},
		{name: "block device", policy: `{}`, change: func(in *Input) { in.Policy.Devices = []string{"/dev/vda"} }, want: "not a character device"},
		{name: "unknown action", policy: `{}`, change: func(in *Input) {
			in.Policy.Syscalls.Rules = []policy.Rule{{Names: []policy.Name{{Text: "read"}}, Action: "maybe"}}
		}, want: "unknown action"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := merged(t, tt.policy)
			if tt.change != nil {
				tt.change(&in)
			}
			_, err := Compile(in)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("Compile = %v, want an *Error", err)
			}
			if !strings.Contains(e.Error(), tt.want) || !strings.Contains(e.Hint, tt.hint) || e.Feature != tt.feature || e.Status != StatusSetup {
				t.Errorf("got %d %q, hint %q, feature %q\nwant 125 %q, hint %q, feature %q", e.Status, e, e.Hint, e.Feature, tt.want, tt.hint, tt.feature)
			}
			if errors.Is(err, policy.ErrNotBuilt) != tt.notBuilt {
				t.Errorf("not built: %v, want %v", !tt.notBuilt, tt.notBuilt)
			}
		})
	}
}
