package nsexec

import (
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// minLandlock is the first ABI that can be used (Linux 5.19): ABI 1 refuses
// every rename from one directory to another, whatever its rules say.
const minLandlock = 2

// landlockABI asks the kernel; 0 is none.
//
//go:nosplit
//go:norace
func landlockABI() int {
	r, _, e := syscall.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0
	}
	return int(r)
}

// landlock lays out a second wall beside the mounts (landlock(7)):
//
// What lies outside the view is not opened at all. Mounts do not hold that
// alone: /proc/self/fd/0 leads to a file of the host by the host's own mount,
// and opening it anew could give more than the descriptor does, such as
// writing to the caller's own file that was given as `< file`. Files
// given as 0, 1 and 2 can be opened anew for what their descriptors are open
// for; pipes and sockets are not judged by Landlock.
//
// With an exec list, nothing but what the view shows without noexec is
// executed. Landlock judges execve(2) and the ELF interpreter, not mappings;
// those are held by the mounts. With one permitted exec there is nothing
// left for this to hold.
func (p *program) landlock(c Config) {
	p.begin("restrict", "", "files by Landlock")
	abi := landlockABI()
	if abi < minLandlock {
		// Fails as a missing feature does: tolerated, reported, or refused
		// where the policy requires the layer.
		p.add(opNeed, unset).tolerate(mayLack).degrade = 6
		return
	}
	file := uint64(unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE)
	write := uint64(unix.LANDLOCK_ACCESS_FS_WRITE_FILE)
	if abi >= 3 {
		file |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
		write |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	view := file | unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_REFER
	list := len(c.Plan.Filter.ExecOnce) == 0
	handled := view
	if list {
		handled |= unix.LANDLOCK_ACCESS_FS_EXECUTE
	}
	rules := p.into(p.add(unix.SYS_LANDLOCK_CREATE_RULESET, put(&p.mem, handled), 8, 0))
	// Writing only where the view is writable: a FIFO or a socket in a
	// read-only tree can be written to as far as its mount is concerned.
	p.allowPath(rules, "/", view&^write, false)
	for i := range c.Plan.View {
		s := &c.Plan.View[i]
		path := s.Path
		if s.Flags&plan.SourceCwd != 0 {
			path = c.Cwd
		}
		if s.Flags&plan.Covers != 0 || hidden(c.Plan.View, i) {
			continue
		}
		if s.Kind == plan.Tmpfs || s.Kind == plan.Tree && s.Flags&plan.Writable != 0 {
			rights := view
			if s.Flags&plan.OverFile != 0 {
				rights = file
			}
			p.allowPath(rules, path, rights, s.Flags&plan.Optional != 0)
		}
	}
	for fd := 0; fd <= 2; fd++ {
		if fd > 0 && c.Output[fd-1] > 0 {
			continue // a pipe
		}
		given := fd
		if c.Files != nil {
			given = c.Files[fd]
		}
		rights := uint64(0)
		if p.image == nil {
			rights = descriptorRights(uintptr(given), file, write)
		}
		rule := p.beneath(rights, fd)
		if p.image != nil {
			p.image.streams[fd], p.image.file, p.image.write = rule, file, write
		}
		p.add(unix.SYS_LANDLOCK_ADD_RULE, 0, unix.LANDLOCK_RULE_PATH_BENEATH, rule, 0).arg(0, rules).tolerate(mayBadFile)
	}
	for i := range c.Plan.View {
		if s := &c.Plan.View[i]; list && s.Kind == plan.Tree && s.Flags&plan.Executable != 0 && !hidden(c.Plan.View, i) {
			p.allowPath(rules, s.Path, unix.LANDLOCK_ACCESS_FS_EXECUTE, s.Flags&plan.Optional != 0)
		}
	}
	p.add(unix.SYS_LANDLOCK_RESTRICT_SELF, 0, 0).arg(0, rules)
	p.add(unix.SYS_CLOSE).arg(0, rules)
}

// hidden tells whether a later step covers a directory above step i: a mask.
// Its path then leads nowhere, or into the cover.
func hidden(view []plan.Step, i int) bool {
	for _, s := range view[i+1:] {
		if (s.Kind == plan.Tmpfs || s.Kind == plan.Tree) && s.Flags&plan.SourceCwd == 0 && strings.HasPrefix(view[i].Path, s.Path+"/") {
			return true
		}
	}
	return false
}

// beneath lays out struct landlock_path_beneath_attr, which is packed.
func (p *program) beneath(rights uint64, fd int) uintptr {
	b := p.mem.alloc(16)
	for i := range 8 {
		b[i] = byte(rights >> (8 * i))
	}
	putNative32(b[8:], uint32(fd))
	return addr(b)
}

// allowPath grants rights beneath a path of the view.
func (p *program) allowPath(rules int, path string, rights uint64, optional bool) {
	o := p.add(unix.SYS_OPENAT, atCwd, p.mem.str(path), unix.O_PATH|unix.O_CLOEXEC, 0)
	if optional {
		o.tolerate(mayMissing).skip = 3
	}
	fd := p.into(o)
	attr := p.beneath(rights, 0)
	p.add(opStore32, attr+8, 0).arg(1, fd)
	p.add(unix.SYS_LANDLOCK_ADD_RULE, 0, unix.LANDLOCK_RULE_PATH_BENEATH, attr, 0).arg(0, rules)
	p.add(unix.SYS_CLOSE).arg(0, fd)
}

// descriptorRights are those that a given file may be opened
// anew with: what its descriptor is open for. 0: none.
//
//go:nosplit
//go:norace
func descriptorRights(fd uintptr, file, write uint64) uint64 {
	var st unix.Stat_t
	if _, _, e := syscall.RawSyscall(unix.SYS_FSTAT, fd, uintptr(unsafe.Pointer(&st)), 0); e != 0 {
		return 0
	}
	// /dev/null and its like, but no terminal: opened anew it could become
	// the run's controlling terminal.
	const memoryDevices = 1
	memory := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev>>8&0xfff == memoryDevices && st.Rdev>>44 == 0
	if st.Mode&unix.S_IFMT != unix.S_IFREG && !memory {
		return 0
	}
	flags, _, e := syscall.RawSyscall(unix.SYS_FCNTL, fd, unix.F_GETFL, 0)
	if e != 0 || flags&unix.O_PATH != 0 {
		return 0
	}
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		return unix.LANDLOCK_ACCESS_FS_READ_FILE
	case unix.O_WRONLY:
		return write
	}
	return file
}
