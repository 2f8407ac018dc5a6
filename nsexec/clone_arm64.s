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
