package filter

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Dump returns the program in readable form, one numbered instruction a line,
// jump targets as line numbers, loads by the field of struct seccomp_data. It
// never fails: what it does not know it prints as numbers.
func Dump(insns []byte) string {
	code, err := decode(insns, maxReference)
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for pc, in := range code {
		fmt.Fprintf(&b, "%4d: %s\n", pc, in.text(pc))
	}
	return b.String()
}

func (in insn) text(pc int) string {
	operand := func() string {
		if in.code&unix.BPF_X != 0 {
			return "x"
		}
		return fmt.Sprintf("%#x", in.k)
	}
	switch in.code & 7 {
	case unix.BPF_LD, unix.BPF_LDX:
		register := "a"
		if in.code&7 == unix.BPF_LDX {
			register = "x"
		}
		switch in.code & 0xe0 {
		case unix.BPF_ABS:
			return register + " = " + field(in.k)
		case unix.BPF_IMM:
			return fmt.Sprintf("%s = %#x", register, in.k)
		case unix.BPF_MEM:
			return fmt.Sprintf("%s = m[%d]", register, in.k)
		case unix.BPF_LEN:
			return register + " = size"
		}
	case unix.BPF_ST:
		return fmt.Sprintf("m[%d] = a", in.k)
	case unix.BPF_STX:
		return fmt.Sprintf("m[%d] = x", in.k)
	case unix.BPF_MISC:
		if in.code == opToX {
			return "x = a"
		}
		return "a = x"
	case unix.BPF_RET:
		if in.code == unix.BPF_RET|unix.BPF_A {
			return "return a"
		}
		return "return " + returnText(in.k)
	case unix.BPF_ALU:
		if in.code&0xf0 == unix.BPF_NEG {
			return "a = -a"
		}
		sign := map[uint16]string{unix.BPF_ADD: "+", unix.BPF_SUB: "-", unix.BPF_MUL: "*", unix.BPF_DIV: "/",
			unix.BPF_AND: "&", unix.BPF_OR: "|", unix.BPF_LSH: "<<", unix.BPF_RSH: ">>"}[in.code&0xf0]
		if sign != "" {
			return "a " + sign + "= " + operand()
		}
	case unix.BPF_JMP:
		if in.code == opJump {
			return fmt.Sprintf("goto %d", uint64(pc)+1+uint64(in.k))
		}
		sign := map[uint16]string{unix.BPF_JEQ: "==", unix.BPF_JGT: ">", unix.BPF_JGE: ">=", unix.BPF_JSET: "&"}[in.code&0xf0]
		if sign != "" {
			return fmt.Sprintf("if a %s %s goto %d else %d", sign, operand(), pc+1+int(in.jt), pc+1+int(in.jf))
		}
	}
	return fmt.Sprintf("code %#x, %d, %d, %#x", in.code, in.jt, in.jf, in.k)
}

func field(offset uint32) string {
	switch {
	case offset == offNumber:
		return "nr"
	case offset == offArch:
		return "arch"
	case offset == offIP:
		return "ip.low"
	case offset == offIP+4:
		return "ip.high"
	case offset < dataSize && offset%8 == 0:
		return fmt.Sprintf("args[%d].low", (offset-offArgs)/8)
	case offset < dataSize && offset%8 == 4:
		return fmt.Sprintf("args[%d].high", (offset-offArgs)/8)
	}
	return fmt.Sprintf("data[%d]", offset)
}

func returnText(value uint32) string {
	name := ""
	switch value & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW:
		name = "ALLOW"
	case unix.SECCOMP_RET_ERRNO:
		return "ERRNO " + errnoName(uint16(value))
	case unix.SECCOMP_RET_USER_NOTIF:
		name = "USER_NOTIF"
	case unix.SECCOMP_RET_KILL_PROCESS:
		name = "KILL_PROCESS"
	case unix.SECCOMP_RET_KILL_THREAD:
		name = "KILL_THREAD"
	case unix.SECCOMP_RET_TRAP:
		name = "TRAP"
	case unix.SECCOMP_RET_TRACE:
		name = "TRACE"
	case unix.SECCOMP_RET_LOG:
		name = "LOG"
	default:
		return fmt.Sprintf("%#x", value)
	}
	if low := value & unix.SECCOMP_RET_DATA; low != 0 {
		return fmt.Sprintf("%s %#x", name, low)
	}
	return name
}

// errnoName returns the name of an errno, or its number.
func errnoName(errno uint16) string {
	if name := unix.ErrnoName(unix.Errno(errno)); name != "" {
		return name
	}
	return fmt.Sprint(errno)
}
