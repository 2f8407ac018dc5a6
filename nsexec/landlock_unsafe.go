package nsexec

import (
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// landlock lays out the second wall around what may be executed, for a
// policy that lets more than the registered program be: Landlock's EXECUTE
// right (Linux 5.13, landlock(7)) on exactly the files and directories that
// the view shows without noexec. It judges execve(2) and the ELF interpreter,
// not mappings; those are held by the mounts. With one permitted exec there
// is nothing left for it to hold.
func (p *program) landlock(view []plan.Step) {
	p.begin("restrict", "", "execution by Landlock")
	attr := put(&p.mem, uint64(unix.LANDLOCK_ACCESS_FS_EXECUTE))
	o := p.add(unix.SYS_LANDLOCK_CREATE_RULESET, attr, 8, 0).tolerate(mayLack)
	o.degrade = 6
	rules := p.into(o)
	first := len(*p.list) // index of the operation after the creation
	for i := range view {
		s := &view[i]
		if s.Kind != plan.Tree || s.Flags&plan.Executable == 0 {
			continue
		}
		open := p.add(unix.SYS_OPENAT, atCwd, p.mem.str(s.Path), unix.O_PATH|unix.O_CLOEXEC, 0)
		if s.Flags&plan.Optional != 0 {
			open.tolerate(mayMissing).skip = 3
		}
		fd := p.into(open)
		beneath := p.mem.alloc(16) // struct landlock_path_beneath_attr, packed
		beneath[0] = unix.LANDLOCK_ACCESS_FS_EXECUTE
		p.add(opStore32, addr(beneath)+8, 0).arg(1, fd)
		p.add(unix.SYS_LANDLOCK_ADD_RULE, 0, unix.LANDLOCK_RULE_PATH_BENEATH, addr(beneath), 0).arg(0, rules)
		p.add(unix.SYS_CLOSE).arg(0, fd)
	}
	p.add(unix.SYS_LANDLOCK_RESTRICT_SELF, 0, 0).arg(0, rules)
	p.add(unix.SYS_CLOSE).arg(0, rules)
	(*p.list)[first-1].skip = uint16(len(*p.list) - first)
}
