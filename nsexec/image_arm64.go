package nsexec

import "syscall"

// cloneImage is cloneBlocked: no image is started on this architecture yet.
//
//go:nosplit
//go:norace
func cloneImage(w *world, args *unixCloneArgs) (uintptr, syscall.Errno) { return cloneBlocked(w, args) }
