package plan

import (
	"bytes"
	"errors"
	"hash/crc32"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sample() *Plan {
	return &Plan{
		Build: "b1", BootID: "boot", Command: "db.backup", Version: "2.4.1", Revision: "sha256:00", Generation: 7, Refusal: "quarantined: x", Counts: true, Journal: true, AllowUsers: []string{"ann"}, AllowGroups: []string{"ops", "1"},
		Key: "registry-1-2", Registries: []string{"/etc/sbx/registry", "/home/u/.config/sbx/registry"},
		Stamps: []Stamp{{Path: "/etc/x", Dev: 1, Ino: 2, Size: 3, MtimeNs: -4, CtimeNs: 5}, {Path: "/absent", Absent: true}, {Path: "/d", Passage: true, Mode: 0o40755, UID: 7}},
		Exec:   Exec{Path: "/usr/bin/jq", Inside: "/usr/bin/jq", Identity: Stamp{Path: "/usr/bin/jq", Ino: 9}},
		Argv:   []string{"jq", ""}, Env: Env{Set: []string{"HOME=/tmp"}, Pass: []string{"LC_*"}},
		View:     []Step{{Kind: File, Mode: 0o644, Path: "/etc/passwd", Data: []byte("x\x00\n")}, {Kind: Tree, Flags: Writable | Mapped, Path: "/b", Source: "/a", Dev: 3, Ino: 4}},
		Masks:    []Mask{{Path: "/srv/secret"}, {Path: "/.git", Cwd: true}},
		Declared: true, Summary: "Dump one database",
		Params: []Param{
			{Name: "db", Type: ParamString, Chars: "a-z", Set: [4]uint64{1, 2, 3, 4}, Max: 63, Required: true, Position: 1, Help: "name"},
			{Name: "mode", Type: ParamEnum, List: true, Values: []string{"a", ""}, Default: "a", HasDefault: true},
			{Name: "out", Type: ParamPath, Access: AccessCreate},
			{Name: "token", Type: ParamString, Secret: true},
		},
		Words: []Word{{{Kind: PartText, Text: "--db="}, {Kind: PartParam, Param: 0}}, {{Kind: PartFlag, Text: "-v", Param: 2}}, {{Kind: PartCwd}}},
		Chdir: "/tmp", Hostname: "sandbox", Filter: Filter{Insns: []byte{1, 2, 3, 4, 5, 6, 7, 8}, ExecOnce: []uint16{1, 2, 3, 4, 5, 6}, Denied: []uint32{59}, ByArgs: []uint32{56, 4000}},
		DenyWriteExecute: true, Loopback: true, User: User{Name: "backup", UID: 34, GID: 35}, Capabilities: 1 << 40,
		Host:    Host{IDBase: 1 << 20, OwnerUID: 990, OwnerGID: 991, OwnerName: "sbx", NeedsDaemon: true, Require: []string{"audit"}},
		Limits:  Limits{MemoryMax: 1 << 28, SwapSet: true, PidsMax: 64, CPUQuota: 1, CPUPeriod: 2, CPUWeight: 3, IOMax: []string{"8:0 rbps=1"}, Timeout: time.Minute, OutputMax: 9, Required: []string{"pids_max"}},
		Rlimits: []Rlimit{{4, 0, false}, {7, 9, true}}, Require: []string{"userns"},
	}
}

func TestRoundTrip(t *testing.T) {
	for _, p := range []*Plan{{}, sample()} {
		b, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		q, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(p, q); d != "" {
			t.Error(d)
		}
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	b, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		if _, err := Decode(b[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: got %v, want ErrCorrupt", i, err)
		}
		c := bytes.Clone(b)
		c[i] ^= 0x40
		if _, err := Decode(c); err == nil {
			t.Fatalf("bit flipped at %d: accepted", i)
		}
	}
	if _, err := Decode(append(bytes.Clone(b), 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("trailing byte: got %v, want ErrCorrupt", err)
	}
}

func TestChecksumIsCastagnoli(t *testing.T) {
	for _, s := range []string{"", "123456789", "sandbox"} {
		if got, want := checksum([]byte(s)), crc32.Checksum([]byte(s), crc32.MakeTable(crc32.Castagnoli)); got != want {
			t.Errorf("checksum(%q) = %#x, want %#x", s, got, want)
		}
	}
}

// FuzzDecode gives the decoder a body with a right checksum, so that the
// fuzzer gets behind it; what decodes must encode to the same bytes.
func FuzzDecode(f *testing.F) {
	b, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[head : len(b)-4])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > MaxSize-head-4 {
			t.Skip("over the bound")
		}
		in := append([]byte(magic), Format, 0, 0, 0)
		in = append(in, byte(len(body)), byte(len(body)>>8), byte(len(body)>>16), byte(len(body)>>24))
		in = append(in, body...)
		c := checksum(body)
		in = append(in, byte(c), byte(c>>8), byte(c>>16), byte(c>>24))
		p, err := Decode(in)
		if err != nil {
			return
		}
		out, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(in, out) {
			t.Fatalf("decoded and encoded differ:\n%x\n%x", in, out)
		}
	})
}
