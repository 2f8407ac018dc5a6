#include "textflag.h"

// func cloneRaw(nr, a0, a1 uintptr) (r1, errno uintptr)
//
// The return address is in the link register, which the kernel preserves for
// each task, so a child on the same stack cannot overwrite it.
TEXT ·cloneRaw(SB), NOSPLIT|NOFRAME, $0-40
	MOVD nr+0(FP), R8
	MOVD a0+8(FP), R0
	MOVD a1+16(FP), R1
	MOVD $0, R2
	MOVD $0, R3
	MOVD $0, R4
	MOVD $0, R5
	SVC
	CMN  $4095, R0
	BCC  ok
	MOVD $-1, R4
	MOVD R4, r1+24(FP)
	NEG  R0, R0
	MOVD R0, errno+32(FP)
	RET
ok:
	MOVD R0, r1+24(FP)
	MOVD ZR, errno+32(FP)
	RET

// func cloneThread(flags, stack, w uintptr) (tid, errno uintptr)
//
// See clone_amd64.s.
TEXT ·cloneThread(SB), NOSPLIT|NOFRAME, $0-40
	MOVD flags+0(FP), R0
	MOVD stack+8(FP), R1
	MOVD w+16(FP), R19
	MOVD $0, R2
	MOVD $0, R3
	MOVD $0, R4
	MOVD $220, R8 // clone
	SVC
	CBNZ R0, parent
	SUB  $32, RSP
	MOVD R19, 8(RSP)
	MOVD $·watch(SB), R9 // by its address: see clone_amd64.s
	CALL (R9)
	BRK
parent:
	CMN  $4095, R0
	BCC  ok
	MOVD ZR, tid+24(FP)
	NEG  R0, R0
	MOVD R0, errno+32(FP)
	RET
ok:
	MOVD R0, tid+24(FP)
	MOVD ZR, errno+32(FP)
	RET

// A signal handler that does nothing: what counts is the interrupted call.
TEXT wakened<>(SB), NOSPLIT|NOFRAME, $0-0
	RET

TEXT sigreturn<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVD $139, R8 // rt_sigreturn
	SVC
	BRK

// func handler() (handle, restore uintptr)
TEXT ·handler(SB), NOSPLIT|NOFRAME, $0-16
	MOVD $wakened<>(SB), R0
	MOVD R0, handle+0(FP)
	MOVD $sigreturn<>(SB), R0
	MOVD R0, restore+8(FP)
	RET
