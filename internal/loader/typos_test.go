package loader

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/syscalls"
	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/policy"
)

// typos are words that somebody may have meant word with: a letter twice, one
// left out, two swapped, one of another kind. Those that are words of the list
// themselves are left out.
func typos(word string, list []string) []string {
	valid := map[string]bool{}
	for _, w := range list {
		valid[w] = true
	}
	half := len(word) / 2
	var out []string
	for _, w := range []string{
		word[:half+1] + word[half:], word[:half] + word[half+1:],
		word[:len(word)-2] + word[len(word)-1:] + word[len(word)-2:len(word)-1], word + "q",
	} {
		if w != word && !valid[w] && strings.Trim(w, "@") != "" {
			out = append(out, w)
		}
	}
	return out
}

// TestTypos: a typo in any word of any list of words that a manifest and its
// policy know is refused, with file, line and column of the word and the word
// that was meant. Where several words are equally near, the hint has one of them.
func TestTypos(t *testing.T) {
	var calls []string
	for i, name := range syscalls.Names(syscalls.Arches()[0]) {
		if i%8 == 0 { // each costs a check
			calls = append(calls, name)
		}
	}
	var all []string
	for _, arch := range syscalls.Arches() {
		all = append(all, syscalls.Names(arch)...)
	}
	var rlimits []string
	for _, name := range policy.LimitNames() {
		if strings.HasPrefix(name, "rlimit_") {
			rlimits = append(rlimits, name)
		}
	}
	for _, tt := range []struct {
		what string
		// text is what follows the manifest's first lines, with the word as WORD.
		text string
		list []string
		// words are those of list that are tried; nil: all.
		words []string
	}{
		{what: "key", text: "WORD: x", list: []string{"summary", "requires", "probation", "checks", "on_violation", "revert_budget", "floor", "revision", "allow", "params", "policy"}},
		{what: "policy key", text: "policy: {WORD: {}}", list: []string{"filesystem", "syscalls", "network", "sockets", "limits", "devices", "capabilities", "memory_deny_write_execute", "require", "env", "extends"}},
		{what: "limit", text: "policy: {limits: {WORD: 1}}", list: policy.LimitNames()},
		{what: "optional limit", text: "policy: {limits: {-WORD: 1}}", list: policy.LimitNames(), words: []string{"memory_max", "pids_max"}},
		{what: "rlimit", text: "policy: {limits: {WORD: 1}}", list: policy.LimitNames(), words: rlimits},
		{what: "errno", text: "policy: {syscalls: {errno: {WORD: [quotactl]}}}", list: policy.ErrnoNames()},
		{what: "errno of a rule", text: "policy: {syscalls: {rules: [{names: [ioctl], action: errno, errno: WORD}]}}", list: policy.ErrnoNames()},
		{what: "capability", text: "policy: {capabilities: [WORD]}", list: policy.CapabilityNames()},
		{what: "family", text: "policy: {sockets: [WORD]}", list: policy.FamilyNames()},
		{what: "layer", text: "policy: {require: [WORD]}", list: policy.Layers()},
		{what: "feature", text: "requires: {features: [WORD]}", list: feature.Names()},
		{what: "group that is allowed", text: "policy: {syscalls: {allow: [\"WORD\"]}}", list: syscalls.Groups()},
		{what: "group that is denied", text: "policy: {syscalls: {deny: [\"WORD\"]}}", list: syscalls.Groups()},
		{what: "call that is allowed", text: "policy: {syscalls: {allow: [WORD]}}", list: all, words: calls},
		{what: "call that is denied", text: "policy: {syscalls: {deny: [WORD]}}", list: all, words: calls[:10]},
		{what: "call with an errno", text: "policy: {syscalls: {errno: {EPERM: [WORD]}}}", list: all, words: calls[:10]},
		{what: "call of a rule", text: "policy: {syscalls: {rules: [{names: [WORD], args: [{index: 0, op: eq, value: 1}], action: allow}]}}", list: all, words: calls[:10]},
		{what: "operator", text: "policy: {syscalls: {rules: [{names: [ioctl], args: [{index: 1, op: WORD, value: 1, mask: 1}], action: allow}]}}", list: []string{"eq", "ne", "lt", "le", "gt", "ge", "masked_eq"}},
		{what: "action", text: "policy: {syscalls: {rules: [{names: [ioctl], args: [{index: 1, op: eq, value: 1}], action: WORD}]}}", list: []string{"allow", "errno", "kill"}},
		{what: "default", text: "policy: {syscalls: {default: WORD}}", list: []string{"kill", "errno"}},
		{what: "proc", text: "policy: {filesystem: {proc: WORD}}", list: []string{"subset", "full"}},
		{what: "view", text: "policy: {filesystem: {view: WORD}}", list: []string{"none", "minimal"}},
		{what: "as", text: "policy: {filesystem: {read: [{path: /srv/in, as: WORD}]}}", list: []string{"owner"}},
		{what: "template", text: "policy: {filesystem: {read: [\"{{WORD}}\"]}}", list: []string{"cwd"}},
		{what: "network mode", text: "policy: {network: {mode: WORD}}", list: []string{"none", "loopback", "egress"}},
		{what: "user", text: "policy: {user: WORD}", list: []string{"caller", "dynamic"}},
		{what: "on_violation", text: "on_violation: WORD", list: []string{"kill", "quarantine", "revert"}},
		{what: "parameter type", text: "params: [{name: a, type: WORD}]", list: []string{"string", "int", "float", "bool", "duration", "size", "path", "enum"}},
		{what: "list of a parameter type", text: "params: [{name: a, type: [WORD]}]", list: []string{"string", "int", "float", "bool", "duration", "size", "path", "enum"}},
		{what: "access", text: "params: [{name: a, type: path, access: WORD}]", list: []string{"read", "write", "create"}},
		{what: "default of an enum", text: "params: [{name: a, type: enum, values: [fast, best], default: WORD}]", list: []string{"fast", "best"}},
		{what: "args", list: []string{"declared", "passthrough"}},
		{what: "call that a check expects", text: "checks: [{argv: [a], expect: {violation: WORD}}]", list: all, words: calls[:10]},
	} {
		t.Run(tt.what, func(t *testing.T) {
			path := t.TempDir() + "/tool.yaml"
			words := tt.words
			if words == nil {
				words = tt.list
			}
			for _, right := range words {
				for _, wrong := range typos(right, tt.list) {
					src := "apiVersion: sbx/v1\nname: tool\nversion: 1.0.0\nexec: {path: /bin/sh, args: declared}\n" + tt.text + "\n"
					if tt.text == "" {
						src = "apiVersion: sbx/v1\nname: tool\nversion: 1.0.0\nexec: {path: /bin/sh, args: WORD}\n"
					}
					before, _, _ := strings.Cut(src, "WORD")
					src = strings.Replace(src, "WORD", wrong, 1)
					if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
						t.Fatal(err)
					}
					_, err := Check(path)
					var e *yamlnode.Error
					if !errors.As(err, &e) {
						t.Errorf("%s for %s: %v", wrong, right, err)
						continue
					}
					line, column := strings.Count(before, "\n")+1, len(before)-strings.LastIndexByte(before, '\n')
					// A quoted word's place is that of its quote, an optional limit's
					// that of its dash, and a template's that of its braces.
					if d := column - e.Pos.Col; e.File != path || e.Pos.Line != line || d < 0 || d > 3 || d > 0 && !strings.ContainsAny(before[len(before)-1:], "\"-{") {
						t.Errorf("%s for %s: at %d:%d: %v", wrong, right, line, column, err)
					}
					_, hint, _ := strings.Cut(yamlnode.Format(err, path, []byte(src)), "hint: ")
					near := policy.Nearest(wrong, tt.list)
					if !strings.Contains(hint, right) && (near == "" || near == right || !strings.Contains(hint, near)) {
						t.Errorf("%s for %s: no hint:\n%v\nhint: %s", wrong, right, err, hint)
					}
				}
			}
		})
	}
}
