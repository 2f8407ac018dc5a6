//go:build cgo

package filter

import (
	"errors"
	"maps"
	"runtime"
	"strings"
	"testing"
)

func TestAgree(t *testing.T) {
	orders := func(wide bool) Ruleset {
		rs := Ruleset{Arch: runtime.GOARCH, Default: enosys, Calls: map[uint32]Call{}}
		for i, op := range []Op{Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual, MaskedEqual} {
			rs.Calls[uint32(i)] = Call{Default: violation, Rules: []Rule{
				{Tests: []Test{{Index: 2, Op: op, Value: 0x50, Mask: 0xf0, Wide: wide}}, Verdict: allow}}}
		}
		return rs
	}
	overlap := Ruleset{Arch: runtime.GOARCH, Calls: map[uint32]Call{9: {Default: allow, Rules: []Rule{
		{Tests: []Test{{Index: 0, Op: MaskedEqual, Mask: 1, Value: 1}, {Index: 1, Op: Equal, Value: 5}}, Verdict: eperm},
		{Tests: []Test{{Index: 0, Op: MaskedEqual, Mask: 2, Value: 2}, {Index: 1, Op: Equal, Value: 6}}, Verdict: eperm},
		{Tests: []Test{{Index: 0, Op: MaskedEqual, Mask: 6, Value: 6}}, Verdict: enosys},
		{Tests: []Test{{Index: 0, Op: Equal, Value: 2}}, Verdict: violation},
	}}}}
	tests := []struct {
		name string
		rs   Ruleset
	}{
		{"service", serviceRules(t, runtime.GOARCH)},
		{"nothing", Ruleset{Arch: runtime.GOARCH}},
		{"32 bits", orders(false)},
		{"64 bits", orders(true)},
		{"overlapping rules", overlap},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Compile(tt.rs)
			if err != nil {
				t.Fatal(err)
			}
			ref, err := Reference(tt.rs)
			if err != nil {
				t.Fatal(err)
			}
			if err := Agree(tt.rs, p.Insns, ref); err != nil {
				t.Errorf("%v\n%s\n%s", err, Dump(p.Insns), Dump(ref))
			}
		})
	}
}

// TestAgreeSees compares a reference with programs of slightly other rules.
func TestAgreeSees(t *testing.T) {
	rs := serviceRules(t, runtime.GOARCH)
	p, err := Compile(rs)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := Reference(rs)
	if err != nil {
		t.Fatal(err)
	}
	change := func(name string, f func(rs *Ruleset)) {
		t.Helper()
		other := serviceRules(t, runtime.GOARCH)
		f(&other)
		q, err := Compile(other)
		if err != nil {
			t.Fatal(err)
		}
		if err := Agree(rs, q.Insns, ref); !errors.Is(err, ErrDisagree) {
			t.Errorf("%s: got %v, want ErrDisagree", name, err)
		}
	}
	if err := Agree(rs, p.Insns, ref); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"read", "ptrace", "clone3", "exit_group"} {
		nr := number(t, runtime.GOARCH, name)
		change(name, func(rs *Ruleset) { rs.Calls[nr] = Call{Default: Verdict{Kind: Errno, Errno: 7}} })
	}
	nr := number(t, runtime.GOARCH, "ioctl")
	change("ioctl value", func(rs *Ruleset) { rs.Calls[nr].Rules[0].Tests[0].Value++ })
	change("ioctl width", func(rs *Ruleset) { rs.Calls[nr].Rules[0].Tests[0].Wide = true })
	change("clone mask", func(rs *Ruleset) { rs.Calls[number(t, runtime.GOARCH, "clone")].Rules[0].Tests[0].Mask = 0x7e000000 })
	change("default", func(rs *Ruleset) { rs.Default = violation })
	change("execve", func(rs *Ruleset) { rs.ExecveVerdict = eperm })
	change("execveat", func(rs *Ruleset) { rs.ExecveatVerdict = eperm })
	change("architecture", func(rs *Ruleset) { rs.Arch = foreignArch() })
}

func TestReferenceRefuses(t *testing.T) {
	if _, err := Reference(Ruleset{Arch: "mips"}); err == nil || !strings.Contains(err.Error(), `architecture "mips"`) {
		t.Errorf("got %v, want an error that names the architecture", err)
	}
	if _, err := Reference(Ruleset{Arch: foreignArch()}); err == nil || !strings.Contains(err.Error(), "native") {
		t.Errorf("got %v, want an error for a foreign architecture", err)
	}
}

