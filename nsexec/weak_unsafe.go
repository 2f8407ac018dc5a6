//go:build weak

package nsexec

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/weak"
)

// stepsOf are the steps that a measure consists of.
var stepsOf = map[string][]string{
	"capabilities": {`empty "the capability sets"`, `empty "the capability bounding set"`},
	"no_new_privs": {`set "no_new_privs"`},
	"rlimits":      {`set "resource limits"`},
	"timens":       {`make "a time namespace"`},
	"hostname":     {`set "host and domain name"`},
	"hide":         {`hide "the supervisor's arguments"`},
	"umask":        {`set "umask"`, `set "session and umask"`},
	"signals":      {`reset "signals"`, `unblock "signals"`},
	"session":      {`make "a session"`, `set "session and umask"`},
	"dumpable":     {`make "init undumpable"`},
	"mdwe":         {`deny "writable and executable memory"`},
	"landlock":     {`restrict "files by Landlock"`},
	"usermax":      {`forbid "further user namespaces"`},
	"keyring":      {`make "a session keyring"`},
	"personality":  {`reset "personality, scheduling and timer slack"`},
	"orphan":       {`set "the parent-death signal"`},
	"oom":          {`set "the memory killer's score"`},
}

// attrsOf are the mount attributes that a measure consists of.
var attrsOf = map[string]uint64{
	"readonly": unix.MOUNT_ATTR_RDONLY,
	"noexec":   unix.MOUNT_ATTR_NOEXEC,
	"nodev":    unix.MOUNT_ATTR_NODEV,
	"nosuid":   unix.MOUNT_ATTR_NOSUID,
}

// weaken takes out of the lists what SBX_WEAK names, and makes the operation
// fail that SBX_FAULT names.
func (p *program) weaken() error {
	for _, list := range [...][]op{p.init, p.work} {
		for i := range list {
			p.weakenOp(&list[i])
		}
	}
	if weak.Off("orphan") {
		p.world.fds[0].Fd = -1
	}
	p.world.linger = weak.Off("linger")
	p.world.crowded = weak.Off("watcher")
	return p.fault()
}

func (p *program) weakenOp(o *op) {
	for measure, steps := range stepsOf {
		for _, s := range steps {
			if weak.Off(measure) && p.steps[o.step].String() == s {
				*o = op{nr: opZero, step: o.step}
			}
		}
	}
	switch {
	case o.nr == opVerify && weak.Off("verify"):
		*o = op{nr: opZero, step: o.step}
	case o.nr == unix.SYS_CLOSE_RANGE && weak.Off("descriptors"),
		(o.nr == unix.SYS_PIVOT_ROOT || o.nr == unix.SYS_UMOUNT2) && weak.Off("pivot"):
		*o = op{nr: opZero, step: o.step}
	case o.nr == unix.SYS_MOUNT_SETATTR:
		for measure, bit := range attrsOf {
			if a := (*mountAttr)(pointer(o.a[3])); weak.Off(measure) {
				a.set &^= bit
			}
		}
		if weak.Off("recursive") {
			o.a[2] &^= unix.AT_RECURSIVE
		}
	case o.nr == unix.SYS_OPEN_TREE && weak.Off("recursive"):
		o.a[2] &^= unix.AT_RECURSIVE
	case o.nr == unix.SYS_MOUNT && weak.Off("noexec"):
		o.a[3] &^= unix.MS_NOEXEC
	}
	if o.nr == unix.SYS_MOUNT && weak.Off("proc") && unix.BytePtrToString((*byte)(pointer(o.a[0]))) == "proc" {
		o.a[3] &^= unix.MS_RDONLY
		o.a[4] = p.mem.str("")
	}
}

// fault makes one operation fail with EBADF, which no step tolerates.
func (p *program) fault() error {
	name, at, ok := strings.Cut(weak.Fault(), ":")
	if !ok {
		return nil
	}
	list := p.init
	if name == "work" {
		list = p.work
	}
	n, err := strconv.Atoi(at)
	if err != nil || n >= len(list) {
		return errors.New("SBX_FAULT: no such operation")
	}
	if list[n].nr != opSpawn {
		list[n] = op{nr: opSame, a: [6]uintptr{1, 2}, step: list[n].step}
	}
	return nil
}
