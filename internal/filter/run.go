package filter

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Run interprets a program as the kernel does for one call, and returns its
// answer (SECCOMP_RET_...). arch is an AUDIT_ARCH_ number, ip the instruction
// pointer. It is for tests and for [Agree]; it knows the instructions that the
// kernel permits to seccomp, and returns an error for any other, for a jump or
// load out of bounds, and for a program that ends without an answer. Jumps only
// go forward, so it always ends.
func Run(insns []byte, arch, nr uint32, ip uint64, args [6]uint64) (uint32, error) {
	code, err := decode(insns, maxInsns)
	if err != nil {
		return 0, err
	}
	return interpret(code, newData(arch, nr, ip, args))
}

// data is struct seccomp_data as sixteen words.
type data [dataSize / 4]uint32

func newData(arch, nr uint32, ip uint64, args [6]uint64) *data {
	d := &data{offNumber / 4: nr, offArch / 4: arch, offIP / 4: uint32(ip), offIP/4 + 1: uint32(ip >> 32)}
	for i, arg := range args {
		d[offArgs/4+2*i] = uint32(arg)
		d[offArgs/4+2*i+1] = uint32(arg >> 32)
	}
	return d
}

// args are the arguments that newData was given.
func (d *data) args() (args [6]uint64) {
	for i := range args {
		args[i] = uint64(d[offArgs/4+2*i]) | uint64(d[offArgs/4+2*i+1])<<32
	}
	return args
}

var errEnd = errors.New("program ends without an answer")

func interpret(code []insn, d *data) (uint32, error) {
	var acc, x uint32
	var scratch [16]uint32 // BPF_MEMWORDS
	for pc := 0; pc < len(code); pc++ {
		in := &code[pc]
		operand := in.k
		switch in.code & 7 {
		case unix.BPF_ALU, unix.BPF_JMP:
			if in.code&unix.BPF_X != 0 {
				operand = x
			}
		case unix.BPF_ST, unix.BPF_STX:
			if in.k >= uint32(len(scratch)) {
				return 0, fmt.Errorf("instruction %d: scratch word %d", pc, in.k)
			}
		}
		taken := false
		switch in.code {
		case opLoad:
			if in.k >= dataSize || in.k%4 != 0 {
				return 0, fmt.Errorf("instruction %d: load at %d", pc, in.k)
			}
			acc = d[in.k/4]
			continue
		case unix.BPF_LD | unix.BPF_W | unix.BPF_LEN, unix.BPF_LDX | unix.BPF_W | unix.BPF_LEN:
			if in.code&7 == unix.BPF_LD {
				acc = dataSize
			} else {
				x = dataSize
			}
			continue
		case unix.BPF_LD | unix.BPF_IMM:
			acc = in.k
			continue
		case unix.BPF_LDX | unix.BPF_IMM:
			x = in.k
			continue
		case unix.BPF_LD | unix.BPF_MEM, unix.BPF_LDX | unix.BPF_MEM:
			if in.k >= uint32(len(scratch)) {
				return 0, fmt.Errorf("instruction %d: scratch word %d", pc, in.k)
			}
			if in.code&7 == unix.BPF_LD {
				acc = scratch[in.k]
			} else {
				x = scratch[in.k]
			}
			continue
		case unix.BPF_ST:
			scratch[in.k] = acc
			continue
		case unix.BPF_STX:
			scratch[in.k] = x
			continue
		case opToX:
			x = acc
			continue
		case unix.BPF_MISC | unix.BPF_TXA:
			acc = x
			continue
		case opReturn:
			return in.k, nil
		case unix.BPF_RET | unix.BPF_A:
			return acc, nil
		case opJump:
			if uint64(pc)+1+uint64(in.k) >= uint64(len(code)) {
				return 0, fmt.Errorf("instruction %d: jump by %d leaves the program", pc, in.k)
			}
			pc += int(in.k)
			continue
		case opEqual, opEqual | unix.BPF_X:
			taken = acc == operand
		case opMore, opMore | unix.BPF_X:
			taken = acc > operand
		case opAtMin, opAtMin | unix.BPF_X:
			taken = acc >= operand
		case opAnyBit, opAnyBit | unix.BPF_X:
			taken = acc&operand != 0
		default:
			if in.code&7 != unix.BPF_ALU {
				return 0, fmt.Errorf("instruction %d: code %#x is not permitted", pc, in.code)
			}
			var err error
			if acc, err = arithmetic(in.code, acc, operand); err != nil {
				return 0, fmt.Errorf("instruction %d: %w", pc, err)
			}
			continue
		}
		step := int(in.jf)
		if taken {
			step = int(in.jt)
		}
		if pc += step; pc+1 >= len(code) {
			return 0, fmt.Errorf("jump by %d leaves the program", step)
		}
	}
	return 0, errEnd
}

func arithmetic(code uint16, acc, operand uint32) (uint32, error) {
	switch code &^ unix.BPF_X {
	case unix.BPF_ALU | unix.BPF_ADD:
		return acc + operand, nil
	case opSub:
		return acc - operand, nil
	case unix.BPF_ALU | unix.BPF_MUL:
		return acc * operand, nil
	case unix.BPF_ALU | unix.BPF_DIV:
		if operand == 0 {
			return 0, errors.New("division by zero")
		}
		return acc / operand, nil
	case opAnd:
		return acc & operand, nil
	case unix.BPF_ALU | unix.BPF_OR:
		return acc | operand, nil
	case unix.BPF_ALU | unix.BPF_LSH:
		return acc << (operand & 31), nil
	case unix.BPF_ALU | unix.BPF_RSH:
		return acc >> (operand & 31), nil
	case unix.BPF_ALU | unix.BPF_NEG:
		return -acc, nil
	}
	return 0, fmt.Errorf("code %#x is not permitted", code)
}
