//go:build !amd64

package testenv

import "golang.org/x/sys/unix"

// CanFail tells whether [Act.Fail] works here.
const CanFail = false

var oldByPath []int

func skipCall(int) error { return unix.ENOTSUP }

func failCall(int, unix.Errno) error { return unix.ENOTSUP }
