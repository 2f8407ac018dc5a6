package filter

// label is a place to jump to: a return, of which there may be many copies,
// or an instruction already assembled.
type label struct {
	isReturn bool
	value    uint32 // of a return
	at       int    // of an instruction, counted from the end
}

func returns(value uint32) label { return label{isReturn: true, value: value} }

// assembler writes a program from its end to its start. Classic BPF jumps only
// forward, so every target is known when a jump is written, and so is whether
// the eight bits of a conditional jump reach it.
type assembler struct {
	reversed []insn
	returnAt map[uint32]int // nearest copy of each return
	nearest  map[int]int    // nearest trampoline to an instruction
	// marks are positions that the caller wants to know in the finished
	// program, counted from the end.
	marks []int
}

func newAssembler() *assembler {
	return &assembler{returnAt: map[uint32]int{}, nearest: map[int]int{}}
}

// emit puts an instruction in front of the program.
func (a *assembler) emit(code uint16, k uint32) {
	a.reversed = append(a.reversed, insn{code: code, k: k})
}

// here is the label of the front of the program.
func (a *assembler) here() label { return label{at: len(a.reversed) - 1} }

// distance is the jump offset from the next instruction to l, or false when a
// conditional jump does not reach that far.
func (a *assembler) distance(l label) (uint8, bool) {
	at, ok := l.at, true
	if l.isReturn {
		at, ok = a.returnAt[l.value]
	} else if near, bridged := a.nearest[l.at]; bridged {
		at = near
	}
	d := len(a.reversed) - 1 - at
	if !ok || d > 255 {
		return 0, false
	}
	return uint8(d), true
}

// bridge puts in front of the program something that leads to l: a copy of a
// return, as short as a jump and one step shorter to run, or a long jump.
func (a *assembler) bridge(l label) {
	if l.isReturn {
		a.emit(opReturn, l.value)
		a.returnAt[l.value] = len(a.reversed) - 1
		return
	}
	a.emit(opJump, uint32(len(a.reversed)-1-l.at))
	a.nearest[l.at] = len(a.reversed) - 1
}

// branch puts a conditional jump in front of the program.
func (a *assembler) branch(code uint16, k uint32, yes, no label) {
	for {
		jt, ok := a.distance(yes)
		if !ok {
			a.bridge(yes)
			continue
		}
		jf, ok := a.distance(no)
		if !ok {
			a.bridge(no)
			continue
		}
		a.reversed = append(a.reversed, insn{code, jt, jf, k})
		return
	}
}

// fallInto makes l the front of the program.
func (a *assembler) fallInto(l label) {
	if len(a.reversed) > 0 {
		if d, ok := a.distance(l); ok && d == 0 {
			return
		}
	}
	a.bridge(l)
}

// mark remembers the front of the program in marks.
func (a *assembler) mark() { a.marks = append(a.marks, len(a.reversed)-1) }

// finish returns the program in the order of execution, and the indexes of
// the marks, last marked first.
func (a *assembler) finish() ([]insn, []uint16) {
	n := len(a.reversed)
	code := make([]insn, n)
	for i, in := range a.reversed {
		code[n-1-i] = in
	}
	var marks []uint16
	for i := len(a.marks) - 1; i >= 0; i-- {
		marks = append(marks, uint16(n-1-a.marks[i]))
	}
	return code, marks
}
