package nsexec

import "golang.org/x/sys/unix"

// sysFstatat has another name on each architecture.
const sysFstatat = unix.SYS_FSTATAT
