#include "textflag.h"

// Entry is the first instruction of sbx. The stack is as execve(2) leaves it:
// argc, argv, envp, the auxiliary vector. Go's own entry gets it untouched.
//
// Go functions that are called from assembly load g from thread-local storage,
// so there has to be some; the runtime sets its own later.
TEXT ·Entry(SB), NOSPLIT|NOFRAME, $0
	MOVQ SP, BX
	MOVQ $158, AX // arch_prctl
	MOVQ $0x1002, DI // ARCH_SET_FS
	LEAQ ·noThread+32(SB), SI
	SYSCALL
	SUBQ $64, SP
	ANDQ $~15, SP
	MOVQ BX, 32(SP)
	MOVQ BX, 0(SP)
	CALL ·begin(SB)
	MOVQ 32(SP), SP
	JMP  _rt0_amd64_linux(SB)
