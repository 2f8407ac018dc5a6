package nsexec

import "syscall"

// cloneImage is cloneInit: no image is started on this architecture yet.
//
//go:nosplit
//go:norace
func cloneImage(w *world, args *unixCloneArgs) (uintptr, syscall.Errno) { return cloneInit(w, args) }
