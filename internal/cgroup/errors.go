package cgroup

import (
	"errors"

	"golang.org/x/sys/unix"
)

var (
	// ErrNoHierarchy says that no version 2 hierarchy (Linux 4.5) is
	// mounted, or that a directory is not part of one.
	ErrNoHierarchy = errors.New("no cgroup v2 hierarchy")
	// ErrNotDelegated says that the caller may make groups nowhere.
	ErrNotDelegated = errors.New("no cgroup is delegated to the caller")
	// ErrNoController says that a limit cannot be held because its
	// controller is not available in the leaf.
	ErrNoController = errors.New("controller not available")
	// ErrPopulated says that a leaf still had processes at the deadline.
	ErrPopulated = errors.New("still has processes")
)

// Error is an operation on one file or directory that the kernel refused.
type Error struct {
	// Op is the operation, a lower-case verb.
	Op string
	// Path is the file or directory, absolute where it is known.
	Path string
	// Err is the cause, mostly a unix.Errno.
	Err error
}

// Error is operation, object, cause.
func (e *Error) Error() string { return e.Op + " \"" + e.Path + "\": " + e.Err.Error() }

// Unwrap gives the cause, so that errors.Is finds the errno.
func (e *Error) Unwrap() error { return e.Err }

// NotDelegatedError is ErrNotDelegated with the place and the reason.
type NotDelegatedError struct {
	// Path is the directory in which the caller may not make a group.
	Path string
	// Err is why: EACCES, EPERM or EROFS.
	Err error
}

// Error is operation, object, cause.
func (e *NotDelegatedError) Error() string {
	return "make a cgroup in \"" + e.Path + "\": " + e.Err.Error() + ": " + ErrNotDelegated.Error()
}

// Unwrap gives the errno.
func (e *NotDelegatedError) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrNotDelegated) true.
func (e *NotDelegatedError) Is(target error) bool { return target == ErrNotDelegated }

// ControllerError is ErrNoController with the controller and the reason.
type ControllerError struct {
	// Controller is the kernel's name: memory, pids, cpu, io.
	Controller string
	// Path is the group that does not have it or cannot hand it down.
	Path string
	// Err is why. ENOENT: not offered there (mounted as version 1, switched
	// off on the kernel's command line, not handed down from above). EBUSY:
	// the group has processes of its own. Otherwise what the write gave.
	Err error
}

// Error is operation, object, cause, and for the two common causes what the
// errno means here.
func (e *ControllerError) Error() string {
	why := e.Err.Error()
	switch {
	case isErrno(e.Err, unix.ENOENT):
		why = "not offered there (in use by cgroup v1, switched off, or not delegated)"
	case isErrno(e.Err, unix.EBUSY):
		why = "the group has other processes of its own"
	}
	return "enable controller " + e.Controller + " in \"" + e.Path + "\": " + why
}

// Unwrap gives the cause.
func (e *ControllerError) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrNoController) true.
func (e *ControllerError) Is(target error) bool { return target == ErrNoController }

// wrap adds operation and object; a nil err stays nil.
func wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Path: path, Err: err}
}

// isErrno reports whether err is or wraps this errno.
func isErrno(err error, errno unix.Errno) bool {
	return err != nil && errors.Is(err, errno)
}
