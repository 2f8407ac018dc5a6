package chain

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/sbx-project/sbx/registry/life"
)

// Collect removes stored bundles and objects that no kept generation uses.
// keep is asked for each digest besides; it answers true for what is in
// flight, and nil keeps nothing more. What was Put and not committed stays.
// When a kept generation cannot be read for a reason other than damage nothing
// is removed.
func (c *Chain) Collect(keep func(digest string) bool) error {
	if c.mode != Exclusive {
		return fmt.Errorf("collect: %w", ErrReadOnly)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	objects, bundles, err := c.used()
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	c.put.mu.Lock()
	for digest := range c.put.pending {
		bundles[digest] = true
	}
	c.put.mu.Unlock()
	err = c.remove(objectsDir, func(base string) bool { return objects[base] })
	return errors.Join(err, c.remove(bundlesDir, func(base string) bool {
		digest := "sha256:" + base
		return bundles[digest] || life.IsDigest(digest) && keep != nil && keep(digest)
	}))
}

// used returns the objects, by hash, and the bundles, by digest, that kept
// generations need. Of one that is damaged whatever can be read counts.
func (c *Chain) used() (objects, bundles map[string]bool, err error) {
	all, err := c.numbers()
	if err != nil {
		return nil, nil, err
	}
	objects, bundles = map[string]bool{}, map[string]bool{}
	lost := func(err error) bool { return errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) }
	whole := len(all) == 0
	for _, n := range all {
		r, _, err := c.root(n)
		if err != nil {
			if lost(err) {
				continue
			}
			return nil, nil, err
		}
		whole = true
		for key, ref := range r.Shards {
			if objects[ref.SHA256] {
				continue
			}
			objects[ref.SHA256] = true
			commands, err := c.loadShard(key, ref)
			if err != nil && !lost(err) {
				return nil, nil, err
			}
			for _, command := range commands {
				for _, revision := range command.Revisions {
					if revision.Stored() {
						bundles[revision.Digest] = true
					}
				}
			}
		}
	}
	if !whole {
		return nil, nil, damagedf("no generation says what is in use")
	}
	return objects, bundles, nil
}

// remove removes what is in dir and not wanted.
func (c *Chain) remove(dir string, wanted func(base string) bool) error {
	names, err := c.disk.list(dir)
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	for _, base := range names {
		if wanted(base) {
			continue
		}
		// A bundle goes in one step: half of one must never be found under
		// its name.
		name := path.Join(dir, base)
		if !isTemporary(base) {
			gone := temporary(name)
			if err := c.disk.rename(name, gone); err != nil {
				return fmt.Errorf("collect: %w", err)
			}
			name = gone
		}
		if err := c.disk.removeAll(name); err != nil {
			return fmt.Errorf("collect: %w", err)
		}
	}
	return nil
}
