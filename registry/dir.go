package registry

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
)

// Dir is a registry on disk. It is safe for concurrent use until Close.
type Dir struct {
	root *os.File
	path string
}

// OpenDir opens the registry at path, after every component from / was
// checked. The error is a *safefs.OwnerError when one could be changed by
// somebody who is not believed (exit status 126); one that matches
// fs.ErrNotExist when there is none. The caller closes the Dir.
//
// Trust boundary. Whoever may write below path controls what is read here;
// the walk makes sure that this is uid 0 or the effective uid. The loader may
// hold root's rights. Nothing was checked before. Everything that is not a
// directory or a regular file with one name, of the right owner and within
// bounds, is refused.
func OpenDir(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open registry %q: %w", path, err)
	}
	root, err := safefs.OpenTrusted(abs)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		root.Close()
		return nil, fmt.Errorf("stat registry %q: %w", abs, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		root.Close()
		return nil, fmt.Errorf("open registry %q: %w", abs, unix.ENOTDIR)
	}
	return &Dir{root: root, path: abs}, nil
}

// Close releases the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Same tells whether both are open on one directory that still has a name.
func (d *Dir) Same(other *Dir) bool {
	var a, b unix.Stat_t
	return unix.Fstat(int(d.root.Fd()), &a) == nil && unix.Fstat(int(other.root.Fd()), &b) == nil &&
		a.Dev == b.Dev && a.Ino == b.Ino && a.Nlink > 0
}

// Path is the absolute path of the registry.
func (d *Dir) Path() string { return d.path }

// place is an open directory below the registry.
type place struct {
	file *os.File
	path string
	st   unix.Stat_t
}

// top returns the registry directory as a place of its own, with what fstat
// gives now.
func (d *Dir) top() (place, error) {
	f, st, err := safefs.OpenBeneath(d.root, d.path, ".")
	if err != nil {
		return place{}, err
	}
	p := place{file: f, path: d.path, st: st}
	if err := safefs.CheckOwner(d.path, &st); err != nil {
		f.Close()
		return place{}, err
	}
	return p, nil
}

// open opens name in p and checks its owner. The caller closes the file.
func (p place) open(name string) (place, error) {
	f, st, err := safefs.OpenBeneath(p.file, p.path, name)
	if err != nil {
		return place{}, err
	}
	child := place{file: f, path: filepath.Join(p.path, name), st: st}
	if err := safefs.CheckOwner(child.path, &st); err != nil {
		f.Close()
		return place{}, err
	}
	return child, nil
}

// kind returns the type bits of name in p, 0 when it does not exist.
func (p place) kind(name string) (uint32, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(p.file.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, &os.PathError{Op: "stat", Path: filepath.Join(p.path, name), Err: err}
	}
	return st.Mode & unix.S_IFMT, nil
}

// node says what segment is in p: NAME.yaml, NAME/bundle.yaml or NAME/.
func (p place) node(segment string) (kind NodeKind, oneFile bool, err error) {
	file, err := p.kind(segment + ".yaml")
	if err != nil {
		return Missing, false, err
	}
	dir, err := p.kind(segment)
	if err != nil {
		return Missing, false, err
	}
	switch {
	case dir == unix.S_IFLNK:
		return Missing, false, &safefs.KindError{Path: filepath.Join(p.path, segment), Kind: "symbolic link"}
	case file != 0 && dir == unix.S_IFDIR:
		return Missing, false, ErrTree
	case file != 0:
		return Command, true, nil
	case dir != unix.S_IFDIR:
		return Missing, false, nil
	}
	manifest, err := p.kind(segment + "/" + ManifestName)
	if err != nil {
		return Missing, false, err
	}
	if manifest != 0 {
		return Command, false, nil
	}
	return Group, false, nil
}

// Node implements Source.
func (d *Dir) Node(name string) (NodeKind, error) {
	if CheckName(name) != nil {
		return Missing, nil
	}
	kind := Missing
	err := d.walk(name, func(p place, segment string) (err error) {
		kind, _, err = p.node(segment)
		return err
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return Missing, nil
	case err != nil:
		return Missing, fmt.Errorf("look up %q: %w", name, err)
	}
	return kind, nil
}

// walk goes through the groups of name and calls visit with the place that
// holds its last segment. Every directory on the way is checked.
func (d *Dir) walk(name string, visit func(p place, segment string) error) error {
	p, err := d.top()
	if err != nil {
		return err
	}
	defer func() { p.file.Close() }()
	segments := strings.Split(name, ".")
	for _, segment := range segments[:len(segments)-1] {
		kind, _, err := p.node(segment)
		if err != nil {
			return err
		}
		if kind != Group {
			return ErrNotFound
		}
		child, err := p.open(segment)
		if err != nil {
			return err
		}
		p.file.Close()
		p = child
	}
	return visit(p, segments[len(segments)-1])
}

// readFile reads a regular file of one name, of at most limit bytes, and makes
// sure that it did not change meanwhile.
func (p place) readFile(limit int64) ([]byte, error) {
	if err := p.regular(limit); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(p.file, limit+1))
	if err != nil {
		return nil, err
	}
	return data, p.unchanged(int64(len(data)))
}

// regular refuses what is not a regular file with one name within limit.
func (p place) regular(limit int64) error {
	switch {
	case p.st.Mode&unix.S_IFMT != unix.S_IFREG:
		return &safefs.KindError{Path: p.path, Kind: "directory"}
	case p.st.Nlink != 1:
		return &safefs.KindError{Path: p.path, Kind: "hard link"}
	case p.st.Size > limit:
		return fmt.Errorf("read %q: %d bytes are more than the bound of %d", p.path, p.st.Size, limit)
	}
	return nil
}

// unchanged compares what fstat gives now with what it gave before reading:
// a file that is being written is not loaded; the event of its end loads it.
func (p place) unchanged(read int64) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(p.file.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: p.path, Err: err}
	}
	if st.Size != read || st.Size != p.st.Size || st.Mtim != p.st.Mtim || st.Ctim != p.st.Ctim {
		return fmt.Errorf("read %q: %w", p.path, ErrChanged)
	}
	return nil
}

func (p place) stamp() plan.Stamp { return stampOf(p.path, &p.st) }

func stampOf(path string, st *unix.Stat_t) plan.Stamp {
	return plan.Stamp{
		Path: path, Dev: st.Dev, Ino: st.Ino, Size: st.Size,
		MtimeNs: st.Mtim.Nano(), CtimeNs: st.Ctim.Nano(),
	}
}

// passage is the stamp of a directory that only leads to a bundle.
func (p place) passage() plan.Stamp { return passageOf(p.path, &p.st) }

func passageOf(path string, st *unix.Stat_t) plan.Stamp {
	return plan.Stamp{Path: path, Dev: st.Dev, Ino: st.Ino, Passage: true, Mode: st.Mode, UID: st.Uid}
}

// signature returns the bytes and the stamp of a signature file; nil and an
// Absent stamp when there is none.
func (p place) signature(name string) ([]byte, plan.Stamp, error) {
	child, err := p.open(name)
	if errors.Is(err, unix.ENOENT) {
		return nil, plan.Stamp{Path: filepath.Join(p.path, name), Absent: true}, nil
	}
	if err != nil {
		return nil, plan.Stamp{}, err
	}
	defer child.file.Close()
	data, err := child.readFile(MaxSignature)
	if err != nil {
		return nil, plan.Stamp{}, err
	}
	if data == nil {
		data = []byte{} // an empty file is a bad signature, not a missing one
	}
	return data, child.stamp(), nil
}
