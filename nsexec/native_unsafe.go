package nsexec

import "unsafe"

// Integers in the byte order of the host, as the kernel's structures hold
// them. encoding/binary would bring reflect into every invocation.

func putNative32(b []byte, v uint32) { _ = b[3]; *(*uint32)(unsafe.Pointer(&b[0])) = v }

// recordAt reads a record where init wrote it: the same memory layout, since
// init is a copy of this program.
func recordAt(b []byte) *Record { _ = b[recordSize-1]; return (*Record)(unsafe.Pointer(&b[0])) }

// A Record has no padding, or bytes of init's memory would go out with it.
var _ [recordSize]byte = [unsafe.Sizeof(Record{})]byte{}
