package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/policy"
)

// stock answers with policies written here.
func stock(t *testing.T, texts map[string]string) func(string) (policy.Policy, error) {
	return func(name string) (policy.Policy, error) {
		src, ok := texts[name]
		if !ok {
			return policy.Policy{}, errors.New("no stock policy " + name)
		}
		p, err := parse([]byte(src))
		if err != nil {
			t.Fatal(err)
		}
		return p, nil
	}
}

// calls are tables of a machine with few.
var calls = policy.Calls{
	Group: func(name string) ([]string, bool) {
		calls, ok := map[string][]string{"@memlock": {"mlock"}, "@process": {"clone3", "mincore", "mlock"}}[name]
		return calls, ok
	},
	Guarded: func(name string) bool { return name == "clone3" },
	Name: func(number uint32) (string, bool) {
		name, ok := map[uint32]string{27: "mincore", 135: "personality", 435: "clone3"}[number]
		return name, ok
	},
}

func TestResolve(t *testing.T) {
	const base = `
extends: []
filesystem: {view: minimal, read: [/etc/ssl], exec: []}
syscalls:
  allow: ["@file-system", mincore]
  errno: {ENOSYS: [clone3, openat2], EPERM: [personality, mlock]}
limits: {-memory_max: 256M, -pids_max: 64}
env: {pass: [LANG], set: {HOME: /tmp}}
`
	for _, tt := range []struct {
		name, in, want string
	}{
		{"empty takes base", "{}", base},
		{"extends nothing", "extends: []\nuser: dynamic\n", "extends: []\nuser: dynamic\n"},
		{"lists without duplicates, scalars replaced",
			"filesystem: {view: none, read: [-/etc/ssl, /srv], exec: [view]}\nenv: {pass: [LANG, TZ], set: {HOME: /, A: b}}\n",
			strings.NewReplacer("view: minimal", "view: none", "[/etc/ssl]", "[-/etc/ssl, /srv]", "exec: []", "exec: [view]",
				"[LANG]", "[LANG, TZ]", "HOME: /tmp", "HOME: /, A: b").Replace(base)},
		{"stated limit is required", "limits: {memory_max: 512M}\n",
			strings.Replace(base, "-memory_max: 256M", "memory_max: 512M", 1)},
		{"stated limit may be optional", "limits: {-memory_max: 512M}\n",
			strings.Replace(base, "-memory_max: 256M", "-memory_max: 512M", 1)},
		{"own name opens what base answers with an errno", "syscalls: {allow: [clone3]}\n",
			strings.NewReplacer("mincore]", "mincore, clone3]", "[clone3, openat2]", "[openat2]").Replace(base)},
		{"a group opens what it holds", "syscalls: {allow: [\"@memlock\"]}\n",
			strings.NewReplacer("mincore]", "mincore, \"@memlock\"]", "[personality, mlock]", "[personality]").Replace(base)},
		{"but nothing guarded", "syscalls: {allow: [\"@process\"]}\n",
			strings.NewReplacer("mincore]", "mincore, \"@process\"]", ", mlock]", "]").Replace(base)},
		{"nor what the policy answers by its own name", "syscalls: {allow: [\"@memlock\"], errno: {EPERM: [mlock]}}\n",
			strings.Replace(base, "mincore]", "mincore, \"@memlock\"]", 1)},
		{"a group's errno takes what base allows or answers by name", "syscalls: {errno: {EACCES: [\"@process\"]}}\n",
			strings.NewReplacer(", mincore]", "]", "[clone3, openat2]", "[openat2]", "[personality, mlock]", "[personality], EACCES: [\"@process\"]").Replace(base)},
		{"a group's errno, and the own name allowed", "syscalls: {allow: [mincore], errno: {EACCES: [\"@process\"]}}\n",
			strings.NewReplacer("[clone3, openat2]", "[openat2]", "[personality, mlock]", "[personality], EACCES: [\"@process\"]").Replace(base)},
		{"a number is its name", "syscalls: {allow: [\"nr:135\"], errno: {EACCES: [\"nr:27\"]}, deny: [\"nr:9000\"]}\n",
			strings.NewReplacer("mincore]", "personality]", "[personality, mlock]}", "[mlock], EACCES: [mincore]}\n  deny: [\"nr:9000\"]").Replace(base)},
		{"but for a guarded call's", "syscalls: {allow: [\"nr:435\"]}\n",
			strings.Replace(base, "mincore]", "mincore, \"nr:435\"]", 1)},
		{"own errno replaces base's", "syscalls: {errno: {EPERM: [clone3], EACCES: [mincore]}}\n",
			strings.NewReplacer(", mincore]", "]", "[clone3, openat2]", "[openat2]", "[personality, mlock]", "[personality, mlock, clone3], EACCES: [mincore]").Replace(base)},
		{"last name of an errno taken", "syscalls: {allow: [personality, mlock]}\n",
			strings.NewReplacer("mincore]", "mincore, personality, mlock]", ", EPERM: [personality, mlock]", "").Replace(base)},
		{"deny beats allow", "syscalls: {deny: [mincore]}\n",
			strings.NewReplacer("allow: [\"@file-system\", mincore]", "allow: [\"@file-system\"]\n  deny: [mincore]").Replace(base)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, err := parse([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			want, err := parse([]byte(tt.want))
			if err != nil {
				t.Fatal(err)
			}
			got, err := policy.Resolve(in, stock(t, map[string]string{"base": base}), calls)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, equal); diff != "" {
				t.Errorf("resolved (-want +got):\n%s", diff)
			}
			again, err := policy.Resolve(got, nil, calls)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, again, equal); diff != "" {
				t.Errorf("resolving again changes (-first +second):\n%s", diff)
			}
			checkCanonical(t, got)
		})
	}
}

