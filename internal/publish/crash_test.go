package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/sbx-project/sbx/registry"
)

// TestInstallKilled: whoever installs is killed at 60 random moments. Each
// time the registry has the old directory or the new one, whole; a command
// that is installed for the first time is there whole or not at all; and the
// next change clears away what was left.
func TestInstallKilled(t *testing.T) {
	if src := os.Getenv("SBX_TEST_INSTALL"); src != "" {
		for i := 0; ; i++ {
			opt := Options{Publishers: src + "/none", Now: time.Unix(1, 0)}
			for _, path := range []string{fmt.Sprintf("%s/%d", src, i%2), src + "/one.yaml"} {
				if _, err := Install(path, os.Getenv("SBX_TEST_REGISTRY"), opt); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Remove("one", os.Getenv("SBX_TEST_REGISTRY")); err != nil {
				t.Fatal(err)
			}
		}
	}
	b := newBench(t)
	digests := map[string]bool{}
	for _, v := range []string{"0", "1"} {
		files := map[string]string{v + "/bundle.yaml": manifest("g.x", "1.0.0")}
		for i := range 20 {
			files[fmt.Sprintf("%s/d%d/f%d", v, i%3, i)] = v
		}
		write(t, b.src, files)
		raw, err := registry.ReadPath(b.src + "/" + v)
		if err != nil {
			t.Fatal(err)
		}
		digests[raw.Digest] = true
	}
	write(t, b.src, map[string]string{"one.yaml": manifest("one", "1.0.0")})
	b.must(b.src + "/0")
	seen := map[string]bool{}
	within := 60 // milliseconds; a slow machine gets more until it gets somewhere
	for range 60 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestInstallKilled$", "-test.count=1")
		cmd.Env = append(os.Environ(), "SBX_TEST_INSTALL="+b.src, "SBX_TEST_REGISTRY="+b.dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+rand.IntN(within)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		var killed *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &killed) || killed.ExitCode() != -1 {
			t.Fatalf("it ended by itself: %v", err)
		}
		bundle := b.load("g.x")
		if !digests[bundle.Digest] {
			t.Fatalf("%d files that nobody made", len(bundle.Files))
		}
		if seen[bundle.Digest] = true; len(seen) < 2 {
			within += 20
		}
		if _, err := os.Lstat(b.dir + "/one.yaml"); !errors.Is(err, fs.ErrNotExist) {
			b.load("one")
		}
	}
	if len(seen) < 2 {
		t.Errorf("all kills came before the first exchange or after none")
	}
	b.must(b.src + "/0") // and fails when something is left behind
}
