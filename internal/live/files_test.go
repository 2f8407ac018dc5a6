package live

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry/chain"
)

// TestRootLinkSwapped: the registry is a symbolic link, as a deployment makes
// one, and the link is swapped: another directory with a state of its own.
func TestRootLinkSwapped(t *testing.T) {
	f := newFixture(t)
	f.must(os.Remove(f.dir()))
	for _, dir := range []string{"v1", "v2"} {
		f.must(os.Mkdir(f.base+"/"+dir, 0o755))
		f.must(os.WriteFile(f.base+"/"+dir+"/only-"+dir+".yaml", []byte(manifest("only-"+dir, "1.0.0", "")), 0o644))
	}
	f.must(os.WriteFile(f.base+"/v1/tool.yaml", []byte(manifest("tool", "2.0.0", "")), 0o644))
	// Older than v1's, which is no conflict: it is another registry.
	f.must(os.WriteFile(f.base+"/v2/tool.yaml", []byte(manifest("tool", "1.0.0", "")), 0o644))
	swap := func(to string) {
		f.must(os.Symlink(to, f.base+"/next"))
		f.must(os.Rename(f.base+"/next", f.dir()))
	}
	swap("v1")
	f.start()
	f.version("tool", "2.0.0")
	f.version("only-v1", "1.0.0")
	swap("v2")
	f.version("tool", "1.0.0")
	f.version("only-v2", "1.0.0")
	f.version("only-v1", "")
	f.put("tool", manifest("tool", "1.1.0", "")) // it is the new one that is watched
	f.version("tool", "1.1.0")
	swap("v1")
	f.version("tool", "2.0.0")
	f.version("only-v1", "1.0.0")
	f.version("only-v2", "")
	if text, err := os.ReadFile(f.base + "/v2/tool.yaml"); err != nil || !strings.Contains(string(text), "1.1.0") {
		t.Errorf("%s, %v", text, err)
	}
}

// TestOverflowThroughToForce: the kernel drops events while nobody takes them;
// what changed among those is in force soon after, long before any timer.
func TestOverflowThroughToForce(t *testing.T) {
	f := newFixture(t)
	t.Setenv("SBX_STATE", f.base+"/state")
	t.Setenv("HOME", f.base)
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	f.must(err)
	queued, err := strconv.Atoi(strings.TrimSpace(string(text)))
	f.must(err)
	if queued > 1<<18 {
		t.Skipf("fs.inotify.max_queued_events is %d: filling it takes too long", queued)
	}
	f.put("a", manifest("a", "1.0.0", ""))
	f.put("b", manifest("b", "1.0.0", ""))
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.Stderr = append(os.Environ(), childEnv+"="+f.dir()), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	f.must(cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	place, err := loader.OpenPlace(f.dir())
	f.must(err)
	durable := func(name, want string) {
		t.Helper()
		got := ""
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			ch, err := chain.Open(f.base+"/state/"+place.Key, chain.ReadOnly)
			if err != nil {
				continue // not yet
			}
			snap, _, err := ch.Newest()
			ch.Close()
			if err == nil {
				r, _ := snap.Commands[name].Current()
				if got = r.Version; got == want {
					return
				}
			}
		}
		t.Fatalf("%s: durable is %q, want %q", name, got, want)
	}
	durable("a", "1.0.0")
	f.put("a", manifest("a", "1.1.0", "")) // it watches
	durable("a", "1.1.0")
	f.must(cmd.Process.Signal(unix.SIGSTOP))
	// Equal events that follow each other are one (inotify(7)): two in turn.
	for range (queued + 8192) / 2 {
		f.must(os.Chmod(f.dir()+"/a.yaml", 0o600))
		f.must(os.Chmod(f.dir()+"/b.yaml", 0o600))
	}
	f.put("a", manifest("a", "2.0.0", ""))
	f.put("deep.down.new", manifest("deep.down.new", "1.0.0", ""))
	f.must(os.Remove(f.dir() + "/b.yaml"))
	f.must(cmd.Process.Signal(unix.SIGCONT))
	durable("a", "2.0.0")
	durable("deep.down.new", "1.0.0")
	durable("b", "")
	f.put("deep.down.new", manifest("deep.down.new", "1.1.0", "")) // and it goes on watching
	durable("deep.down.new", "1.1.0")
}

// TestFourFilesApart: the files of a signed bundle arrive 50 ms apart, in
// several orders. Nothing is in force but the whole old one and the whole new
// one.
func TestFourFilesApart(t *testing.T) {
	f := newFixture(t)
	ops := f.signer()
	f.publishers(true, ops.public(), nil, nil)
	files := func(version string) map[string]string {
		m := fmt.Sprintf("apiVersion: sbx/v1\nname: tool\nversion: %s\nexec: {path: bin/tool, args: passthrough}\n", version)
		all := map[string]string{"bundle.yaml": m, "bin/tool": "#!/bin/sh\necho " + version + "\n", "data": version}
		dir := t.TempDir()
		for name, text := range all {
			f.must(os.MkdirAll(filepath.Dir(dir+"/tool/"+name), 0o755))
			f.must(os.WriteFile(dir+"/tool/"+name, []byte(text), 0o755))
		}
		place, err := loader.OpenPlace(dir)
		f.must(err)
		raw, err := place.Read("tool")
		f.must(err)
		sig, err := ops.key.Sign("tool", raw.Digest, "name:tool", time.Unix(1_700_000_000, 0))
		f.must(err)
		all["bundle.sig"] = string(sig)
		return all
	}
	put := func(name, text string) {
		path := f.dir() + "/tool/" + name
		f.must(os.MkdirAll(filepath.Dir(path), 0o755))
		f.must(os.WriteFile(f.base+"/file", []byte(text), 0o755))
		f.must(os.Rename(f.base+"/file", path))
	}
	for name, text := range files("1.0.0") {
		put(name, text)
	}
	f.start()
	f.version("tool", "1.0.0")
	was := "1.0.0"
	for i, order := range [][]string{
		{"bundle.yaml", "bin/tool", "data", "bundle.sig"},
		{"bundle.sig", "data", "bin/tool", "bundle.yaml"},
		{"data", "bundle.yaml", "bundle.sig", "bin/tool"},
		{"bin/tool", "bundle.sig", "bundle.yaml", "data"},
	} {
		next := fmt.Sprintf("2.%d.0", i)
		all := files(next)
		for _, name := range order[:3] {
			put(name, all[name])
			for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
				e, _ := f.set.Get("tool")
				if r, _ := e.Command.Current(); r.Version != was {
					t.Fatalf("order %d: %s is in force before all of it is there", i, r.Version)
				}
			}
		}
		put(order[3], all[order[3]])
		f.version("tool", next)
		was = next
	}
	if n := f.count(loader.Replaced, "tool"); n != 4 {
		t.Errorf("%d replacements, want 4", n)
	}
}
