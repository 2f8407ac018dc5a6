package chain

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

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

// needs is what generations need, of those that this process has read or
// written. It is only ever used to keep, so that one that was damaged since
// keeps what it kept.
type needs struct {
	objects map[uint64][]string // hashes of its shards, by generation
	bundles map[string][]string // digests of stored bundles, by the hash of a shard
}

func newNeeds() needs {
	return needs{objects: map[uint64][]string{}, bundles: map[string][]string{}}
}

// note remembers a generation, and those of its shards whose commands are
// given, by their hash.
func (n *needs) note(r *root, commands map[string][]life.Command) {
	hashes := make([]string, 0, len(r.Shards))
	for _, ref := range r.Shards {
		hashes = append(hashes, ref.SHA256)
	}
	n.objects[r.Generation] = hashes
	for hash, list := range commands {
		digests := make([]string, 0, len(list))
		for _, command := range list {
			for _, revision := range command.Revisions {
				if revision.Stored() {
					digests = append(digests, revision.Digest)
				}
			}
		}
		n.bundles[hash] = digests
	}
}

// forget drops what no generation of all needs.
func (n *needs) forget(all []uint64, objects map[string]bool) {
	maps.DeleteFunc(n.objects, func(g uint64, _ []string) bool { return !slices.Contains(all, g) })
	maps.DeleteFunc(n.bundles, func(hash string, _ []string) bool { return !objects[hash] })
}

// used returns the objects, by hash, and the bundles, by digest, that kept
// generations need. Of one that is damaged whatever can be read counts. Only
// what is not known yet is read: one change among 10,000 commands adds one
// shard.
func (c *Chain) used() (objects, bundles map[string]bool, err error) {
	all, err := c.numbers()
	if err != nil {
		return nil, nil, err
	}
	objects, bundles = map[string]bool{}, map[string]bool{}
	lost := func(err error) bool { return errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) }
	whole := len(all) == 0
	for _, n := range all {
		if _, known := c.needs.objects[n]; !known {
			r, _, err := c.root(n)
			if err != nil {
				if lost(err) {
					continue
				}
				return nil, nil, err
			}
			if err := c.learn(r, lost); err != nil {
				return nil, nil, err
			}
		}
		whole = true
		for _, hash := range c.needs.objects[n] {
			if objects[hash] {
				continue
			}
			objects[hash] = true
			for _, digest := range c.needs.bundles[hash] {
				bundles[digest] = true
			}
		}
	}
	if !whole {
		return nil, nil, damagedf("no generation says what is in use")
	}
	c.needs.forget(all, objects)
	return objects, bundles, nil
}

// learn reads the shards of r that are not known. One that is lost has nothing
// to keep.
func (c *Chain) learn(r *root, lost func(error) bool) error {
	commands := map[string][]life.Command{}
	for key, ref := range r.Shards {
		if _, known := c.needs.bundles[ref.SHA256]; known {
			continue
		}
		list, err := c.loadShard(key, ref)
		if err != nil && !lost(err) {
			return err
		}
		commands[ref.SHA256] = list
	}
	c.needs.note(r, commands)
	return nil
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
