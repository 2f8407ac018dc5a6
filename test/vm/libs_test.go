package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListedLibs(t *testing.T) {
	out := "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibjq.so.1 => /lib/x86_64-linux-gnu/libjq.so.1 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n"
	want := []string{"/lib/x86_64-linux-gnu/libjq.so.1", "/lib64/ld-linux-x86-64.so.2"}
	if diff := cmp.Diff(want, listedLibs(out)); diff != "" {
		t.Errorf("libraries (-want +got):\n%s", diff)
	}
}

func TestInterpreterOfScript(t *testing.T) {
	for name, text := range map[string]string{"script": "#!/bin/sh\n", "empty": ""} {
		p := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := interpreter(p); !errors.Is(err, errNotELF) {
			t.Errorf("%s: got %v, want errNotELF", name, err)
		}
		a := &archive{}
		if err := a.addExtra(extraFile{p, "/vm/x"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The test's own shell is a dynamic program on every host that the tests run on.
func TestLibsOfDynamicProgram(t *testing.T) {
	loader, err := interpreter("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if loader == "" {
		t.Skip("the shell of this host is static")
	}
	a := &archive{}
	if err := a.addExtra(extraFile{"/bin/sh", "/bin/sh"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/usr/bin/sh", place(loader)} {
		if e, ok := a.entries[want]; !ok || !e.mode.IsRegular() {
			t.Errorf("%s: not in %v", want, a.names())
		}
	}
	if len(a.entries) < 5 {
		t.Errorf("got %v, want libraries too", a.names())
	}
}
