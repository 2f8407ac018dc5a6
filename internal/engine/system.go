package engine

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/policy"
)

// Hostname is the node name inside.
const Hostname = "sandbox"

// The files of the small /etc. Names and numbers stand for the run's own ids
// (1000) and for everything that is not mapped (65534).
const (
	passwd   = "sbx:x:1000:1000:sbx:/tmp:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	group    = "sbx:x:1000:\nnogroup:x:65534:\n"
	nsswitch = "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n"
	hosts    = "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 " + Hostname + "\n"
)

// etc makes the small /etc, unless the policy shows the host's.
func (v *view) etc(mounts []mount) {
	stated := map[string]bool{}
	for _, m := range mounts {
		stated[m.path] = true
	}
	if stated["/etc"] {
		return
	}
	files := []struct{ name, data string }{
		{"/etc/group", group}, {"/etc/nsswitch.conf", nsswitch}, {"/etc/passwd", passwd},
	}
	if v.in.Policy.Network.Mode == "loopback" {
		files = append(files, struct{ name, data string }{"/etc/hosts", hosts})
	}
	v.parents("/etc/passwd")
	for _, f := range files {
		if !stated[f.name] {
			v.step(plan.Step{Kind: plan.File, Path: f.name, Mode: 0o444, Data: []byte(f.data)})
		}
	}
}

// dev makes /dev: the nodes of a minimal view, and those that the policy
// names. It is sealed at the end.
func (v *view) dev(minimal bool) error {
	v.mount(mount{kind: plan.Tmpfs, path: "/dev", mode: 0o755, size: devSize, files: devFiles})
	if minimal {
		for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
			v.step(plan.Step{Kind: plan.Device, Path: "/dev/" + name, Source: "/dev/" + name})
		}
		for _, l := range [][2]string{
			{"/dev/fd", "/proc/self/fd"}, {"/dev/stdin", "/proc/self/fd/0"}, {"/dev/stdout", "/proc/self/fd/1"},
			{"/dev/stderr", "/proc/self/fd/2"}, {"/dev/ptmx", "pts/ptmx"},
		} {
			v.step(plan.Step{Kind: plan.Symlink, Path: l[0], Source: l[1]})
		}
		v.mount(mount{kind: plan.Devpts, path: "/dev/pts"})
	}
	for _, d := range v.in.Policy.Devices {
		switch v.in.Host.fact(d).Kind {
		case CharDevice:
		case Absent:
			return refuse(v.in.place("devices "+d), "", "devices: %q does not exist", d)
		default:
			return refuse(v.in.place("devices "+d), "", "devices: %q is not a character device", d)
		}
		if !within(d, "/dev") || path.Clean(d) != d || strings.Count(d, "/") < 2 {
			return refuse(v.in.place("devices "+d), "", "devices: %q is not a node in /dev", d)
		}
		v.parents(d)
		v.step(plan.Step{Kind: plan.Device, Path: d, Source: d})
	}
	return nil
}

// tmpfs returns the memory file systems: those that the policy states, and
// /tmp and /dev/shm of a minimal view. Their files count as the run's memory,
// so stated sizes must fit into it, and the others are cut to fit: a run that
// fills them should see ENOSPC, not the memory killer.
func (v *view) tmpfs() ([]mount, error) {
	p := &v.in.Policy
	stated := map[string]bool{}
	var out []mount
	var sum uint64
	for _, t := range p.Filesystem.Tmpfs {
		stated[t.Path] = true
		sum += uint64(t.Size)
		// One more: its root is an inode too (tmpfs(5), nr_inodes).
		out = append(out, mount{kind: plan.Tmpfs, path: t.Path, mode: 0o1777, size: uint64(t.Size), files: t.Files + 1, pos: t.Pos})
	}
	var memory uint64
	if m := p.Limits.MemoryMax; m != nil {
		memory = uint64(m.Value)
		if sum > memory {
			return nil, refuse(v.in.place("filesystem.tmpfs"), "raise memory_max or lower the sizes: their files count as memory",
				"filesystem.tmpfs: %d bytes together, memory_max is %d", sum, memory)
		}
	}
	if p.Filesystem.View != "minimal" {
		return out, nil
	}
	size := shmSize
	if memory != 0 {
		size = max(min(size, memory/4), maskSize)
	}
	for _, name := range []string{"/tmp", "/dev/shm"} {
		if !stated[name] {
			out = append(out, mount{kind: plan.Tmpfs, path: name, mode: 0o1777, size: size, files: shmFiles})
		}
	}
	return out, nil
}

// procHidden are the parts of a full /proc that describe or steer the host
// (CONTAINMENT 10). /proc itself is read-only.
var procHidden = []string{
	"/proc/acpi", "/proc/asound", "/proc/bus", "/proc/cmdline", "/proc/config.gz", "/proc/driver", "/proc/fs",
	"/proc/interrupts", "/proc/iomem", "/proc/ioports", "/proc/irq", "/proc/kallsyms",
	"/proc/kcore", "/proc/key-users", "/proc/keys", "/proc/kmsg", "/proc/kpagecgroup", "/proc/kpagecount",
	"/proc/kpageflags", "/proc/latency_stats", "/proc/modules", "/proc/mtrr", "/proc/sched_debug", "/proc/scsi",
	"/proc/slabinfo", "/proc/sysrq-trigger", "/proc/timer_list", "/proc/tty", "/proc/vmallocinfo",
}