func TestResolvePeers(t *testing.T) {
	texts := map[string]string{
		"a":      "extends: []\nuser: dynamic\nlimits: {timeout: 1s}\nsyscalls: {allow: [read, write]}\n",
		"b":      "extends: []\nuser: caller\nlimits: {timeout: 1s}\nsyscalls: {errno: {EPERM: [write]}}\n",
		"nested": "extends: [a]\n",
		"silent": "user: dynamic\n",
	}
	for _, tt := range []struct {
		name, in, want, wantErr string
	}{
		{"conflict", "extends: [a, b]\n", "", "1:10: extends: the stock policies a, b differ in user"},
		{"conflict in the other order", "extends: [b, a]\n", "", "1:10: extends: the stock policies a, b differ in user"},
		{"conflict settled", "extends: [b, a]\nuser: \"7:7\"\n",
			"extends: []\nuser: \"7:7\"\nlimits: {timeout: 1s}\nsyscalls: {allow: [read], errno: {EPERM: [write]}}\n", ""},
		{"two levels", "extends: [nested]\n", "", `extends: stock policy "nested" must say extends: []`},
		{"extends not stated", "extends: [silent]\n", "", `extends: stock policy "silent" must say extends: []`},
		{"unknown", "extends: [zzz]\n", "", "no stock policy zzz"},
		{"base is implied", "{}", "", "no stock policy base"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, err := parse([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			got, err := policy.Resolve(in, stock(t, texts), calls)
			if tt.wantErr != "" {
				if err == nil || err.Error() != tt.wantErr {
					t.Fatalf("error = %v, want %s", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want, err := parse([]byte(tt.want))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, equal); diff != "" {
				t.Errorf("resolved (-want +got):\n%s", diff)
			}
		})
	}
}

// TestResolveShares: changing what went in does not change what came out.
func TestResolveShares(t *testing.T) {
	in, err := parse([]byte("extends: []\nenv: {set: {A: b}, pass: [X]}\nlimits: {pids_max: 5, rlimit_nofile: 7}\nfilesystem: {read: [/a]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := policy.Resolve(in, nil, calls)
	if err != nil {
		t.Fatal(err)
	}
	before := string(policy.Canonical(got))
	in.Env.Set["A"] = "changed"
	in.Env.Pass[0] = "CHANGED"
	in.Limits.PidsMax.Value = 9
	in.Limits.Rlimits["nofile"] = policy.Limit[uint64]{Value: 9}
	in.Filesystem.Read[0].Path = "/changed"
	if diff := cmp.Diff(before, string(policy.Canonical(got))); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
}
