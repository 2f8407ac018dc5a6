package publish

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/registry"
)

const (
	// tempPrefix begins the names of directories that hold a copy until it
	// has its name, or a bundle until it is gone. Names with a dot in front
	// are no bundles.
	tempPrefix = ".sbx-"
	// lockFile keeps two changes of a registry apart. It has mode 0600: a
	// lock on what everybody may open could be held by everybody.
	lockFile = ".sbx-lock"
)

// ErrBusy says that another install or remove is at work on the registry.
var ErrBusy = errors.New("another install or remove is at work on this registry")

// writer changes one registry. All its paths are below root.
type writer struct {
	root *os.Root
	path string
	lock *os.File
}

// openWriter opens a registry whose owners registry.OpenDir has checked, takes
// its lock, and clears away what an interrupted change left.
func openWriter(path string) (*writer, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	w := &writer{root: root, path: path}
	if w.lock, err = root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600); err != nil {
		root.Close()
		return nil, err
	}
	if err := unix.Flock(int(w.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		w.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrBusy
		}
		return nil, &os.PathError{Op: "lock", Path: filepath.Join(path, lockFile), Err: err}
	}
	if err := w.clear(); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Close gives up the lock. Its file stays: who removed it could remove
// another's.
func (w *writer) Close() {
	w.lock.Close()
	w.root.Close()
}

// clear removes the directories of a change that was cut off, and leaves what
// it may not remove: in a sticky directory others can put something there.
func (w *writer) clear() error {
	f, err := w.root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(1024)
		for _, name := range names {
			if strings.HasPrefix(name, tempPrefix) && name != lockFile {
				_ = w.root.RemoveAll(name)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// temp makes a directory that nobody else uses.
func (w *writer) temp() (string, error) {
	name := tempPrefix + rand.Text()
	return name, w.mkdir(name)
}

// mkdir makes a directory of mode 0755, whatever the umask.
func (w *writer) mkdir(name string) error {
	if err := w.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	return w.root.Chmod(name, 0o755)
}

// parents makes the directories of a shipped file below to.
func (w *writer) parents(to, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := w.parents(to, filepath.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return w.mkdir(to + "/" + dir)
}

// groups makes the directories above a command that are not there, durably.
func (w *writer) groups(group string) error {
	group = strings.TrimSuffix(group, "/")
	if group == "" {
		return nil
	}
	if _, err := w.root.Lstat(group); err == nil {
		return nil
	}
	above, _ := filepath.Split(group)
	if err := w.groups(above); err != nil {
		return err
	}
	if err := w.mkdir(group); err != nil {
		return err
	}
	return w.syncDir(filepath.Dir(group))
}

// write makes a file that was not there.
func (w *writer) write(name string, mode os.FileMode, data []byte) error {
	f, err := w.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return w.finish(f, mode, err)
}

func (w *writer) finish(f *os.File, mode os.FileMode, err error) error {
	if err == nil {
		err = f.Chmod(mode)
	}
	return errors.Join(err, f.Close())
}

// copyFile copies one shipped file. That it still has its bytes and its bit is
// seen when the copy is read.
func (w *writer) copyFile(source *os.File, path string, f registry.ShippedFile, to string) error {
	in, _, err := safefs.OpenBeneath(source, path, f.Name)
	if err != nil {
		return err
	}
	defer in.Close()
	mode := os.FileMode(0o644)
	if f.Executable {
		mode = 0o755
	}
	out, err := w.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(in, f.Size+1))
	if err == nil && n != f.Size {
		err = fmt.Errorf("%q: changed while it was copied", f.Name)
	}
	return w.finish(out, mode, err)
}

// manyFiles is from when on one syncfs(2), which waits for the whole file
// system, is less than an fsync(2) for each file: a few milliseconds each on
// a disk.
const manyFiles = 64

// sync makes everything below dir durable; files is about how many there are.
func (w *writer) sync(dir string, files int) error {
	if files >= manyFiles {
		f, err := w.root.Open(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Syncfs(int(f.Fd()))
	}
	return w.syncTree(dir)
}

func (w *writer) syncTree(name string) error {
	f, err := w.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.IsDir() {
		names, err := f.Readdirnames(-1)
		if err != nil {
			return err
		}
		for _, child := range names {
			if err := w.syncTree(name + "/" + child); err != nil {
				return err
			}
		}
	}
	return f.Sync()
}

func (w *writer) syncDir(name string) error {
	f, err := w.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