// masks hides what the policy names, and of a full /proc what describes the
// host, on top of everything that is shown: a mask wins over whatever shows
// the same file, at each place where it shows. What nothing shows at its own
// path may lie in what a call shows, and is left to the launch. So is, once
// more, every mask beside a tree of the call that a run may write to: that tree
// may lie on what the policy shows, and a run could move the place away, or
// turn a link to it.
func (v *view) masks() error {
	full := v.in.Policy.Filesystem.Proc == "full"
	hidden := map[string]bool{} // value: a directory
	if full {
		for _, p := range procHidden {
			if f := v.in.Host.fact(p); f.Kind != Absent {
				hidden[p] = f.Kind == Directory
			}
		}
	}
	for _, r := range v.in.Policy.Filesystem.Mask {
		if sub, ok := strings.CutPrefix(r.Path, policy.Cwd); ok {
			if err := v.lateCwd(sub, r.Pos); err != nil {
				return err
			}
			continue
		}
		f := v.in.Host.fact(r.Path)
		dir := f.Kind == Directory
		if within(r.Path, "/proc") {
			// With subset=pid the host's files are not there, and what is
			// there belongs to the run.
			if full && f.Kind != Absent {
				hidden[r.Path] = dir
			}
			continue
		}
		var places []string
		if f.Kind != Absent { // what the host lacks is in no tree of it
			places = v.places(f.Real)
		}
		if f.Kind == Absent || !slices.Contains(places, f.Real) || v.callWrites() {
			v.mayShow(plan.Mask{Path: r.Path})
		}
		for _, p := range places {
			if within(v.inside, p) || v.script != "" && within(v.script, p) {
				return refuse(r.Pos, "", "filesystem.mask: %q hides the program", r.Path)
			}
			if err := v.held(p, r.Pos, "filesystem.mask"); err != nil {
				return err
			}
			hidden[p] = dir && !v.isFile(p)
		}
	}
	covered := ""
	for _, p := range slices.SortedFunc(maps.Keys(hidden), byPath) {
		if covered != "" && within(p, covered) {
			continue
		}
		v.hide(p, hidden[p])
		if hidden[p] {
			covered = p
		}
	}
	return nil
}

// mayShow leaves a mask to the launch, where a call shows anything: the
// caller's directory or what a parameter names.
func (v *view) mayShow(m plan.Mask) {
	if cwd, _ := v.shownCwd(); cwd || pathParam(v.in.Params) != "" {
		v.late = append(v.late, m)
	}
}

// callWrites tells whether a call shows a tree that its run may write to.
func (v *view) callWrites() bool {
	_, writable := v.shownCwd()
	return writable || slices.ContainsFunc(v.in.Params, func(p plan.Param) bool {
		return p.Type == plan.ParamPath && p.Access != plan.AccessRead
	})
}

// lateCwd leaves a mask below the caller's directory to the launch. It refuses
// one that a run could move away.
func (v *view) lateCwd(sub string, pos policy.Pos) error {
	if _, writable := v.shownCwd(); writable && below(sub, "") > 1 {
		first := policy.Cwd + sub[:1+strings.IndexByte(sub[1:], '/')]
		return refuse(pos, "mask "+first+" in its place",
			"filesystem.mask: %q lies deeper in the writable %s than a direct child: a run could rename a directory above it", policy.Cwd+sub, policy.Cwd)
	}
	v.mayShow(plan.Mask{Path: sub, Cwd: true})
	return nil
}

// places returns everywhere in the view where the host's file or directory
// real shows: as part of a tree, or as a tree that is part of it.
func (v *view) places(real string) []string {
	var out []string
	for i := range v.shown {
		m := &v.shown[i]
		switch {
		case m.kind != plan.Tree:
		case within(m.source, real):
			out = append(out, m.path)
		case !m.file && within(real, m.source):
			if p := m.path + strings.TrimPrefix(real, m.source); v.over(p) == m {
				out = append(out, p)
			}
		}
	}
	return out
}

func (v *view) isFile(p string) bool {
	for _, m := range v.shown {
		if m.path == p && m.file {
			return true
		}
	}
	return false
}

// hide covers a directory with an empty one that cannot be filled, a file
// with a node that nodev keeps from being opened.
func (v *view) hide(p string, dir bool) {
	if dir {
		v.step(plan.Step{Kind: plan.Tmpfs, Flags: plan.Exists, Path: p, Size: maskSize, Files: 1})
		v.step(plan.Step{Kind: plan.Seal, Path: p})
		return
	}
	v.step(plan.Step{Kind: plan.Tree, Flags: plan.Exists | plan.OverFile, Path: p, Source: "/dev/null"})
}
