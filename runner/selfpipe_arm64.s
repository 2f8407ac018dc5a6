#include "textflag.h"

// The kernel calls this with the signal's number in R0, on the alternate
// stack, with every register saved and the return address set to the vDSO's
// rt_sigreturn: it writes the number as one byte into the pipe.
TEXT ·signalHandler(SB), NOSPLIT|NOFRAME, $0-0
	SUB  $16, RSP
	MOVB R0, 8(RSP)
	MOVD $·signalPipe(SB), R1
	MOVW (R1), R0
	ADD  $8, RSP, R1
	MOVD $1, R2
	MOVD $64, R8 // write
	SVC
	ADD  $16, RSP
	RET

// func handlerAddresses() (handler, restorer uintptr)
TEXT ·handlerAddresses(SB), NOSPLIT, $0-16
	MOVD $·signalHandler(SB), R0
	MOVD R0, handler+0(FP)
	MOVD ZR, restorer+8(FP)
	RET