// TestLeftToEvaluate: rules that libseccomp cannot be told are held against the
// ruleset's own meaning, and a program that differs is still found out.
func TestLeftToEvaluate(t *testing.T) {
	ordered := Rule{Verdict: allow}
	for i := range uint8(6) {
		ordered.Tests = append(ordered.Tests, Test{Index: i, Op: Less, Value: 0x55555555})
	}
	small := Rule{Verdict: allow, Tests: []Test{{Op: Less, Value: 0xff}, {Index: 1, Op: Less, Value: 0xffff}}}
	many := map[uint32]Call{}
	for nr := range uint32(40) {
		many[nr] = Call{Rules: []Rule{small}}
	}
	last := Verdict{Kind: Errno, Errno: maxErrno}
	for _, tt := range []struct {
		name  string
		calls map[uint32]Call
		left  uint32 // one that is left
	}{
		{"ordered comparisons", map[uint32]Call{1: {Rules: []Rule{ordered}}}, 1},
		{"many calls", many, 39},
		{"errno", map[uint32]Call{1: {Default: last}}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rs := Ruleset{Arch: runtime.GOARCH, Default: last, Calls: tt.calls}
			if !rs.express().left[tt.left] {
				t.Fatalf("call %d is not left", tt.left)
			}
			p, err := Compile(rs)
			if err != nil {
				t.Fatal(err)
			}
			ref, err := Reference(rs)
			if err != nil {
				t.Fatal(err)
			}
			if err := Agree(rs, p.Insns, ref); err != nil {
				t.Error(err)
			}
			other := Ruleset{Arch: runtime.GOARCH, Default: last, Calls: maps.Clone(tt.calls)}
			c := tt.calls[tt.left]
			other.Calls[tt.left] = Call{Rules: c.Rules, Default: Verdict{Kind: Errno, Errno: 1}}
			wrong, err := Compile(other)
			if err != nil {
				t.Fatal(err)
			}
			if err := Agree(rs, wrong.Insns, ref); !errors.Is(err, ErrDisagree) {
				t.Errorf("another default of call %d: %v, want ErrDisagree", tt.left, err)
			}
		})
	}
}

// foreignArch is a known architecture that this machine is not of.
func foreignArch() string {
	if runtime.GOARCH == "amd64" {
		return "arm64"
	}
	return "amd64"
}

func BenchmarkAgree(b *testing.B) {
	rs := serviceRules(b, runtime.GOARCH)
	p, err := Compile(rs)
	if err != nil {
		b.Fatal(err)
	}
	ref, err := Reference(rs)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := Agree(rs, p.Insns, ref); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReference(b *testing.B) {
	rs := serviceRules(b, runtime.GOARCH)
	for b.Loop() {
		if _, err := Reference(rs); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzCompile holds the two compilers and the meaning of a ruleset against
// each other.
func FuzzCompile(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add([]byte("00000217\xff000"), false) // libseccomp took minutes for 3,377 conditions
	f.Add([]byte("a small seed of rules"), true)
	f.Add([]byte{1, 0, 2, 3, 0, 255, 255, 255, 255, 7, 1, 9, 9, 9, 9, 9, 9, 9, 9, 4, 4, 4, 4, 2, 1, 0, 5}, true)
	f.Fuzz(func(t *testing.T, seed []byte, arm bool) {
		rs := rulesFrom(seed, arm)
		p, err := Compile(rs)
		if err != nil {
			t.Fatalf("compile: %v\n%s", err, Describe(rs))
		}
		agreesWithEvaluate(t, rs, p)
		if rs.Arch != runtime.GOARCH {
			return // no reference; see Reference
		}
		ref, err := Reference(rs)
		if err != nil {
			t.Fatalf("reference: %v\n%s", err, Describe(rs))
		}
		if err := Agree(rs, p.Insns, ref); err != nil {
			t.Fatalf("%v\n%s", err, Describe(rs))
		}
	})
}

// rulesFrom reads a legal ruleset out of any bytes.
func rulesFrom(seed []byte, arm bool) Ruleset {
	next := func() uint64 {
		if len(seed) == 0 {
			return 0
		}
		b := seed[0]
		seed = seed[1:]
		return uint64(b)
	}
	verdict := func() Verdict {
		return []Verdict{violation, allow, enosys, eperm, kill, {Kind: Errno, Errno: maxErrno}}[next()%6]
	}
	rs := Ruleset{Arch: runtime.GOARCH, Calls: map[uint32]Call{}, Default: verdict()}
	if arm {
		rs.Arch = "arm64"
	}
	if next()%2 == 1 {
		rs.ExecOnce, rs.ExecveVerdict = true, enosys
	}
	for len(seed) > 0 {
		nr := uint32(next() | next()%4<<8)
		c := Call{Default: verdict()}
		for range next() % 4 {
			r := Rule{Verdict: verdict()}
			for range next() % 4 {
				shape := next()
				t := Test{Index: uint8(next() % 6), Op: Op(shape%7 + 1), Wide: shape&0x80 != 0}
				t.Value = next() | next()<<8
				if shape&0x40 != 0 {
					t.Value <<= 16
				}
				if t.Wide && shape&0x20 != 0 {
					t.Value |= t.Value << 32
				}
				if t.Op == MaskedEqual {
					t.Mask = t.Value | next()<<4
				}
				r.Tests = append(r.Tests, t)
			}
			c.Rules = append(c.Rules, r)
		}
		rs.Calls[nr] = c
	}
	return rs
}
