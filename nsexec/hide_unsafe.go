package nsexec

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// argumentArea is where the kernel laid this process's arguments and, after
// them, its environment: from argv[0] to the file name of AT_EXECFN
// (getauxval(3)). Go's os.Args refer to that memory.
func argumentArea() (from, n uintptr) {
	const atExecfn = 31
	aux, err := unix.Auxv()
	if err != nil || len(os.Args) == 0 || len(os.Args[0]) == 0 {
		return 0, 0
	}
	from = uintptr(unsafe.Pointer(unsafe.StringData(os.Args[0])))
	for _, a := range aux {
		if a[0] == atExecfn && a[1] > from && a[1]-from < 8<<20 {
			return from, a[1] - from
		}
	}
	return 0, 0
}
