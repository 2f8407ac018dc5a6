#include "textflag.h"

// The kernel calls this with the signal's number in DI, on the alternate
// stack, with every register saved: it writes the number as one byte into
// the pipe and returns.
TEXT ·signalHandler(SB), NOSPLIT|NOFRAME, $0-0
	SUBQ $16, SP
	MOVB DI, 8(SP)
	MOVL ·signalPipe(SB), DI
	LEAQ 8(SP), SI
	MOVL $1, DX
	MOVL $1, AX // write
	SYSCALL
	ADDQ $16, SP
	RET

// rt_sigreturn(2): what a handler returns to (SA_RESTORER).
TEXT ·signalRestorer(SB), NOSPLIT|NOFRAME, $0-0
	MOVL $15, AX
	SYSCALL
	INT  $3

// func handlerAddresses() (handler, restorer uintptr)
TEXT ·handlerAddresses(SB), NOSPLIT, $0-16
	LEAQ ·signalHandler(SB), AX
	MOVQ AX, handler+0(FP)
	LEAQ ·signalRestorer(SB), AX
	MOVQ AX, restorer+8(FP)
	RET
