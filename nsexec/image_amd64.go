package nsexec

import "syscall"

func cloneImage(w *world, args *unixCloneArgs) (pid uintptr, errno syscall.Errno)
