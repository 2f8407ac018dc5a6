package main

import (
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseOptions(t *testing.T) {
	env := map[string]string{"HOME": "/home/x", "VM_KERNEL": "6.1", "VM_FILES": "/a=/b,/c", "VM_COLD": "1", "VM_SYSTEMD": "1"}
	getenv := func(name string) string { return env[name] }
	o, err := parseOptions([]string{"-mem", "512", "prog", "-v", "-test.timeout=2m0s"}, getenv, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := options{
		kernel: "6.1", cache: "/home/x/.cache/sbx-vm", accel: "auto", systemd: true, cold: true,
		files:  []extraFile{{"/a", "/b"}, {"/c", "/c"}},
		memory: 512, scratch: defaultScratch, timeout: 3 * time.Minute,
		args: []string{"prog", "-v", "-test.timeout=2m0s"},
	}
	if diff := cmp.Diff(want, o, cmp.AllowUnexported(options{}, extraFile{})); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
	o, err = parseOptions([]string{"-files", "/d=/e,/f", "-files", "/g", "prog"}, getenv, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]extraFile{{"/d", "/e"}, {"/f", "/f"}, {"/g", "/g"}}, o.files, cmp.AllowUnexported(extraFile{})); diff != "" {
		t.Errorf("files given twice, in place of the environment's (-want +got):\n%s", diff)
	}
	for name, args := range map[string][]string{
		"no program":     {"-v"},
		"unknown flag":   {"-nonesuch", "prog"},
		"little memory":  {"-mem", "1", "prog"},
		"relative place": {"-files", "/a=b", "prog"},
	} {
		if _, err := parseOptions(args, getenv, io.Discard); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDefaultCache(t *testing.T) {
	env := map[string]string{"XDG_CACHE_HOME": "/c", "HOME": "/h"}
	if got, want := defaultCache(func(n string) string { return env[n] }), "/c/sbx-vm"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHasVirtualisation(t *testing.T) {
	for _, tt := range []struct {
		name, cpuinfo string
		want          bool
	}{
		{"intel", "model name\t: x\nflags\t\t: fpu vmx sse\n", true},
		{"amd", "flags\t\t: fpu svm\n", true},
		{"none", "flags\t\t: fpu hypervisor\nvmx flags\t: x\n", false},
		{"part of a word", "flags\t\t: svmlock\nmodel name\t: vmx\n", false},
	} {
		if got := hasVirtualisation(tt.cpuinfo); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestGuestEnv(t *testing.T) {
	got := guestEnv([]string{"SBX_A=1=2", "SBX_VM=0", "PATH=/evil", "GODEBUG=x=1", "SBXY=1"})
	want := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TMPDIR=/tmp", "USER=root", "LANG=C.UTF-8",
		"GOCOVERDIR=/vm/out/gocover", "SBX_VM=1", "SBX_A=1=2", "GODEBUG=x=1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}
