#include "textflag.h"

// func cloneRaw(nr, a0, a1 uintptr) (r1, errno uintptr)
//
// The return address is kept in R12 while the kernel may be running a child
// on the same stack (CLONE_VM with CLONE_VFORK): the child's calls would
// overwrite the slot that the parent returns through. The kernel preserves
// R12 for each task.
TEXT ·cloneRaw(SB), NOSPLIT|NOFRAME, $0-40
	MOVQ nr+0(FP), AX
	MOVQ a0+8(FP), DI
	MOVQ a1+16(FP), SI
	MOVQ $0, DX
	MOVQ $0, R10
	MOVQ $0, R8
	MOVQ $0, R9
	POPQ R12
	SYSCALL
	PUSHQ R12
	CMPQ AX, $0xfffffffffffff001
	JLS  ok
	MOVQ $-1, r1+24(FP)
	NEGQ AX
	MOVQ AX, errno+32(FP)
	RET
ok:
	MOVQ AX, r1+24(FP)
	MOVQ $0, errno+32(FP)
	RET
