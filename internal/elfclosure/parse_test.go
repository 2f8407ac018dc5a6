package elfclosure

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fuzzLimit keeps generated inputs small: the headers are what is parsed.
const fuzzLimit = 8 << 10

// elfBytes is a dynamic program of 0x400 bytes: header, three program
// headers, the interpreter at 0x100, the dynamic section at 0x180 and its
// strings at 0x300.
func elfBytes() []byte {
	b := make([]byte, 0x400)
	put := func(at int, v any) {
		var w bytes.Buffer
		if err := binary.Write(&w, binary.LittleEndian, v); err != nil {
			panic(err)
		}
		copy(b[at:], w.Bytes())
	}
	h := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Phoff: 64, Phentsize: 56, Phnum: 3}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	put(0, h)
	put(64, []elf.Prog64{
		{Type: uint32(elf.PT_INTERP), Off: 0x100, Filesz: 0x20},
		{Type: uint32(elf.PT_LOAD), Off: 0, Vaddr: 0x1000, Filesz: 0x400},
		{Type: uint32(elf.PT_DYNAMIC), Off: 0x180, Filesz: 0x100},
	})
	put(0x100, []byte("/lib64/ld.so\x00"))
	put(0x180, []elf.Dyn64{
		{Tag: int64(elf.DT_NEEDED), Val: 1}, {Tag: int64(elf.DT_NEEDED), Val: 6}, {Tag: int64(elf.DT_SONAME), Val: 11},
		{Tag: int64(elf.DT_RPATH), Val: 15}, {Tag: int64(elf.DT_RUNPATH), Val: 18}, {Tag: int64(elf.DT_STRTAB), Val: 0x1300},
	})
	put(0x300, []byte("\x00liba\x00libb\x00me\x00\x00/r\x00/run\x00"))
	return b
}

func TestParse(t *testing.T) {
	want := Image{
		Machine: elf.EM_X86_64, Interp: "/lib64/ld.so", Needed: []string{"liba", "libb"}, Soname: "me",
		RPath: "/r", RunPath: "/run", Dynamic: true, Program: true,
	}
	change := func(at int, v uint64, n int) func([]byte) {
		return func(b []byte) {
			for i := range n {
				b[at+i] = byte(v >> (8 * i))
			}
		}
	}
	for _, tt := range []struct {
		name   string
		change func([]byte)
		err    string // part of it; empty: none
	}{
		{"good", func([]byte) {}, ""},
		{"32 bits", change(4, 1, 1), ErrNotELF.Error()},
		{"big endian", change(5, 2, 1), ErrNotELF.Error()},
		{"core file", change(16, uint64(elf.ET_CORE), 2), ErrNotELF.Error()},
		{"many program headers", change(56, 0xffff, 2), "program headers"},
		{"small program headers", change(54, 8, 2), "program headers"},
		{"program headers beyond the end", change(32, 1<<40, 8), "unexpected EOF"},
		{"program headers wrap", change(32, 1<<64-8, 8), "unexpected EOF"},
		{"huge dynamic section", change(64+2*56+32, 1<<50, 8), "more than 4096"},
		{"dynamic section beyond the end", change(64+2*56+8, 1<<63, 8), "unexpected EOF"},
		{"string table in no segment", change(0x180+5*16+8, 0x9000, 8), "no loaded segment"},
		{"name outside the segment", change(0x180+8, 0x500, 8), "outside its segment"},
		{"interpreter without end", func(b []byte) { copy(b[0x100:], bytes.Repeat([]byte("x"), 0x20)) }, "has no end"},
		{"interpreter beyond the end", change(64+8, 1<<62, 8), "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := elfBytes()
			tt.change(b)
			got, err := Parse(bytes.NewReader(b), int64(len(b)))
			if tt.err == "" {
				if d := cmp.Diff(want, got); d != "" || err != nil {
					t.Errorf("err %v, image (-want +got):\n%s", err, d)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("err = %v, want %q in it", err, tt.err)
			}
		})
	}
}

