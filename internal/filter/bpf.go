package filter

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxInsns is BPF_MAXINSNS, what the kernel takes (linux/bpf_common.h).
const maxInsns = 4096

// maxReference bounds a reference, which is never loaded, and grows to several
// instructions for each condition.
const maxReference = 16 * maxInsns

// insnSize is sizeof(struct sock_filter).
const insnSize = 8

// Offsets into struct seccomp_data (seccomp(2)). Both architectures are little
// endian: the low word of an argument comes first.
const (
	offNumber = 0
	offArch   = 4
	offIP     = 8
	offArgs   = 16
	dataSize  = 64
)

// Codes of the instructions that the compiler writes; all are among those
// that seccomp_check_filter in the kernel's kernel/seccomp.c takes.
const (
	opLoad   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	opAnd    = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opSub    = unix.BPF_ALU | unix.BPF_SUB | unix.BPF_K
	opOrX    = unix.BPF_ALU | unix.BPF_OR | unix.BPF_X
	opToX    = unix.BPF_MISC | unix.BPF_TAX
	opJump   = unix.BPF_JMP | unix.BPF_JA
	opEqual  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opMore   = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	opAtMin  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	opAnyBit = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	opReturn = unix.BPF_RET | unix.BPF_K
)

// insn is one struct sock_filter.
type insn struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

// encode returns the instructions as the kernel reads them.
func encode(code []insn) []byte {
	out := make([]byte, 0, len(code)*insnSize)
	for _, in := range code {
		out = binary.NativeEndian.AppendUint16(out, in.code)
		out = append(out, in.jt, in.jf)
		out = binary.NativeEndian.AppendUint32(out, in.k)
	}
	return out
}

// decode is the inverse of encode. It takes at most limit instructions.
func decode(b []byte, limit int) ([]insn, error) {
	n := len(b) / insnSize
	if n == 0 || n > limit || len(b)%insnSize != 0 {
		return nil, fmt.Errorf("filter of %d bytes: want 1 to %d instructions of %d bytes", len(b), limit, insnSize)
	}
	code := make([]insn, n)
	for i := range code {
		at := b[i*insnSize:]
		code[i] = insn{binary.NativeEndian.Uint16(at), at[2], at[3], binary.NativeEndian.Uint32(at[4:])}
	}
	return code, nil
}

// auditArch returns the AUDIT_ARCH_ number by which the kernel names arch.
func auditArch(arch string) (uint32, error) {
	switch arch {
	case "amd64":
		return unix.AUDIT_ARCH_X86_64, nil
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64, nil
	}
	return 0, fmt.Errorf("architecture %q: want amd64 or arm64", arch)
}

// returnValue returns what the filter answers for v.
func (v Verdict) returnValue() uint32 {
	switch v.Kind {
	case Allow:
		return unix.SECCOMP_RET_ALLOW
	case Errno:
		return unix.SECCOMP_RET_ERRNO | uint32(v.Errno)
	case Kill:
		return unix.SECCOMP_RET_KILL_PROCESS
	}
	return unix.SECCOMP_RET_USER_NOTIF
}
