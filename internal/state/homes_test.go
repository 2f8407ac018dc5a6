package state

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestPasswdHome(t *testing.T) {
	file := t.TempDir() + "/passwd"
	text := "root:x:0:0:root:/root:/bin/sh\nbad:x:7\nu:x:1000:1000:a,b:/home/u:/bin/sh\nsecond:x:1000:1000::/home/second:/bin/sh\nlast:x:1001:1:::"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[int]string{0: "/root", 1000: "/home/u", 7: "", 1001: "", 5: ""} {
		if got := passwdHome(file, uid); got != want {
			t.Errorf("passwdHome(%d) = %q, want %q", uid, got, want)
		}
	}
	if got := passwdHome(file+".none", 0); got != "" {
		t.Errorf("no file: %q", got)
	}
}

func TestDefaults(t *testing.T) {
	t.Setenv("HOME", "/h/")
	t.Setenv("SBX_STATE", "/s")
	t.Setenv("XDG_STATE_HOME", "/x")
	got := Defaults()
	for _, want := range []string{"/var/lib/sbx", "/s", "/x/sbx", "/h/.local/state/sbx"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	t.Setenv("SBX_STATE", "relative")
	t.Setenv("HOME", "relative")
	for _, d := range Defaults() {
		if !strings.HasPrefix(d, "/") {
			t.Errorf("relative: %q", d)
		}
	}
}