func TestParseWriteExec(t *testing.T) {
	for _, tt := range []struct {
		name  string
		typ   elf.ProgType
		flags elf.ProgFlag
		want  string
	}{
		{"stack", elf.PT_GNU_STACK, elf.PF_R | elf.PF_W, ""},
		{"executable stack", elf.PT_GNU_STACK, elf.PF_R | elf.PF_W | elf.PF_X, "PT_GNU_STACK"},
		{"executable stack without W", elf.PT_GNU_STACK, elf.PF_X, "PT_GNU_STACK"},
		{"code", elf.PT_LOAD, elf.PF_R | elf.PF_X, ""},
		{"data", elf.PT_LOAD, elf.PF_R | elf.PF_W, ""},
		{"both", elf.PT_LOAD, elf.PF_W | elf.PF_X, "PT_LOAD 0x5000"},
		{"other segment", elf.PT_NOTE, elf.PF_W | elf.PF_X, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := elfBytes()
			b[56] = 4 // program headers
			at := 64 + 3*56
			binary.LittleEndian.PutUint32(b[at:], uint32(tt.typ))
			binary.LittleEndian.PutUint32(b[at+4:], uint32(tt.flags))
			binary.LittleEndian.PutUint64(b[at+16:], 0x5000)
			// The interpreter's name moves out of the way.
			copy(b[0x140:], "/lib64/ld.so\x00")
			binary.LittleEndian.PutUint64(b[64+8:], 0x140)
			got, err := Parse(bytes.NewReader(b), int64(len(b)))
			if err != nil || got.WriteExec != tt.want {
				t.Errorf("WriteExec = %q, %v; want %q", got.WriteExec, err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(elfBytes())
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > fuzzLimit {
			return
		}
		img, err := Parse(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if len(img.Needed) > maxNeeded || len(img.Interp) > maxString {
			t.Errorf("bounds passed: %d needed, interpreter of %d bytes", len(img.Needed), len(img.Interp))
		}
	})
}

func FuzzParseCache(f *testing.F) {
	f.Add(cacheBytes("libx.so.1", "/lib/libx.so.1", 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCache(b)
		if err != nil {
			return
		}
		for name, entries := range c.entries {
			if len(name) > maxString || len(entries) == 0 {
				t.Errorf("entry %q has %d paths", name, len(entries))
			}
		}
	})
}

// cacheBytes is a cache of one entry.
func cacheBytes(name, path string, hwcap uint64) []byte {
	strings := name + "\x00" + path + "\x00"
	b := append([]byte(cacheMagic), make([]byte, cacheHeader-len(cacheMagic))...)
	binary.LittleEndian.PutUint32(b[20:], 1)
	binary.LittleEndian.PutUint32(b[24:], uint32(len(strings)))
	e := make([]byte, cacheEntryN)
	binary.LittleEndian.PutUint32(e[0:], 0x0303)
	binary.LittleEndian.PutUint32(e[4:], cacheHeader+cacheEntryN)
	binary.LittleEndian.PutUint32(e[8:], uint32(cacheHeader+cacheEntryN+len(name)+1))
	binary.LittleEndian.PutUint64(e[16:], hwcap)
	return append(append(b, e...), strings...)
}

func TestParseCache(t *testing.T) {
	good := cacheBytes("libx.so.1", "/lib/libx.so.1", 0)
	for _, tt := range []struct {
		name string
		in   []byte
		ok   bool
	}{
		{"one entry", good, true},
		{"behind the old format", append([]byte("ld.so-1.7.0\x00\x00\x00\x00\x00"), good...), true},
		{"empty", nil, false},
		{"other magic", []byte("glibc-ld.so.cache9.9"), false},
		{"cut in the entries", good[:cacheHeader+4], false},
		{"cut in the strings", good[:len(good)-2], false},
		{"too many entries", func() []byte {
			b := bytes.Clone(good)
			binary.LittleEndian.PutUint32(b[20:], 0xffffffff)
			return b
		}(), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := ParseCache(tt.in)
			if (err == nil) != tt.ok {
				t.Fatalf("err = %v, want ok %v", err, tt.ok)
			}
			if tt.ok && (len(c.lookup("libx.so.1")) != 1 || c.lookup("libx.so.1")[0].path != "/lib/libx.so.1") {
				t.Errorf("lookup = %+v", c.lookup("libx.so.1"))
			}
		})
	}
	if c, _ := ParseCache(cacheBytes("l", "/l", 1<<62)); !c.lookup("l")[0].variant {
		t.Error("an entry with hwcap bits is not a variant")
	}
}
