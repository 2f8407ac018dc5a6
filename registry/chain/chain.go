// Package chain keeps the snapshots of one registry on disk, so that what was
// active stays active whatever happens to the process or the power. Use
// [Open], then [Chain.Newest] to begin with what was, and [Chain.Put] and
// [Chain.Commit] to change it.
//
// A generation is a root object, which names the hashes of up to 256 shards of
// the command table. Both are verified before they are parsed; the newest
// generation that verifies as a whole wins, and those that do not are
// reported and left where they are. Beside them are the bundles' bytes, by
// digest, read-only.
//
// It does not judge what it stores (registry/life does), and it does not
// protect from whoever may write the directory: those are uid 0 and its
// owner.
package chain

import (
	"errors"
	"fmt"
	"os"
	"path"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/registry/life"
)

// Keep is how many generations are kept.
const Keep = 16

// Mode says what a Chain may do.
type Mode uint8

// The modes. The zero value is the one that changes nothing.
const (
	// ReadOnly reads. It takes no lock, so that it works beside a loader.
	ReadOnly Mode = iota
	// Exclusive makes directories as needed and holds the lock until Close.
	Exclusive
)

var (
	// ErrHeld: another loader holds the lock.
	ErrHeld = errors.New("another loader holds the lock")
	// ErrEmpty: there is no generation that verifies.
	ErrEmpty = errors.New("no generation")
	// ErrNotStored: there is no stored bundle of that digest.
	ErrNotStored = errors.New("bundle is not stored")
	// ErrReadOnly: the Chain was opened ReadOnly.
	ErrReadOnly = errors.New("state is open for reading only")
	// ErrDamaged: what was read is not what was written.
	ErrDamaged = errors.New("damaged")
)

// Snapshot is the whole command table in one generation.
type Snapshot struct {
	// Generation is Chain.Next when it is committed.
	Generation uint64
	Time       time.Time
	// By and Why are for history: up to 1000 bytes each.
	By, Why string
	// Changed are the names that differ from the parent, sorted.
	Changed []string
	// Counted are names of which nothing but counts of runs differs, for
	// Commit only. A generation that has changed nothing else is removed by
	// the commit after it: who makes runs must not push the history out.
	Counted []string
	// Commands are by name.
	Commands map[string]life.Command
}

// Info is what history shows of one generation.
type Info struct {
	Generation uint64
	Time       time.Time
	By, Why    string
	Changed    []string
	// Err is set when the generation does not verify; then only Generation
	// is. Only the root object is looked at.
	Err error
}

// Chain is the state directory of one registry. It is safe for concurrent use
// until Close.
type Chain struct {
	disk *disk
	mode Mode
	lock *os.File

	// mu is held for reading by Put, which may run beside itself, and for
	// writing by whatever else changes the directory.
	mu sync.RWMutex
	// parent is the newest generation that verified; nil before that.
	parent *parent
	// burnt is the highest number that a failed commit may have shown.
	burnt uint64
	// needs is what is known of what generations need: a kept one does not
	// change.
	needs needs

	// put guards what Put leaves for the next commit.
	put struct {
		mu sync.Mutex
		// pending are digests whose bundles are to be made durable, with the
		// number of their files.
		pending map[string]int
		// suspect are digests whose bundles were written and not made
		// durable: the pages may be gone, whatever reads say.
		suspect map[string]bool
	}
}

// parent is what the next root object refers to.
type parent struct {
	root *root
	sum  string
}

// The parts of a state directory.
const (
	lockName       = "lock"
	currentName    = "current"
	generationsDir = "generations"
	objectsDir     = "objects"
	bundlesDir     = "bundles"
)

// Open opens the state directory at dir, an absolute path, whose components
// are checked as safefs.OpenTrusted does. Exclusive makes the directory (0755
// for root, so that others may read what they run, else 0700), takes the lock
// and removes what an interrupted commit left; it is ErrHeld when another
// process has the lock. ReadOnly matches fs.ErrNotExist when there is none.
// The caller closes the Chain.
func Open(dir string, mode Mode) (*Chain, error) { return open(dir, mode, nil) }

// open is Open with a hook for disk.before.
func open(dir string, mode Mode, before func(step) error) (*Chain, error) {
	d := &disk{path: path.Clean(dir), dirMode: 0o700, fileMode: 0o600, before: before}
	if os.Geteuid() == 0 {
		d.dirMode, d.fileMode = 0o755, 0o644
	}
	if mode == Exclusive {
		if err := makeDirs(d.path, d.dirMode); err != nil {
			return nil, fmt.Errorf("open state: %w", err)
		}
	}
	var err error
	if d.root, err = safefs.OpenTrusted(d.path); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	c := &Chain{disk: d, mode: mode, needs: newNeeds()}
	c.put.pending, c.put.suspect = map[string]int{}, map[string]bool{}
	if mode == Exclusive {
		if err := c.prepare(); err != nil {
			c.Close()
			return nil, fmt.Errorf("open state: %w", err)
		}
	}
	return c, nil
}

// makeDirs makes a directory and what is missing above it, each durable.
func makeDirs(dir string, mode uint32) error {
	err := unix.Mkdir(dir, mode)
	if errors.Is(err, unix.ENOENT) {
		if err := makeDirs(path.Dir(dir), mode); err != nil {
			return err
		}
		err = unix.Mkdir(dir, mode)
	}
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err == nil {
		err = unix.Chmod(dir, mode)
	}
	if err == nil {
		var above *os.File
		if above, err = os.Open(path.Dir(dir)); err == nil {
			err = above.Sync()
			above.Close()
		}
	}
	if err != nil {
		return &os.PathError{Op: "make directory", Path: dir, Err: err}
	}
	return nil
}

// prepare takes the lock, makes the parts and clears what a crash left.
func (c *Chain) prepare() error {
	fd, err := unix.Openat(c.disk.fd(), lockName, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return c.disk.fail("open", lockName, err)
	}
	c.lock = os.NewFile(uintptr(fd), path.Join(c.disk.path, lockName))
	err = retry(func() error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrHeld
	}
	if err != nil {
		return c.disk.fail("lock", lockName, err)
	}
	made := false
	for _, name := range []string{generationsDir, objectsDir, bundlesDir} {
		err := c.disk.mkdir(name)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err == nil {
			err = c.disk.chmod(name, c.disk.dirMode)
		}
		if err != nil {
			return err
		}
		made = true
	}
	if made {
		if err := c.disk.syncName(opSyncDir, "."); err != nil {
			return err
		}
	}
	return c.sweep()
}

// sweep removes temporary files. Nobody else writes: the lock is held.
func (c *Chain) sweep() error {
	for _, dir := range []string{".", generationsDir, objectsDir, bundlesDir} {
		names, err := c.disk.list(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			if !isTemporary(name) {
				continue
			}
			if err := c.disk.removeAll(path.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close releases the lock.
func (c *Chain) Close() error {
	err := c.disk.root.Close()
	if c.lock != nil {
		// Closing the last descriptor of the open file releases it.
		err = errors.Join(err, c.lock.Close())
	}
	return err
}
