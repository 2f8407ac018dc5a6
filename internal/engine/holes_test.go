package engine

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
)

// TestHoles: what a run could replace in a writable tree is refused, on real
// trees, and what it cannot passes.
func TestHoles(t *testing.T) {
	dir := tempDir(t)
	write(t, dir+"/rw/a/sub/f", "f", 0o644)
	write(t, dir+"/rw/a/secret", "s", 0o644)
	write(t, dir+"/rw/a/plug/p", "p", 0o644)
	write(t, dir+"/rw/top", "t", 0o644)
	write(t, dir+"/rw/ro/in/f", "f", 0o644)
	write(t, dir+"/else/f", "f", 0o644)
	write(t, dir+"/rw/a/bin/cat", readAll(t, "/usr/bin/cat"), 0o755)
	write(t, dir+"/rw/cat", readAll(t, "/usr/bin/cat"), 0o755)
	for link, target := range map[string]string{
		"/rw/link": dir + "/else", "/rw/file": "top", "/via": dir + "/rw/link", "/rel": "rw/link/f", "/top": dir + "/rw/top", "/out": dir + "/rw",
		"/rw/back": "cat",
	} {
		if err := os.Symlink(target, dir+link); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, policy, path string
		want               string // part of the refusal; empty: none
		hint               string
		pos                string
	}{
		{name: "read as a direct child", policy: `filesystem: {write: [DIR/rw], read: [DIR/rw/a]}`},
		{name: "file as a direct child", policy: `filesystem: {write: [DIR/rw], read: [DIR/rw/top]}`},
		{name: "mask of a direct child", policy: `filesystem: {write: [DIR/rw], mask: [DIR/rw/a, DIR/rw/top]}`},
		{name: "mask of an absent direct child", policy: `filesystem: {write: [DIR/rw], mask: [DIR/rw/none]}`},
		{name: "tmpfs on a direct child", policy: `filesystem: {write: [DIR/rw], tmpfs: [{path: DIR/rw/a, size: 64K, files: 9}]}`},
		{name: "mask in a read-only hole", policy: `filesystem: {write: [DIR/rw], read: [DIR/rw/a], mask: [DIR/rw/a/secret]}`},
		{name: "mask of a read-only hole", policy: `filesystem: {write: [DIR/rw], read: [DIR/rw/a], mask: [DIR/rw/a]}`},
		{name: "writable tree in a read-only one", policy: `filesystem: {write: [DIR/rw/a/sub], read: [DIR/rw], mask: [DIR/rw/a/secret]}`},
		{name: "writable tree in a hole", policy: `filesystem: {write: [DIR/rw, DIR/rw/ro/in], read: [DIR/rw/ro]}`},
		{name: "code over the tree itself", policy: `filesystem: {write: [DIR/rw/a/plug], exec: [DIR/rw/a/plug]}`},
		{name: "program as a direct child", policy: `filesystem: {write: [DIR/rw]}`, path: dir + "/rw/cat"},
		{name: "nothing writable", policy: `filesystem: {read: [DIR/rw], mask: [DIR/rw/a/secret], exec: [DIR/rw/a/plug]}`},

		{name: "deep read", policy: "filesystem:\n  write: [DIR/rw]\n  read: [DIR/rw/a/sub]", want: `"DIR/rw/a/sub" lies deeper in the writable tree "DIR/rw"`, hint: "move it to DIR/rw/sub", pos: "3:10"},
		{name: "deep mask", policy: "filesystem:\n  write: [DIR/rw]\n  mask: [DIR/rw/a/secret]", want: `filesystem.mask: "DIR/rw/a/secret" lies deeper`, pos: "3:10"},
		{name: "deep mask that is absent", policy: `filesystem: {write: [DIR/rw], mask: [DIR/rw/none/secret]}`, want: `filesystem.mask: "DIR/rw/none/secret" does not exist in the writable tree`},
		{name: "deep tmpfs", policy: "filesystem:\n  write: [DIR/rw]\n  tmpfs: [{path: DIR/rw/a/sub, size: 64K, files: 9}]", want: `"DIR/rw/a/sub" lies deeper`, pos: "3:11"},
		{name: "deep plug-ins", policy: "filesystem:\n  write: [DIR/rw]\n  exec: [DIR/rw/a/plug]", want: `"DIR/rw/a/plug" lies deeper`, pos: "3:10"},
		{name: "deep program", policy: `filesystem: {write: [DIR/rw]}`, path: dir + "/rw/a/bin/cat", want: `"DIR/rw/a/bin/cat" lies deeper`},
		{name: "deep in a tree of another name", policy: `filesystem: {write: [DIR/out], mask: [DIR/rw/a/secret]}`, want: `"DIR/out/a/secret" lies deeper in the writable tree "DIR/out"`},
		{name: "deep write in a hole's hole", policy: `filesystem: {write: [DIR/rw], read: [DIR/rw/ro, DIR/rw/a/sub]}`, want: `"DIR/rw/a/sub" lies deeper`},
		{name: "read of a link", policy: `filesystem: {write: [DIR/rw], read: [DIR/rw/link]}`, want: `symbolic link in the tree "DIR/rw"`, hint: "name DIR/else"},
		{name: "mask of a link", policy: `filesystem: {write: [DIR/rw], mask: [DIR/rw/file]}`, want: `filesystem.mask: "DIR/rw/file" leads through the symbolic link "DIR/rw/file"`},
		{name: "exec of a link", policy: `filesystem: {write: [DIR/rw], exec: [DIR/rw/link]}`, want: `symbolic link`},
		{name: "read through a link in the tree", policy: `filesystem: {write: [DIR/rw], read: [DIR/via]}`, want: `"DIR/via" leads through the symbolic link "DIR/rw/link"`},
		{name: "read through a relative link", policy: `filesystem: {write: [DIR/rw], read: [DIR/rel]}`, want: `"DIR/rel" leads through the symbolic link "DIR/rw/link"`},
		{name: "write through a link in the tree", policy: `filesystem: {write: [DIR/rw, DIR/via]}`, want: `filesystem.write: "DIR/via" leads through`},
		{name: "part shown elsewhere", policy: `filesystem: {write: [DIR/rw], read: [DIR/top]}`, want: `"DIR/top" shows a part of the writable tree "DIR/rw"`},
		{name: "written part shown elsewhere", policy: `filesystem: {write: [DIR/out, DIR/rw/a]}`, want: `"DIR/rw/a" shows a part of the writable tree "DIR/out"`},
		{name: "write in write", policy: "filesystem:\n  write: [DIR/rw, DIR/rw/a]", want: `"DIR/rw/a" is part of the writable tree "DIR/rw"`, pos: "2:"},
		{name: "optional and absent", policy: `filesystem: {write: [DIR/rw], read: [-DIR/rw/none]}`, want: `filesystem.read: "DIR/rw/none" does not exist in the writable tree`, hint: "make it first"},
		{name: "link to the program", policy: `filesystem: {write: [DIR/rw]}`, path: dir + "/rw/back", want: `the program's name "DIR/rw/back" is a link`},

		{name: "code beside the caller's tree", policy: `filesystem: {write: ["{{cwd}}"], exec: [DIR/rw/a/plug]}`, want: `"DIR/rw/a/plug" may lie below the writable {{cwd}}`},
		{name: "the system's code beside the caller's tree", policy: `filesystem: {write: ["{{cwd}}"], exec: [/usr/bin/env]}`},
		{name: "code beside the caller's tree, read", policy: `filesystem: {read: ["{{cwd}}"], exec: [DIR/rw/a/plug]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.path == "" {
				tt.path = "/usr/bin/cat"
			}
			in, err := Gather(Request{Path: tt.path, Policy: resolved(t, strings.ReplaceAll(tt.policy, "DIR", dir)), Features: everything()})
			if err == nil {
				_, err = Compile(in)
			}
			if tt.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want a refusal", err)
			}
			got := strings.ReplaceAll(e.Error(), dir, "DIR")
			if e.Status != StatusSetup || e.Pos.Line == 0 || !strings.Contains(got, tt.want) ||
				!strings.Contains(strings.ReplaceAll(e.Hint, dir, "DIR"), tt.hint) || !strings.HasPrefix(got, tt.pos) {
				t.Errorf("got %d %s, hint %q\nwant 125 at %q, %s, hint %q", e.Status, got, e.Hint, tt.pos, tt.want, tt.hint)
			}
		})
	}
}

// flagged is a copy of a 64-bit ELF file with further flags on its first
// segment of a type.
func flagged(t *testing.T, from string, typ elf.ProgType, flags elf.ProgFlag) string {
	t.Helper()
	b := []byte(readAll(t, from))
	phoff, n := binary.LittleEndian.Uint64(b[32:]), int(binary.LittleEndian.Uint16(b[56:]))
	for i := range n {
		p := b[int(phoff)+56*i:]
		if elf.ProgType(binary.LittleEndian.Uint32(p)) == typ {
			binary.LittleEndian.PutUint32(p[4:], binary.LittleEndian.Uint32(p[4:])|uint32(flags))
			return string(b)
		}
	}
	t.Fatalf("%s has no %s", from, typ)
	return ""
}

// TestWriteExecutePrograms: memory that is writable and executable from the
// start is refused before the launch.
func TestWriteExecutePrograms(t *testing.T) {
	dir := tempDir(t)
	stack := write(t, dir+"/stack", flagged(t, "/usr/bin/cat", elf.PT_GNU_STACK, elf.PF_X), 0o755)
	load := write(t, dir+"/load", flagged(t, "/usr/bin/cat", elf.PT_LOAD, elf.PF_W|elf.PF_X), 0o755)
	plain := write(t, dir+"/plain", readAll(t, "/usr/bin/cat"), 0o755)
	write(t, dir+"/script", "#!"+stack+"\n", 0o755)
	in, err := Gather(Request{Path: plain, Policy: resolved(t, `{}`), Features: everything()})
	if err != nil {
		t.Fatal(err)
	}
	// A program whose loader has such a stack: the path of its own loader,
	// replaced by one of at most the same length.
	loader := in.Program.Closure.Loader.Path
	short, err := os.MkdirTemp("/tmp", "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	bad := short + "/l"
	if len(bad) > len(loader) {
		t.Fatalf("%q is longer than %q", bad, loader)
	}
	write(t, bad, flagged(t, loader, elf.PT_GNU_STACK, elf.PF_X), 0o755)
	byLoader := write(t, dir+"/loader", strings.ReplaceAll(readAll(t, plain), loader+"\x00", bad+strings.Repeat("\x00", len(loader)-len(bad)+1)), 0o755)

	for _, tt := range []struct {
		name, path, policy, want, hint string
	}{
		{"plain", plain, `{}`, "", ""},
		{"stack", stack, `{}`, "its segment PT_GNU_STACK is writable and executable", "execstack -c " + stack},
		{"segment", load, `{}`, "its segment PT_LOAD 0x0 is", "rebuild it"},
		{"loader", byLoader, `{}`, "cannot execute \"" + bad + "\": its segment PT_GNU_STACK", "execstack -c " + bad},
		{"interpreter", dir + "/script", `{}`, "its segment PT_GNU_STACK", "execstack -c " + stack},
		{"entry of exec", plain, "filesystem:\n  exec: [" + stack + "]", "2:10: cannot execute", "execstack -c " + stack},
		{"not asked for", stack, `memory_deny_write_execute: false`, "", ""},
		{"not asked for, segment", load, `memory_deny_write_execute: false`, "", ""},
		{"not asked for, entry of exec", plain, "filesystem: {exec: [" + stack + "]}\nmemory_deny_write_execute: false", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, err := Gather(Request{Path: tt.path, Policy: resolved(t, tt.policy), Features: everything()})
			if err == nil {
				_, err = Compile(in)
			}
			if tt.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.Status != StatusRefused || !strings.Contains(e.Error(), tt.want) || !strings.Contains(e.Hint, tt.hint) ||
				!strings.Contains(e.Hint, "memory_deny_write_execute: false") {
				t.Errorf("got %v (%+v), want 126 %q, hint %q", err, e, tt.want, tt.hint)
			}
		})
	}
}
