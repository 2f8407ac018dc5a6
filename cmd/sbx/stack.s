#include "textflag.h"

// func roomyStack()
//
// Nothing but a frame: its prologue makes the stack grow once, to what a
// launch needs, where it would else grow by doubling four times.
TEXT ·roomyStack(SB), 0, $12288-0
	RET
