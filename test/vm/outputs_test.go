package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRedirect(t *testing.T) {
	args, out := redirect([]string{
		"-test.v=true", "-test.coverprofile=c.out", "-test.testlogfile=/tmp/log", "-test.outputdir=/pkg", "-test.cpuprofile=", "-test.gocoverdir=cov", "free", "-coverprofile=own",
	}, "/cwd", "/cover")
	want := []string{
		"-test.v=true", "-test.coverprofile=/vm/out/coverprofile", "-test.testlogfile=/vm/out/testlogfile", "-test.outputdir=/vm/out/outputdir", "-test.cpuprofile=", "-test.gocoverdir=/vm/out/gocoverdir", "free", "-coverprofile=own",
	}
	if diff := cmp.Diff(want, args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"coverprofile":          "/pkg/c.out", // go test means: relative to outputdir
		"testlogfile":           "/tmp/log",
		"outputdir/trace.out":   "/pkg/trace.out",
		"gocoverdir/sub/x":      "/cwd/cov/sub/x",
		"gocover/covmeta.1":     "/cover/covmeta.1",
		"cpuprofile":            "",
		"other":                 "",
		"outputdir/../../etc/x": "",
		"/etc/passwd":           "",
		"../x":                  "",
	} {
		if got := out.place(filepath.Clean(name)); got != want {
			t.Errorf("place(%q): got %q, want %q", name, got, want)
		}
	}
}

func TestDeliver(t *testing.T) {
	dir := t.TempDir()
	_, out := redirect([]string{"-test.coverprofile=c.out", "-test.gocoverdir=cov"}, dir, "")
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range []struct{ name, text string }{
		{"coverprofile", "mode: set\n"}, {"gocoverdir/deep/x", "counters"}, {"stray", "unasked"}, {"../../escape", "no"},
	} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.deliver(bytes.NewReader(buf.Bytes())); err != nil {
		t.Fatal(err)
	}
	got := &archive{}
	if err := got.addTree("/", dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/c.out", "/cov", "/cov/deep", "/cov/deep/x"}, got.names()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "c.out")); err != nil || string(b) != "mode: set\n" {
		t.Errorf("c.out: got %q, %v", b, err)
	}
	if err := out.deliver(bytes.NewReader(buf.Bytes()[:515])); err == nil {
		t.Error("half a tar gave no error")
	}
}
