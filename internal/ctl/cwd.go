package ctl

import "golang.org/x/sys/unix"

// workingDir is the absolute path of the working directory, or "" where it has
// none. The first try is small, because a large frame makes the stack grow.
func workingDir() string {
	var b [512]byte
	n, err := unix.Getcwd(b[:])
	if err == unix.ERANGE {
		return longWorkingDir()
	}
	return absolute(b[:], n, err)
}

//go:noinline
func longWorkingDir() string {
	b := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(b)
	return absolute(b, n, err)
}

// absolute is the path in the n bytes that getcwd(2) gave, NUL included. One
// that is not reachable from the root does not begin with a slash.
func absolute(b []byte, n int, err error) string {
	if err != nil || n <= 1 || b[0] != '/' {
		return ""
	}
	return string(b[:n-1])
}
