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
	"io"
	"time"

	"github.com/sbx-project/sbx/registry"
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
	dir string
}

var errNotBuilt = errors.New("not built yet")

// Open opens the state directory at dir, an absolute path, whose components
// are checked as safefs.OpenTrusted does. Exclusive makes the directory (0755
// for root, so that others may read what they run, else 0700), takes the lock
// and removes what an interrupted commit left; it is ErrHeld when another
// process has the lock. ReadOnly matches fs.ErrNotExist when there is none.
// The caller closes the Chain.
func Open(dir string, mode Mode) (*Chain, error) { return nil, errNotBuilt }

// Close releases the lock.
func (c *Chain) Close() error { return nil }

// Newest returns the newest generation that verifies as a whole, with an error
// in damaged for each newer one that does not. err is ErrEmpty when there is
// none, else what kept from looking. The caller owns the snapshot.
func (c *Chain) Newest() (s *Snapshot, damaged []error, err error) { return nil, nil, errNotBuilt }

// At returns one generation. The error matches ErrEmpty when it is not kept,
// ErrDamaged when it does not verify.
func (c *Chain) At(generation uint64) (*Snapshot, error) { return nil, errNotBuilt }

// List returns what is known of the kept generations, newest first.
func (c *Chain) List() ([]Info, error) { return nil, errNotBuilt }

// Next is the number that the next committed generation must have: higher than
// any that was ever visible, damaged ones included.
func (c *Chain) Next() (uint64, error) { return 0, errNotBuilt }

// Commit makes a generation and all that was Put before durable, and then
// removes generations beyond Keep. After an error the generation before is
// the newest, and what was Put is to be Put again.
func (c *Chain) Commit(s *Snapshot) error { return errNotBuilt }

// Put stores the bytes of a bundle: its Source, each of its Files as open
// gives it, and the signature when there is one. It is an error when what was
// written does not have b.Digest. A bundle that is stored already is verified,
// and only written again when it is damaged; a signature that it lacks or that
// differs is replaced. Durable after the next Commit.
func (c *Chain) Put(b *registry.Bundle, open func(name string) (io.ReadCloser, error), signature []byte) error {
	return errNotBuilt
}

// BundleDir is the absolute path of the directory of a stored bundle, whether
// it is there or not.
func (c *Chain) BundleDir(digest string) string { return c.dir + "/bundles/" + digest }

// Load reads a stored bundle and verifies its digest. Dir is BundleDir, File
// and Stamps are those of the store. The error matches ErrNotStored or
// ErrDamaged.
func (c *Chain) Load(name, digest string) (registry.Bundle, error) {
	return registry.Bundle{}, errNotBuilt
}

// Verity reports whether every file of a stored bundle is under fs-verity, so
// that the kernel refuses to read changed bytes. False where the file system
// does not have it.
func (c *Chain) Verity(digest string) (bool, error) { return false, errNotBuilt }

// Collect removes stored bundles and objects that no kept generation uses.
// keep is asked for each digest besides; it answers true for what is in
// flight. When a kept generation cannot be read for a reason other than
// damage nothing is removed.
func (c *Chain) Collect(keep func(digest string) bool) error { return errNotBuilt }
