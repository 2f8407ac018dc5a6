package engine

import (
	"reflect"
	"testing"

	"github.com/sbx-project/sbx/policy"
)

// someRules is an input with a value in every field that a policy can set.
func someRules() rulesetInput {
	name := func(s string) []policy.Name { return []policy.Name{{Text: s, Pos: policy.Pos{Line: 3, Col: 4}}} }
	return rulesetInput{
		arch: "amd64", families: []uint32{2},
		syscalls: policy.Syscalls{
			Allow: name("@system-service"), Deny: name("@mount"), Errno: map[string][]policy.Name{"EPERM": name("quotactl"), "ENOSYS": name("acct")},
			Rules: []policy.Rule{{
				Names: name("ioctl"), Args: []policy.Arg{{Index: 1, Op: "eq", Value: 0x5401}}, Action: "allow", Pos: policy.Pos{Line: 9},
			}},
		},
	}
}

// TestFilterKey: whatever decides what a filter lets pass is in its key, and
// where that was written is not.
func TestFilterKey(t *testing.T) {
	want := someRules().key()
	elsewhere := someRules()
	elsewhere.syscalls.Allow[0].Pos, elsewhere.syscalls.Rules[0].Pos = policy.Pos{Line: 70}, policy.Pos{}
	elsewhere.syscalls.Rules[0].Names[0].Pos, elsewhere.syscalls.Errno["EPERM"][0].Pos = policy.Pos{}, policy.Pos{Col: 1}
	if elsewhere.key() != want {
		t.Error("the key depends on where a call is written")
	}
	if got := someRules().syscalls.Allow[0].Pos; got.Line != 3 {
		t.Errorf("the key has changed what it was made of: %v", got)
	}
	seen := map[[32]byte]string{want: "unchanged"}
	for what, change := range map[string]func(*rulesetInput){
		"arch": func(in *rulesetInput) { in.arch = "arm64" }, "families": func(in *rulesetInput) { in.families = []uint32{2, 10} },
		"no families": func(in *rulesetInput) { in.families = nil }, "execOnce": func(in *rulesetInput) { in.execOnce = true },
		"denyWX": func(in *rulesetInput) { in.denyWX = true }, "mdwe": func(in *rulesetInput) { in.mdwe = true },
		"allow": func(in *rulesetInput) { in.syscalls.Allow[0].Text = "read" },
		"split": func(in *rulesetInput) { in.syscalls.Allow = append(in.syscalls.Allow, policy.Name{}) },
		"deny":  func(in *rulesetInput) { in.syscalls.Deny = nil },
		"errno": func(in *rulesetInput) {
			in.syscalls.Errno["EPERM"], in.syscalls.Errno["ENOSYS"] = in.syscalls.Errno["ENOSYS"], in.syscalls.Errno["EPERM"]
		},
		"index":   func(in *rulesetInput) { in.syscalls.Rules[0].Args[0].Index = 2 },
		"op":      func(in *rulesetInput) { in.syscalls.Rules[0].Args[0].Op = "ne" },
		"value":   func(in *rulesetInput) { in.syscalls.Rules[0].Args[0].Value = 1 },
		"mask":    func(in *rulesetInput) { in.syscalls.Rules[0].Args[0].Mask = 1 },
		"action":  func(in *rulesetInput) { in.syscalls.Rules[0].Action = "kill" },
		"errnoOf": func(in *rulesetInput) { in.syscalls.Rules[0].Errno = "EIO" },
		"default": func(in *rulesetInput) { in.syscalls.Default = "errno" },
	} {
		in := someRules()
		change(&in)
		if other, ok := seen[in.key()]; ok {
			t.Errorf("%s and %s have one key", what, other)
		}
		seen[in.key()] = what
	}
}

// TestFilterKeyHasNoAddress: a pointer would be written as its address, by
// which equal inputs differ and, once memory is used again, others are equal.
func TestFilterKeyHasNoAddress(t *testing.T) {
	var look func(at string, of reflect.Type)
	look = func(at string, of reflect.Type) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer:
			t.Errorf("%s is a %s", at, of.Kind())
		case reflect.Slice, reflect.Array:
			look(at+"[]", of.Elem())
		case reflect.Map:
			look(at+" key", of.Key())
			look(at+"{}", of.Elem())
		case reflect.Struct:
			for i := range of.NumField() {
				look(at+"."+of.Field(i).Name, of.Field(i).Type)
			}
		}
	}
	look("rulesetInput", reflect.TypeFor[rulesetInput]())
}

// TestFiltersRemember: a filter that was remembered is the one that would be
// compiled, and that a policy is in error is told each time.
func TestFiltersRemember(t *testing.T) {
	var f Filters
	first, err := f.program(someRules())
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.program(someRules())
	if err != nil {
		t.Fatal(err)
	}
	if &first.Insns[0] != &again.Insns[0] {
		t.Error("the filter was compiled twice")
	}
	other := someRules()
	other.syscalls.Deny = []policy.Name{{Text: "@mount"}, {Text: "getpid"}}
	third, err := f.program(other)
	if err != nil {
		t.Fatal(err)
	}
	if reflect.DeepEqual(first.Insns, third.Insns) {
		t.Error("another ruleset gave the same filter")
	}
	bad := someRules()
	bad.syscalls.Deny = []policy.Name{{Text: "no_such_call"}}
	for range 2 {
		if _, err := f.program(bad); err == nil {
			t.Fatal("an unknown call is accepted")
		}
	}
}

func BenchmarkFilterKey(b *testing.B) {
	in := someRules()
	for range 60 {
		in.syscalls.Deny = append(in.syscalls.Deny, policy.Name{Text: "quotactl"})
	}
	b.ReportAllocs()
	for b.Loop() {
		in.key()
	}
}
