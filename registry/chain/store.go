package chain

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// Modes of stored files: nobody writes them again.
const (
	storedFile = 0o444
	storedExec = 0o555
)

// storedDir is the mode of stored directories: read-only for root, whom it
// does not keep from removing them. An ordinary user could not remove his own
// state with rm -r, so for him they are only closed to others.
func (d *disk) storedDir() uint32 {
	if d.dirMode == 0o755 {
		return 0o555
	}
	return d.dirMode
}

// bundleName is where a bundle is, below the state directory.
func bundleName(digest string) string {
	return path.Join(bundlesDir, strings.TrimPrefix(digest, "sha256:"))
}

// BundleDir is the absolute path of the directory of a stored bundle, whether
// it is there or not; empty for what is not a digest.
func (c *Chain) BundleDir(digest string) string {
	if !life.IsDigest(digest) {
		return ""
	}
	return path.Join(c.disk.path, bundleName(digest))
}

// Put stores the bytes of a bundle: its Source, each of its Files as open
// gives it, and the signature when there is one. It is an error when what was
// written does not have b.Digest. A bundle that is stored already is verified,
// and only written again when it is damaged; a signature that it lacks or that
// differs is replaced, and one that b lacks is left. Durable after the next
// Commit. Several bundles may be Put at once.
func (c *Chain) Put(b *registry.Bundle, open func(name string) (io.ReadCloser, error), signature []byte) error {
	if c.mode != Exclusive {
		return fmt.Errorf("store %s: %w", b.Digest, ErrReadOnly)
	}
	if !life.IsDigest(b.Digest) {
		return fmt.Errorf("store %q: not a digest", b.Digest)
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	err := c.store(b, open, signature)
	if err != nil {
		return fmt.Errorf("store %s: %w", b.Digest, err)
	}
	c.put.mu.Lock()
	defer c.put.mu.Unlock()
	c.put.pending[b.Digest] = len(b.Files) + 2
	delete(c.put.suspect, b.Digest)
	return nil
}

func (c *Chain) store(b *registry.Bundle, open func(string) (io.ReadCloser, error), signature []byte) error {
	name := bundleName(b.Digest)
	have, err := c.readBundle(b.Manifest.Name, b.Digest)
	c.put.mu.Lock()
	suspect := c.put.suspect[b.Digest]
	c.put.mu.Unlock()
	switch {
	case err == nil && !suspect:
		return c.sign(name, have.Signature, signature)
	case err != nil && !errors.Is(err, ErrNotStored) && !errors.Is(err, ErrDamaged):
		return err
	}
	stored := err == nil || errors.Is(err, ErrDamaged)
	if signature == nil && err == nil {
		signature = have.Signature
	}
	temp := temporary(name)
	err = c.fill(temp, b, open, signature)
	if err == nil {
		err = c.place(temp, name, stored)
	}
	if err != nil {
		c.disk.removeAll(temp)
	}
	return err
}

// place gives a whole bundle its name. One that is there is damaged, and is
// moved away in the same step.
func (c *Chain) place(temp, name string, stored bool) error {
	if !stored {
		return c.disk.rename(temp, name)
	}
	err := c.disk.exchange(temp, name)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		away := temporary(name)
		if err = c.disk.rename(name, away); err == nil {
			err = c.disk.rename(temp, name)
		}
		temp = away
	}
	if err != nil {
		return err
	}
	return c.disk.removeAll(temp)
}

// fill writes a bundle as the directory dir.
func (c *Chain) fill(dir string, b *registry.Bundle, open func(string) (io.ReadCloser, error), signature []byte) error {
	if err := c.disk.mkdir(dir); err != nil {
		return err
	}
	if err := c.file(path.Join(dir, registry.ManifestName), storedFile, func(w io.Writer) error {
		_, err := w.Write(b.Source)
		return err
	}); err != nil {
		return err
	}
	if signature != nil {
		if err := c.file(path.Join(dir, registry.SignatureName), storedFile, func(w io.Writer) error {
			_, err := w.Write(signature)
			return err
		}); err != nil {
			return err
		}
	}
	files := slices.Clone(b.Files)
	made := map[string]bool{".": true}
	for i := range files {
		if err := c.ship(dir, &files[i], open, made); err != nil {
			return err
		}
	}
	if got := registry.ContentDigest(b.Source, files); got != b.Digest {
		return fmt.Errorf("what was written has the digest %s", got)
	}
	// The deepest first: a directory is closed after what is in it.
	below := sortedKeys(made)
	slices.Reverse(below)
	for _, name := range below {
		if err := c.disk.chmod(path.Join(dir, name), c.disk.storedDir()); err != nil {
			return err
		}
	}
	return nil
}

