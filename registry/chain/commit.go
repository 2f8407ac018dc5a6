package chain

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strconv"

	"github.com/sbx-project/sbx/registry/life"
)

// syncFrom is how many files of bundles are made durable by themselves; for more
// one syncfs(2) is cheaper, though it waits for everybody's data.
const syncFrom = 64

// Commit makes a generation and all that was Put before durable, and then
// removes generations beyond Keep; what they alone used is for Collect. After
// an error the generation before is
// the newest, and what was Put is to be Put again; take the number from Next
// anew.
//
// The order: bundles and shards are durable before the root object that names
// them appears, so that a crash at any step leaves the generation before or
// this one, whole.
func (c *Chain) Commit(s *Snapshot) error {
	if c.mode != Exclusive {
		return fmt.Errorf("commit generation %d: %w", s.Generation, ErrReadOnly)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.commit(s); err != nil {
		return fmt.Errorf("commit generation %d: %w", s.Generation, err)
	}
	return nil
}

func (c *Chain) commit(s *Snapshot) error {
	next, err := c.next()
	if err != nil {
		return err
	}
	if s.Generation != next {
		return fmt.Errorf("the next one is %d", next)
	}
	if c.parent == nil && next > 1 {
		all, err := c.numbers()
		if err != nil {
			return err
		}
		if _, _, err := c.newestOf(all); err != nil && err != ErrEmpty {
			return err
		}
	}
	r, objects, commands, err := c.build(s)
	if err != nil {
		return err
	}
	data, err := encodeRoot(r)
	if err != nil {
		return err
	}
	flushes, err := c.putObjects(objects)
	if err != nil {
		return err
	}
	if err := c.publish(r.Generation, data, flushes); err != nil {
		return err
	}
	before := c.parent
	c.parent = &parent{root: r, sum: sum(data)}
	c.needs.note(r, commands)
	c.prune(before)
	return nil
}

// putObjects writes shards, by their hash, and returns what makes them durable.
func (c *Chain) putObjects(objects map[string][]byte) (flushes []flush, err error) {
	for _, key := range sortedKeys(objects) {
		name := path.Join(objectsDir, key)
		// An object of this name that is there may be what a failed commit
		// left, and not durable: it is replaced by the same bytes. It may also
		// be that of a generation that is kept, so what replaces it is durable
		// first. One of a new name is no generation's before this one's root
		// object is there, and waits until then.
		there, err := c.disk.exists(name)
		if err != nil {
			return nil, err
		}
		temp, err := c.disk.write(name, objects[key], there)
		if err != nil {
			return nil, err
		}
		if err := c.disk.rename(temp, name); err != nil {
			c.disk.removeAll(temp)
			return nil, err
		}
		if !there {
			flushes = append(flushes, flush{opSync, name})
		}
	}
	if len(objects) > 0 {
		flushes = append(flushes, flush{opSyncDir, objectsDir})
	}
	return flushes, nil
}

// build makes the root object and the shards that it has and its parent has
// not, by their hash: their bytes and their commands.
func (c *Chain) build(s *Snapshot) (*root, map[string][]byte, map[string][]life.Command, error) {
	r := &root{Generation: s.Generation, Time: s.Time.Round(0).UTC(), By: s.By, Why: s.Why,
		Changed: slices.Compact(slices.Sorted(slices.Values(s.Changed))), Commands: len(s.Commands), Shards: map[string]reference{}}
	if r.Changed == nil {
		r.Changed = []string{}
	}
	touched := make(map[int]bool)
	if c.parent != nil {
		r.Parent = &link{Generation: c.parent.root.Generation, SHA256: c.parent.sum}
		for key, ref := range c.parent.root.Shards {
			r.Shards[key] = ref
		}
		for _, name := range slices.Concat(r.Changed, s.Counted) {
			touched[shardOf(name)] = true
		}
	} else {
		for n := range shards {
			touched[n] = true
		}
	}
	lists := make(map[int][]life.Command, len(touched))
	for name, command := range s.Commands {
		n := shardOf(name)
		if !touched[n] {
			continue
		}
		if err := checkCommand(name, command); err != nil {
			return nil, nil, nil, err
		}
		lists[n] = append(lists[n], command)
	}
	objects, commands := make(map[string][]byte, len(touched)), make(map[string][]life.Command, len(touched))
	for n := range touched {
		delete(r.Shards, shardKey(n))
		if len(lists[n]) == 0 {
			continue
		}
		data, err := encodeShard(lists[n])
		if err != nil {
			return nil, nil, nil, err
		}
		hash := sum(data)
		r.Shards[shardKey(n)] = reference{SHA256: hash, Commands: len(lists[n])}
		objects[hash], commands[hash] = data, lists[n]
	}
	// The count of commands that are said to be unchanged must agree with
	// the table, which root.check compares: a name that Changed lacks is
	// found when it came or went.
	return r, objects, commands, r.check()
}

// publish makes the root object appear, durably, after everything that it
// names, and then the hint that names it. Both are written before either is
// renamed, so that a full disk is met before anything is visible; and what is
// to be durable by then is flushed at once, since a file system makes one
// transaction of it.
func (c *Chain) publish(generation uint64, data []byte, flushes []flush) (err error) {
	name := generationName(generation)
	rootTemp, err := c.disk.write(name, data, false)
	if err != nil {
		return err
	}
	hint, err := c.disk.write(currentName, hintOf(generation, sum(data)), false)
	if err == nil {
		err = c.flush(append(flushes, flush{opSync, rootTemp}))
		if err != nil {
			c.disk.removeAll(hint)
		}
	}
	if err != nil {
		c.disk.removeAll(rootTemp)
		return err
	}
	c.burnt = generation
	if err = c.disk.rename(rootTemp, name); err == nil {
		err = c.disk.syncName(opSyncDir, generationsDir)
	}
	if err == nil {
		err = c.disk.rename(hint, currentName)
	}
	if err != nil {
		// The caller is told that nothing changed, so nothing must show.
		c.disk.removeAll(rootTemp)
		c.disk.removeAll(hint)
		if undo := c.undo(name); undo != nil {
			return fmt.Errorf("%w; cannot take it back: %w", err, undo)
		}
	}
	return err
}

// hintOf is the content of the file that names the newest generation. It is
// not made durable: what is decided by it holds for one boot, and the next
// loader corrects it.
func hintOf(generation uint64, hash string) []byte {
	return []byte(strconv.FormatUint(generation, 10) + " " + hash + "\n")
}

// correctHint writes the hint anew when it does not name p.
func (c *Chain) correctHint(p *parent) error {
	want := hintOf(p.root.Generation, p.sum)
	have, err := c.disk.read(currentName, int64(2*len(want)))
	if err == nil && bytes.Equal(have, want) {
		return nil
	}
	if err != nil && !spoilt(err) {
		return err
	}
	temp, err := c.disk.write(currentName, want, false)
	if err != nil {
		return err
	}
	if err := c.disk.rename(temp, currentName); err != nil {
		c.disk.removeAll(temp)
		return err
	}
	return nil
}

func (c *Chain) undo(name string) error {
	if err := c.disk.removeAll(name); err != nil {
		return err
	}
	return c.disk.syncName(opSyncDir, generationsDir)
}

// prune removes root objects beyond Keep, and the one before the newest when it
// only counted. One that only counts comes besides. What cannot be removed now
// is tried again by the next commit: it costs space and nothing else.
func (c *Chain) prune(before *parent) {
	if before != nil && before.root.counts() && c.disk.remove(generationName(before.root.Generation), false) != nil {
		return
	}
	keep := Keep
	if c.parent.root.counts() {
		keep++
	}
	all, err := c.numbers()
	if err != nil || len(all) <= keep {
		return
	}
	for _, n := range all[keep:] {
		if c.disk.remove(generationName(n), false) != nil {
			return
		}
	}
}

// flush makes durable what was Put, and more that a commit has written. When
// that is not possible nobody knows what is on the disk, so that it must be
// written again.
func (c *Chain) flush(more []flush) error {
	c.put.mu.Lock()
	defer c.put.mu.Unlock()
	files := 0
	for _, n := range c.put.pending {
		files += n
	}
	var err error
	if files > syncFrom {
		err = c.disk.syncAll()
	} else {
		var list []flush
		for _, digest := range sortedKeys(c.put.pending) {
			if list, err = c.tree(list, bundleName(digest)); err != nil {
				break
			}
		}
		if len(list) > 0 {
			list = append(list, flush{opSyncDir, bundlesDir})
		}
		if err == nil {
			err = c.disk.syncNames(append(list, more...))
		}
	}
	for digest := range c.put.pending {
		if err != nil {
			c.put.suspect[digest] = true
		}
		delete(c.put.pending, digest)
	}
	return err
}
