package nsexec

import "unsafe"

// Integers in the byte order of the host, as the kernel's structures hold
// them. encoding/binary would bring reflect into every invocation.

func putNative32(b []byte, v uint32) { _ = b[3]; *(*uint32)(unsafe.Pointer(&b[0])) = v }

// putDecimal writes n in decimal, with leading zeros, into width bytes at p.
//
//go:nosplit
//go:norace
func putDecimal(p, width uintptr, n uint64) {
	for i := width; i > 0; i-- {
		*(*byte)(pointer(p + i - 1)) = '0' + byte(n%10)
		n /= 10
	}
}

// putNumber writes n in decimal at p and returns the end.
//
//go:nosplit
//go:norace
func putNumber(p uintptr, n uint64) uintptr {
	width := uintptr(1)
	for m := n; m >= 10; m /= 10 {
		width++
	}
	putDecimal(p, width, n)
	return p + width
}

// putString writes s at p and returns the end.
//
//go:nosplit
//go:norace
func putString(p uintptr, s string) uintptr {
	for i := range len(s) {
		*(*byte)(pointer(p + uintptr(i))) = s[i]
	}
	return p + uintptr(len(s))
}

// recordAt reads a record where init wrote it: the same memory layout, since
// init is a copy of this program.
func recordAt(b []byte) *Record { _ = b[recordSize-1]; return (*Record)(unsafe.Pointer(&b[0])) }

// A Record has no padding, or bytes of init's memory would go out with it.
var _ [recordSize]byte = [unsafe.Sizeof(Record{})]byte{}
