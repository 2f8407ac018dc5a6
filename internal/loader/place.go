package loader

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry"
)

// Place is one registry in the order of precedence.
type Place struct {
	registry.Source
	// Path is the absolute directory; empty for the built-in registry.
	Path string
	// Key names its part of the state directory.
	Key string
	// Owner is the uid that owns the directory, to whom its state belongs;
	// the effective one for the built-in registry.
	Owner uint32
}

// RejectedError says that a bundle was found and is not accepted: exit
// status 126, unless what it asks for is not built yet.
type RejectedError struct{ Err error }

func (e *RejectedError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RejectedError) Unwrap() error { return e.Err }

// Open opens the registries that apply (ctl.Registries) and the built-in one
// after them. A directory of the default list that does not exist is left
// out; one that was named must exist.
func Open(flag string) ([]Place, error) {
	var places []Place
	named := flag != "" || os.Getenv("SBX_REGISTRY") != ""
	for _, path := range ctl.Registries(flag) {
		p, err := OpenPlace(path)
		if errors.Is(err, fs.ErrNotExist) && !named {
			continue
		}
		if err != nil {
			return nil, err
		}
		places = append(places, p)
	}
	return append(places, BuiltinPlace()), nil
}

// BuiltinPlace is the registry that comes with sbx, the last of every list.
func BuiltinPlace() Place {
	return Place{Source: registry.Builtin(), Key: state.BuiltinKey, Owner: uint32(os.Geteuid())}
}

// OpenPlace opens one registry directory.
func OpenPlace(path string) (Place, error) {
	d, err := registry.OpenDir(path)
	if err != nil {
		return Place{}, err
	}
	var st unix.Stat_t
	if err := unix.Stat(d.Path(), &st); err != nil {
		return Place{}, &fs.PathError{Op: "stat", Path: d.Path(), Err: err}
	}
	return Place{Source: d, Path: d.Path(), Key: state.RegistryKey(&st), Owner: st.Uid}, nil
}

// Find turns words into a name: the first registry that knows the first word
// decides. used is how many words name the command.
func Find(places []Place, words []string) (name string, in Place, used int, err error) {
	var unknown error
	for _, p := range places {
		name, rest, err := registry.Find(p.Source, words)
		if errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrGroup) {
			var u *registry.UnknownError
			if errors.As(err, &u) && (u.Group != "" || unknown == nil) {
				unknown = err
			}
			if u != nil && u.Group != "" {
				break // a group here hides what comes later
			}
			continue
		}
		return name, p, len(words) - len(rest), err
	}
	return "", Place{}, 0, unknown
}
