package agree_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// ordinary is the uid and gid of the ordinary user, who owns the trees.
const ordinary = 1000

// newName is the name of every file that the probe may make.
const newName = "agree-new"

// tree is what the policies show parts of. Group and others have the same
// rights everywhere, so that groups do not matter.
type tree struct{ base string }

func (t *tree) path(name string) string { return filepath.Join(t.base, name) }

// newTree makes it below a directory that everybody may enter.
func newTree(t *testing.T, owner int) *tree {
	t.Helper()
	dir := t.TempDir()
	// t.TempDir makes its parent for the caller alone.
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	tr := &tree{dir}
	probe, err := os.ReadFile(bin + "/probe")
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("some text\n")
	var made []string
	add := func(name string, mode os.FileMode, data []byte) {
		p := tr.path(name)
		if data == nil {
			err = os.Mkdir(p, 0o700)
		} else {
			err = os.WriteFile(p, data, 0o600)
		}
		if err = errors.Join(err, os.Chmod(p, mode)); err != nil {
			t.Fatal(err)
		}
		made = append(made, p)
	}
	fill := func(dir string) {
		add(dir, 0o755, nil)
		add(dir+"/pub", 0o644, text)
		add(dir+"/priv", 0o600, text)
		add(dir+"/open", 0o666, text)
		add(dir+"/exe", 0o755, probe)
		add(dir+"/mine", 0o700, probe)
		add(dir+"/closed", 0o700, nil)
		add(dir+"/closed/pub", 0o644, text)
		add(dir+"/dir", 0o755, nil)
		add(dir+"/dir/pub", 0o644, text)
		add(dir+"/shared", 0o777, nil)
	}
	fill("read")
	fill("write")
	fill("cwd")
	add("read/rw", 0o755, nil)
	add("read/rw/open", 0o666, text)
	add("read/sub", 0o755, nil)
	add("read/sub/pub", 0o644, text)
	add("read/dir/deep", 0o755, nil)
	add("read/dir/deep/pub", 0o644, text)
	add("read/dir/deep/rw", 0o755, nil)
	add("read/dir/deep/rw/pub", 0o644, text)
	add("write/ro", 0o755, nil)
	add("write/ro/open", 0o666, text)
	add("exec", 0o755, nil)
	add("exec/prog", 0o755, probe)
	add("exec/data", 0o644, text)
	add("exec/plugins", 0o755, nil)
	add("exec/plugins/text", 0o644, text)
	add("lone", 0o644, text)
	add("lonerw", 0o666, text)
	add("outside", 0o755, nil)
	add("outside/pub", 0o644, text)
	for name, target := range map[string]string{
		"link": "lone", "read/near": "pub", "read/away": "/etc/passwd", "read/out": "../outside/pub", "read/dangling": "nowhere",
		"read/loop": "loop", "read/dir/up": "../dir/pub", "write/abs": tr.path("read/pub"),
	} {
		if err := os.Symlink(target, tr.path(name)); err != nil {
			t.Fatal(err)
		}
		made = append(made, tr.path(name))
	}
	for _, p := range append(made, dir) {
		if err := unix.Lchown(p, owner, owner); err != nil {
			t.Fatal(&os.PathError{Op: "lchown", Path: p, Err: err})
		}
	}
	return tr
}

// probes are the items about files that every policy is tried with, by path:
// what to do there.
func (t *tree) probes() []pathItem {
	var out []pathItem
	add := func(ops, p string) {
		for _, op := range ops {
			out = append(out, pathItem{byte(op), p})
		}
	}
	_ = filepath.WalkDir(t.base, func(p string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			add("trx", p)
			add("c", p+"/"+newName)
		case d.Type()&os.ModeSymlink != 0:
			add("rt", p)
		default:
			add("rwtxm", p)
			add("c", p)
		}
		return nil
	})
	add("rtx", t.path("absent"))
	add("t", t.path("lone/below"))
	add("rtxc", filepath.Dir(t.base))
	for _, p := range []string{"/", "/usr", "/usr/bin", "/usr/share", "/etc", "/tmp", "/dev", "/dev/shm", "/dev/pts", "/agree/scratch", "/agree", "/root", "/home", "/var", "/sys", "/boot", "/run", "/mnt", "/sbx", "/sbx/bin"} {
		add("trx", p)
		add("c", p+"/"+newName)
	}
	for _, p := range []string{
		"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/nsswitch.conf", "/etc/hosts", "/etc/hostname", "/etc/machine-id",
		"/usr/bin/env", "/bin/sh", "/usr/bin/dash", "/sbx/bin/probe", "/usr/share/common-licenses", bin + "/sbx",
	} {
		add("rwtxm", p)
	}
	for _, p := range []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/kmsg", "/dev/mem", "/dev/fuse", "/dev/vda", "/dev/console"} {
		add("rwtx", p)
	}
	for _, p := range []string{
		"/proc", "/proc/self/status", "/proc/1/status", "/proc/cpuinfo", "/proc/meminfo", "/proc/kcore", "/proc/keys", "/proc/cmdline",
		"/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus",
	} {
		add("rwt", p)
	}
	return out
}

// pathItem is one attempt at a path.
type pathItem struct {
	op   byte
	path string
}

func (p pathItem) item() string { return string(p.op) + p.path }
