package elfclosure

import (
	"debug/elf"
	"errors"
	"syscall"
)

// lib64Names are the values of $LIB and $PLATFORM. $LIB differs between
// distributions ("lib/x86_64-linux-gnu" on Debian, "lib64" elsewhere); it is
// rare, and the resolver takes Debian's.
var lib64Names = map[elf.Machine]struct{ lib, platform string }{
	elf.EM_X86_64:  {"lib/x86_64-linux-gnu", "x86_64"},
	elf.EM_AARCH64: {"lib/aarch64-linux-gnu", "aarch64"},
}

func notDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) }