// ship writes one shipped file and puts the hash of what it wrote into f.
// made are the directories below dir that are there.
func (c *Chain) ship(dir string, f *registry.ShippedFile, open func(string) (io.ReadCloser, error), made map[string]bool) error {
	if !filepath.IsLocal(f.Name) || path.Clean(f.Name) != f.Name || f.Name == registry.ManifestName || f.Name == registry.SignatureName {
		return fmt.Errorf("%q is not a name for a shipped file", f.Name)
	}
	parts := strings.Split(f.Name, "/")
	for i := 1; i < len(parts); i++ {
		below := path.Join(parts[:i]...)
		if made[below] {
			continue
		}
		if err := c.disk.mkdir(path.Join(dir, below)); err != nil {
			return err
		}
		made[below] = true
	}
	mode := uint32(storedFile)
	if f.Executable {
		mode = storedExec
	}
	return c.file(path.Join(dir, f.Name), mode, func(w io.Writer) error {
		src, err := open(f.Name)
		if err != nil {
			return err
		}
		defer src.Close()
		h := sha256.New()
		// One byte more than there may be, so that a longer file is noticed.
		n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(src, f.Size+1))
		if err != nil {
			return err
		}
		if n != f.Size {
			return fmt.Errorf("%q does not have %d bytes", f.Name, f.Size)
		}
		f.SHA256 = hex.EncodeToString(h.Sum(nil))
		return nil
	})
}

// file writes one file, and has the kernel protect its bytes where it can.
func (c *Chain) file(name string, mode uint32, content func(io.Writer) error) error {
	o, err := c.disk.create(name)
	if err != nil {
		return err
	}
	err = content(o)
	// The kernel asks for the right to write before it protects a file
	// (fs/verity/enable.c), so the mode comes after.
	if finishErr := o.finish(mode|0o200, false); err == nil {
		err = finishErr
	}
	if err == nil && mode&0o111 != 0 {
		err = c.disk.waitWriters(name)
	}
	if err == nil {
		err = c.disk.enableVerity(name)
	}
	if err == nil {
		err = c.disk.chmod(name, mode)
	}
	return err
}

// sign gives a stored bundle another signature file. What reads it finds the
// old one or the new one.
func (c *Chain) sign(dir string, have, signature []byte) error {
	if signature == nil || have != nil && string(have) == string(signature) {
		return nil
	}
	if err := c.disk.chmod(dir, 0o755); err != nil {
		return err
	}
	name := path.Join(dir, registry.SignatureName)
	temp := temporary(name)
	err := c.file(temp, storedFile, func(w io.Writer) error {
		_, err := w.Write(signature)
		return err
	})
	if err == nil {
		err = c.disk.syncName(opSync, temp)
	}
	if err == nil {
		err = c.disk.rename(temp, name)
	}
	if err != nil {
		c.disk.removeAll(temp)
	}
	return errors.Join(err, c.disk.chmod(dir, c.disk.storedDir()))
}

// Load reads a stored bundle and verifies its digest. Dir is BundleDir, File
// and Stamps are those of the store. The error matches ErrNotStored or
// ErrDamaged; a bundle that is whole and that this build cannot parse gives
// the parser's.
func (c *Chain) Load(name, digest string) (registry.Bundle, error) {
	r, err := c.Read(name, digest)
	if err != nil {
		return registry.Bundle{}, err
	}
	return r.Parse()
}

// Read is Load without the parsing.
func (c *Chain) Read(name, digest string) (registry.Raw, error) {
	r, err := c.readBundle(name, digest)
	if err != nil {
		return registry.Raw{}, fmt.Errorf("load stored %q: %w", name, err)
	}
	return r, nil
}

// readBundle reads and verifies a stored bundle, and does not parse it.
func (c *Chain) readBundle(name, digest string) (registry.Raw, error) {
	if !life.IsDigest(digest) {
		return registry.Raw{}, fmt.Errorf("%q is not a digest", digest)
	}
	dir, _, err := safefs.OpenBeneath(c.disk.root, c.disk.path, bundlesDir)
	if errors.Is(err, fs.ErrNotExist) {
		return registry.Raw{}, fmt.Errorf("%s: %w", digest, ErrNotStored)
	}
	if err != nil {
		return registry.Raw{}, err
	}
	defer dir.Close()
	base := path.Base(bundleName(digest))
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW); errors.Is(err, unix.ENOENT) {
		return registry.Raw{}, fmt.Errorf("%s: %w", digest, ErrNotStored)
	}
	r, err := registry.ReadStored(dir, dir.Name(), base, name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EIO) || errors.Is(err, unix.EBADMSG) {
		return registry.Raw{}, fmt.Errorf("%s: %w: %w", digest, ErrDamaged, err)
	}
	if err != nil {
		return registry.Raw{}, err
	}
	if r.Digest != digest {
		return registry.Raw{}, fmt.Errorf("%s: %w: it has the digest %s", digest, ErrDamaged, r.Digest)
	}
	return r, nil
}

// tree adds to list what makes a directory and everything in it durable.
func (c *Chain) tree(list []flush, name string) ([]flush, error) {
	names, err := c.disk.list(name)
	if err != nil {
		return nil, err
	}
	for _, base := range names {
		child := path.Join(name, base)
		var st unix.Stat_t
		if err := unix.Fstatat(c.disk.fd(), child, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, c.disk.fail("stat", child, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			list = append(list, flush{opSync, child})
		} else if list, err = c.tree(list, child); err != nil {
			return nil, err
		}
	}
	return append(list, flush{opSyncDir, name}), nil
}
