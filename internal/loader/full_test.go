package loader

import (
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/state"
)

// TestFullDiskKeepsWhatIsInForce: on a state directory without room what is in
// force goes on, nothing new comes in force, and a verdict is not passed over.
func TestFullDiskKeepsWhatIsInForce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		fullDisk(t)
	}()
	<-done
}

func fullDisk(t *testing.T) {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		t.Error(err)
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Error(err)
		return
	}
	s := newShop(t)
	dir := s.base + "/state"
	s.must(os.Mkdir(dir, 0o755))
	s.must(unix.Mount("sbx-test", dir, "tmpfs", 0, "size=2M,mode=755"))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	s.put("tool", "1.0.0")
	good := s.load("tool")
	fill := func() {
		f, err := os.Create(dir + "/fill")
		s.must(err)
		for chunk := 64 << 10; chunk > 0; chunk /= 2 {
			for err = nil; err == nil; {
				_, err = f.Write(make([]byte, chunk))
			}
		}
		s.must(f.Close())
	}
	run := func() (string, error) {
		r, err := provide(s.place, "tool", Options{Registries: []string{s.place.Path}})
		if err != nil {
			return "", err
		}
		if r.Plan == nil {
			return "", r.Err
		}
		return r.Plan.Version, nil
	}
	for what, text := range map[string]string{
		"a new version": "apiVersion: sbx/v1\nname: tool\nversion: 2.0.0\nexec: {path: /bin/sh, args: passthrough}\n",
		"a broken one":  "apiVersion: sbx/v1\nname: tool\nversion: 3.0.0\nexec: {path: /bin/sh, argz: passthrough}\n",
	} {
		fill()
		s.must(os.WriteFile(s.base+"/registry/tool.yaml", []byte(text), 0o644))
		if v, err := run(); err != nil || v != "1.0.0" {
			t.Errorf("%s: %q, %v", what, v, err)
		}
	}
	s.must(os.Remove(dir + "/fill"))
	_, err := state.AppendUrgent(dir, s.place.Key, state.Record{Time: time.Now(), Run: "r", Command: "tool", Revision: good.Revision, Violation: "ptrace"})
	s.must(err)
	fill()
	if v, err := run(); err == nil {
		t.Errorf("%s runs after its violation in probation", v)
	}
	s.must(os.Remove(dir + "/fill"))
	s.put("tool", "2.0.0")
	if v, err := run(); err != nil || v != "2.0.0" {
		t.Errorf("with room again: %q, %v", v, err)
	}
}
