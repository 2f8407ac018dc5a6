#include "textflag.h"

// func cloneImage(w *world, args *unixCloneArgs) (pid uintptr, errno syscall.Errno)
//
// It is cloneBlocked, called by its address: the linker sums up the frames of what
// a nosplit function calls by name, as if it were on a goroutine's stack, where
// 800 bytes are certain. An image is started on the stack that execve(2) gave
// the process, which grows by itself.
TEXT ·cloneImage(SB), NOSPLIT, $32-32
	MOVQ w+0(FP), AX
	MOVQ AX, 0(SP)
	MOVQ args+8(FP), AX
	MOVQ AX, 8(SP)
	MOVQ $·cloneBlocked(SB), AX
	CALL AX
	MOVQ 16(SP), AX
	MOVQ AX, pid+16(FP)
	MOVQ 24(SP), AX
	MOVQ AX, errno+24(FP)
	RET
