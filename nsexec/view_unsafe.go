package nsexec

import (
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// staging is where the new root is mounted on, in a mount namespace that
// nobody else sees, until it becomes the root. Any directory that exists
// everywhere would do: every source has been opened before it is covered.
const staging = "/tmp"

// maxTerminals bounds the run's pseudo-terminals, each of which holds kernel
// memory: no program of one run has needed ten; a terminal multiplexer would
// at a quarter.
const maxTerminals = "64"

// view lays out the file tree: first every source is opened, in the host's
// tree as it is; then the new root is put together; then it becomes the root
// and the host's tree is let go. It returns the slot of the program's
// descriptor.
func (p *program) view(c Config) (exe int) {
	p.hostProc, p.hostDev = noSlot, noSlot
	if c.Identity.Mode == LateUserNS {
		p.begin("open", "", "/proc")
		p.hostProc = p.into(p.add(unix.SYS_OPENAT, atCwd, p.mem.str("/proc"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0))
	}
	// The supervisor sends the network namespace first. Waiting for it this
	// early costs time, so it is done only where more follows.
	var mapped []int
	joined := c.Mapped > 0
	if joined {
		p.joinNetwork()
		mapped = p.receiveDescriptors(c.Mapped, "the maps of writable trees")
	}
	trees := make([]int, len(c.Plan.View))
	exe = noSlot
	for i := range c.Plan.View {
		s := &c.Plan.View[i]
		if s.Kind != plan.Tree && s.Kind != plan.Device {
			continue
		}
		if s.Kind == plan.Device && p.makesNode(c, s.Source) {
			if p.hostDev == noSlot {
				p.begin("open", "", "/dev")
				p.hostDev = p.into(p.add(unix.SYS_OPENAT, atCwd, p.mem.str("/dev"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0))
			}
			continue
		}
		ns := noSlot
		if s.Flags&plan.Mapped != 0 && len(mapped) > 0 {
			ns, mapped = mapped[0], mapped[1:]
		}
		trees[i] = p.openTree(c, s, ns)
		if s.Kind == plan.Tree && s.Path == c.Plan.Exec.Inside && s.Source == c.Plan.Exec.Path {
			exe = trees[i]
			p.verify(c.Plan.Exec.Identity, exe)
		}
	}

	p.begin("mount", "tmpfs", "/")
	p.add(unix.SYS_MOUNT, p.mem.str("tmpfs"), p.mem.str(staging), p.mem.str("tmpfs"),
		unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, p.mem.str("mode=0755,size=8m,nr_inodes=16384"))
	p.add(unix.SYS_CHDIR, p.mem.str(staging))
	for i := range c.Plan.View {
		p.make(c, &c.Plan.View[i], trees[i])
	}

	// Of the descriptors of the host's tree only the program's is kept, and
	// the one of /proc, the first that was opened, until the ids are set.
	p.begin("close", "", "the host's tree")
	keep := uintptr(programFD)
	if p.hostProc != noSlot {
		keep++
	}
	if exe != noSlot {
		p.add(unix.SYS_DUP3, 0, programFD, unix.O_CLOEXEC).arg(0, exe)
	}
	p.add(unix.SYS_CLOSE_RANGE, keep+1, uintptr(^uint32(0)), 0)
	p.begin("pivot", "", "/")
	dot := p.mem.str(".")
	p.add(unix.SYS_PIVOT_ROOT, dot, dot)
	// The old root now lies on the new one; every mount was made private,
	// so letting it go is seen nowhere else.
	p.add(unix.SYS_UMOUNT2, dot, unix.MNT_DETACH)
	p.add(unix.SYS_CHDIR, p.mem.str("/"))
	p.begin("set", "", "host and domain name")
	p.add(unix.SYS_SETHOSTNAME, p.mem.str(c.Plan.Hostname), uintptr(len(c.Plan.Hostname)))
	p.add(unix.SYS_SETDOMAINNAME, p.mem.str(""), 0)
	if !joined {
		p.joinNetwork()
	}
	if c.Plan.Loopback {
		p.loopback()
	}
	return exe
}

// openTree clones the source of a step as a detached mount and gives it its
// attributes; a tree whose attributes did not take is never attached. ns is
// the slot of a user namespace for an idmapped mount, or noSlot.
func (p *program) openTree(c Config, s *plan.Step, ns int) int {
	source := s.Source
	switch {
	case s.Flags&plan.SourceCwd == 0:
	case c.CwdStamp.Ino != 0:
		// Another process's directory: a descriptor of it belongs to the
		// mount namespace that was left, and cannot be cloned from here.
		own := *s
		own.Source, own.Dev, own.Ino = c.Cwd, c.CwdStamp.Dev, c.CwdStamp.Ino
		s, source = &own, c.Cwd
	default:
		source = "." // by descriptor: the caller's directory, not a path
	}
	p.begin("open", "", source)
	flags := uintptr(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if s.Flags&plan.OverFile == 0 && s.Kind == plan.Tree {
		flags |= unix.AT_RECURSIVE
	}
	o := p.add(unix.SYS_OPEN_TREE, atCwd, p.mem.str(source), flags)
	optional := s.Flags&plan.Optional != 0
	if optional {
		o.tolerate(mayMissing)
	}
	fd := p.into(o)
	set := uint64(unix.MOUNT_ATTR_NOSUID)
	if s.Kind == plan.Tree {
		set |= unix.MOUNT_ATTR_NODEV
	}
	if s.Kind == plan.Tree && (s.Flags&plan.Writable == 0 || ns != noSlot) {
		set |= unix.MOUNT_ATTR_RDONLY
	}
	if s.Flags&plan.Executable == 0 {
		set |= unix.MOUNT_ATTR_NOEXEC
	}
	if optional {
		o := p.add(opNeed).arg(0, fd).tolerate(mayMissing)
		o.skip = 1
		if ns != noSlot {
			o.skip = 3
		}
	}
	empty := p.mem.str("")
	p.add(unix.SYS_MOUNT_SETATTR, 0, empty, emptyPath|flags&unix.AT_RECURSIVE, p.attr(set), unsafe.Sizeof(mountAttr{})).arg(0, fd)
	if ns != noSlot {
		// Mounts below the tree keep their owners, since they may be of a
		// kind that cannot be mapped, and stay read-only, or what is made
		// there would belong to the run's own id. Only the tree itself is
		// mapped and, where the policy says so, writable.
		attr := mountAttr{set: unix.MOUNT_ATTR_IDMAP}
		if s.Flags&plan.Writable != 0 {
			attr.clear = unix.MOUNT_ATTR_RDONLY
		}
		a := put(&p.mem, attr)
		p.add(opStore32, a+unsafe.Offsetof(mountAttr{}.usernsFD), 0).arg(1, ns)
		p.add(unix.SYS_MOUNT_SETATTR, 0, empty, emptyPath, a, unsafe.Sizeof(mountAttr{})).arg(0, fd)
	}
	if s.Ino != 0 {
		p.verifyInode(s, fd)
	}
	return fd
}

// nodes are the devices of a minimal /dev by their numbers, which the kernel
// fixes (Documentation/admin-guide/devices.txt).
var nodes = [...]struct {
	path         string
	major, minor uint32
}{{"/dev/null", 1, 3}, {"/dev/zero", 1, 5}, {"/dev/full", 1, 7}, {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}}

// makesNode tells whether the device is made and not mounted: one call in
// place of four, and no mount to copy and to tear down.
func (p *program) makesNode(c Config, source string) bool {
	for i := range nodes {
		if c.MakeNodes && nodes[i].path == source {
			return true
		}
	}
	return false
}

// node makes a device node; where that is not allowed (a device control
// group, no CAP_MKNOD) the host's is mounted.
func (p *program) node(s *plan.Step, rel string) {
	p.begin("make device", "", s.Path)
	name := strings.TrimPrefix(s.Source, "/dev/")
	for i := range nodes {
		if nodes[i].path != s.Source {
			continue
		}
		o := p.add(unix.SYS_MKNODAT, atCwd, p.mem.str(rel), unix.S_IFCHR|0o666, uintptr(unix.Mkdev(nodes[i].major, nodes[i].minor)))
		made := p.into(o.tolerate(mayNotPermitted))
		p.add(opNeedNot).arg(0, made).tolerate(mayExist).skip = 4
	}
	tree := p.into(p.add(unix.SYS_OPEN_TREE, 0, p.mem.str(name), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC).arg(0, p.hostDev))
	empty := p.mem.str("")
	p.add(unix.SYS_MOUNT_SETATTR, 0, empty, emptyPath, p.attr(unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC), unsafe.Sizeof(mountAttr{})).arg(0, tree)
	p.add(unix.SYS_MKNODAT, atCwd, p.mem.str(rel), unix.S_IFREG|0o444, 0)
	p.add(unix.SYS_MOVE_MOUNT, 0, empty, atCwd, p.mem.str(rel), unix.MOVE_MOUNT_F_EMPTY_PATH).arg(0, tree)
}

// verifyInode compares the source behind fd with what the caller named: its
// path was followed once more here, and may lead elsewhere by now. Size and
// times may change; the supervisor holds the file open, so that its inode
// number is not given to another one.
func (p *program) verifyInode(s *plan.Step, fd int) {
	p.begin("verify", "", s.Source)
	st := unix.Stat_t{Dev: s.Dev, Ino: s.Ino}
	got := addr(p.mem.alloc(int(unsafe.Sizeof(st))))
	p.add(sysFstatat, 0, p.mem.str(""), got, emptyPath).arg(0, fd)
	p.add(opZero, got+unsafe.Offsetof(st.Size), unsafe.Sizeof(st.Size))
	p.add(opZero, got+unsafe.Offsetof(st.Mtim), unsafe.Sizeof(st.Mtim)+unsafe.Sizeof(st.Ctim))
	p.add(opVerify, got, put(&p.mem, st))
}

// verify compares the file behind fd with the identity that was hashed when
// the plan was made: another file, or a changed one, is not executed.
func (p *program) verify(want plan.Stamp, fd int) {
	p.verifyAgain(want).arg(0, fd)
}

// verifyAgain does so for the program's descriptor, once it has its number. It
// returns the operation that takes the descriptor; the next one compares.
func (p *program) verifyAgain(want plan.Stamp) *op {
	p.begin("verify", "", want.Path)
	var st unix.Stat_t
	st.Dev, st.Ino, st.Size = want.Dev, want.Ino, want.Size
	st.Mtim, st.Ctim = unix.NsecToTimespec(want.MtimeNs), unix.NsecToTimespec(want.CtimeNs)
	got := addr(p.mem.alloc(int(unsafe.Sizeof(st))))
	p.add(sysFstatat, programFD, p.mem.str(""), got, emptyPath)
	p.add(opVerify, got, put(&p.mem, st))
	return &(*p.list)[len(*p.list)-2]
}

// make carries out one step below the new root, which is the working
// directory.
func (p *program) make(c Config, s *plan.Step, tree int) {
	rel := strings.TrimPrefix(s.Path, "/")
	if rel == "" {
		rel = "."
	}
	if s.Flags&plan.Covers != 0 {
		p.cover(s, rel, tree)
		return
	}
	switch s.Kind {
	case plan.Dir:
		p.begin("make directory", "", s.Path)
		p.mkdir(rel, s.Mode)
	case plan.Symlink:
		p.begin("link", s.Source, s.Path)
		p.add(unix.SYS_SYMLINKAT, p.mem.str(s.Source), atCwd, p.mem.str(rel))
	case plan.File:
		p.begin("write", "", s.Path)
		fd := p.into(p.add(unix.SYS_OPENAT, atCwd, p.mem.str(rel), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, uintptr(s.Mode)))
		p.add(unix.SYS_WRITE, 0, p.mem.str(string(s.Data)), uintptr(len(s.Data))).arg(0, fd)
		p.add(unix.SYS_CLOSE).arg(0, fd)
	case plan.Tmpfs:
		flags := uintptr(unix.MS_NODEV)
		if s.Path == "/dev" && p.hostDev != noSlot {
			flags = 0 // sealed before anything of the workload runs
		}
		p.mount(s, rel, "tmpfs", "mode=0"+octal(s.Mode)+",size="+decimal(s.Size)+",nr_inodes="+decimal(s.Files), flags)
	case plan.Proc:
		data := ""
		if s.Flags&plan.Subset != 0 {
			data = "subset=pid"
		}
		p.mount(s, rel, "proc", data, unix.MS_NODEV|unix.MS_RDONLY)
	case plan.Devpts:
		p.mount(s, rel, "devpts", "newinstance,ptmxmode=0666,mode=0620,max="+maxTerminals, 0)
	case plan.Device:
		if p.makesNode(c, s.Source) {
			p.node(s, rel)
		} else {
			p.attach(c, s, rel, tree)
		}
	case plan.Tree:
		p.attach(c, s, rel, tree)
	case plan.Seal:
		p.begin("seal", "", s.Path)
		p.add(unix.SYS_MOUNT_SETATTR, atCwd, p.mem.str(rel), 0, p.attr(unix.MOUNT_ATTR_RDONLY), unsafe.Sizeof(mountAttr{}))
	}
}

func (p *program) mkdir(rel string, mode uint32) {
	p.add(unix.SYS_MKDIRAT, atCwd, p.mem.str(rel), uintptr(mode)).tolerate(mayExist)
}

// mount mounts a file system of its own.
func (p *program) mount(s *plan.Step, rel, fstype, data string, flags uintptr) {
	p.begin("mount", fstype, s.Path)
	if s.Flags&plan.Exists == 0 {
		p.mkdir(rel, 0o755)
	}
	flags |= unix.MS_NOSUID
	if s.Flags&plan.Executable == 0 {
		flags |= unix.MS_NOEXEC
	}
	typ := p.mem.str(fstype)
	p.add(unix.SYS_MOUNT, typ, p.mem.str(rel), typ, flags, p.mem.str(data))
}

// attach puts a detached tree in its place.
func (p *program) attach(c Config, s *plan.Step, rel string, tree int) {
	path := s.Path
	if s.Flags&plan.SourceCwd != 0 {
		path = c.Cwd
		rel = strings.TrimPrefix(path, "/")
	}
	p.begin("mount", s.Source, path)
	switch {
	case s.Flags&plan.SourceCwd != 0:
		if !below(c.Plan.View, path) {
			for i := 1; i < len(path); i++ {
				if path[i] == '/' {
					p.mkdir(path[1:i], 0o755)
				}
			}
			p.mkdir(rel, 0o755)
		}
	case s.Flags&plan.Exists != 0:
	case s.Flags&plan.OverFile != 0 || s.Kind == plan.Device:
		p.add(unix.SYS_MKNODAT, atCwd, p.mem.str(rel), unix.S_IFREG|0o444, 0).tolerate(mayExist)
	default:
		p.mkdir(rel, 0o755)
	}
	if s.Flags&plan.Optional != 0 {
		p.add(opNeed).arg(0, tree).tolerate(mayMissing).skip = 1
	}
	p.add(unix.SYS_MOVE_MOUNT, 0, p.mem.str(""), atCwd, p.mem.str(rel), unix.MOVE_MOUNT_F_EMPTY_PATH).arg(0, tree)
}

// cover hides what is at rel, in a tree that others may change meanwhile. Its
// way is gone without following a link, because that would lead out of the new
// root, and the mount is put on what was found: a mount that took the path
// once more could end elsewhere and leave the place open. A directory where a
// file was, or the other way round, is EINVAL of move_mount(2).
func (p *program) cover(s *plan.Step, rel string, tree int) {
	p.begin("hide", "", s.Path)
	how := put(&p.mem, unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
	at := p.into(p.add(unix.SYS_OPENAT2, atCwd, p.mem.str(rel), how, unsafe.Sizeof(unix.OpenHow{})))
	if s.Kind == plan.Tmpfs {
		// mount(2) takes its place by path only.
		fs := p.into(p.add(unix.SYS_FSOPEN, p.mem.str("tmpfs"), unix.FSOPEN_CLOEXEC))
		for _, kv := range [][2]string{{"mode", "0" + octal(s.Mode)}, {"size", decimal(s.Size)}, {"nr_inodes", decimal(s.Files)}} {
			p.add(unix.SYS_FSCONFIG, 0, unix.FSCONFIG_SET_STRING, p.mem.str(kv[0]), p.mem.str(kv[1]), 0).arg(0, fs)
		}
		p.add(unix.SYS_FSCONFIG, 0, unix.FSCONFIG_CMD_CREATE, 0, 0, 0).arg(0, fs)
		tree = p.into(p.add(unix.SYS_FSMOUNT, 0, unix.FSMOUNT_CLOEXEC,
			unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC).arg(0, fs))
		p.add(unix.SYS_CLOSE).arg(0, fs)
	}
	empty := p.mem.str("")
	p.add(unix.SYS_MOVE_MOUNT, 0, empty, 0, empty, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH).arg(0, tree).arg(2, at)
	p.add(unix.SYS_CLOSE).arg(0, at)
}

// below tells whether path lies in a tree that the view shows, where it
// exists and nothing can be made.
func below(view []plan.Step, path string) bool {
	for i := range view {
		s := &view[i]
		if s.Kind == plan.Tree && s.Flags&(plan.SourceCwd|plan.OverFile) == 0 &&
			strings.HasPrefix(path, s.Path) && (len(path) == len(s.Path) || path[len(s.Path)] == '/') {
			return true
		}
	}
	return false
}

// loopback brings lo up in the run's network namespace.
func (p *program) loopback() {
	p.begin("bring up", "", "lo")
	fd := p.into(p.add(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	req := p.mem.alloc(40) // struct ifreq
	copy(req, "lo")
	flags := uint16(unix.IFF_UP | unix.IFF_RUNNING)
	*(*uint16)(unsafe.Pointer(&req[16])) = flags
	p.add(unix.SYS_IOCTL, 0, unix.SIOCSIFFLAGS, addr(req)).arg(0, fd)
	p.add(unix.SYS_CLOSE).arg(0, fd)
}
