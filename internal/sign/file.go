package sign

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// PublicPath is where the public half of a secret key in path goes: beside it,
// with .pub for .key, or added.
func PublicPath(path string) string { return strings.TrimSuffix(path, ".key") + ".pub" }

// WriteKey writes a new key: secret, as [SecretKey.File] made it, to path with
// mode 0600, and the public half to PublicPath. It overwrites nothing: an
// existing file is an error that matches fs.ErrExist, and nothing is left of
// the other one.
func WriteKey(path string, secret []byte, public PublicKey) error {
	if err := create(path, 0o600, secret); err != nil {
		return err
	}
	if err := create(PublicPath(path), 0o644, public.File()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// create makes a file that was not there, and syncs it.
func create(path string, mode fs.FileMode, data []byte) (err error) {
	// O_EXCL follows no link either (open(2)).
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// ReadKeyFile reads a key file: a regular file of at most MaxSize bytes. secret
// refuses one that others may read or write.
func ReadKeyFile(path string, secret bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("open %q: not a regular file", path)
	}
	if bad := st.Mode().Perm() & 0o077; secret && bad != 0 {
		return nil, &ExposedError{Path: path, Mode: st.Mode().Perm()}
	}
	return io.ReadAll(io.LimitReader(f, MaxSize+1)) // one more than parsers take
}

// ExposedError says that a secret key is open to others.
type ExposedError struct {
	Path string
	Mode fs.FileMode
}

// Error names the file and its mode.
func (e *ExposedError) Error() string {
	return fmt.Sprintf("%q: a secret key that others may read or write (mode %o)", e.Path, e.Mode)
}

// Hint is the command that mends it.
func (e *ExposedError) Hint() string { return "chmod 600 " + e.Path }
