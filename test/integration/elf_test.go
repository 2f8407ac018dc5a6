package integration

import (
	"bytes"
	"encoding/binary"
)

// The program that enters the kernel by the 32-bit gate is made here, byte by
// byte, so that a guest needs neither compiler nor assembler. ELF-64 header
// and one segment; elf(5).

// int80 is "getpid by int 0x80, then exit(0) by syscall": exit 0 would mean
// that the refused call was answered.
var int80 = []byte{
	0xb8, 20, 0, 0, 0, // mov eax, 20: getpid of i386
	0xcd, 0x80, // int 0x80
	0x31, 0xff, // xor edi, edi
	0xb8, 60, 0, 0, 0, // mov eax, 60: exit of x86-64
	0x0f, 0x05, // syscall
}

// elfProgram is a static executable of this code.
func elfProgram(code []byte) []byte {
	const base, head = 0x400000, 64 + 56
	size := uint64(head + len(code))
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, v := range []any{
		uint16(2), uint16(62), uint32(1), // ET_EXEC, EM_X86_64, EV_CURRENT
		uint64(base + head), uint64(64), uint64(0), // entry, program headers, no sections
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(64), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000), // PT_LOAD, R+X
	} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	b.Write(code)
	return b.Bytes()
}
