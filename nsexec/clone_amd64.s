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

// func cloneThread(flags, stack, w uintptr) (tid, errno uintptr)
//
// The thread begins on a stack of its own, in watch(w), which never returns.
// It has its maker's thread-local storage, and with it the same g, which no
// nosplit function looks at.
TEXT ·cloneThread(SB), NOSPLIT|NOFRAME, $0-40
	MOVQ flags+0(FP), DI
	MOVQ stack+8(FP), SI
	MOVQ w+16(FP), R12
	MOVQ $0, DX
	MOVQ $0, R10
	MOVQ $0, R8
	MOVQ $56, AX // clone
	SYSCALL
	CMPQ AX, $0
	JNE  parent
	SUBQ $16, SP
	MOVQ R12, 0(SP)
	// By its address: the linker adds the frames of what is called by name to
	// those of the caller, as if both were on one stack.
	MOVQ $·watch(SB), AX
	CALL AX
	INT  $3
parent:
	CMPQ AX, $0xfffffffffffff001
	JLS  ok
	MOVQ $0, tid+24(FP)
	NEGQ AX
	MOVQ AX, errno+32(FP)
	RET
ok:
	MOVQ AX, tid+24(FP)
	MOVQ $0, errno+32(FP)
	RET

// A signal handler that does nothing: what counts is the interrupted call.
TEXT wakened<>(SB), NOSPLIT|NOFRAME, $0-0
	RET

TEXT sigreturn<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ $15, AX // rt_sigreturn
	SYSCALL
	INT  $3

// func handler() (handle, restore uintptr)
TEXT ·handler(SB), NOSPLIT|NOFRAME, $0-16
	LEAQ wakened<>(SB), AX
	MOVQ AX, handle+0(FP)
	LEAQ sigreturn<>(SB), AX
	MOVQ AX, restore+8(FP)
	RET
