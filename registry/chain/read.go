package chain

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/registry/life"
)

// numbers lists the generations that are there by name, newest first. What is
// not called like a generation is not one.
func (c *Chain) numbers() ([]uint64, error) {
	names, err := c.disk.list(generationsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, name := range names {
		n, err := strconv.ParseUint(name, 10, 64)
		if err == nil && n >= 1 && n <= maxGeneration && strconv.FormatUint(n, 10) == name {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out, nil
}

func generationName(n uint64) string { return path.Join(generationsDir, strconv.FormatUint(n, 10)) }

// Next is the number that the next committed generation must have: higher than
// any that was ever visible, damaged ones included.
func (c *Chain) Next() (uint64, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.next()
}

func (c *Chain) next() (uint64, error) {
	all, err := c.numbers()
	if err != nil {
		return 0, fmt.Errorf("next generation: %w", err)
	}
	newest := c.burnt
	if c.parent != nil {
		newest = max(newest, c.parent.root.Generation)
	}
	if len(all) > 0 {
		newest = max(newest, all[0])
	}
	if newest >= maxGeneration {
		return 0, fmt.Errorf("next generation: %d is the last there can be", newest)
	}
	return newest + 1, nil
}

// spoilt tells an error of one generation, which an older one may make up for,
// from one that says nothing about it: what a lack of memory or descriptors
// hides must not put an older generation in force.
func spoilt(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, unix.EIO) || errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.EBADMSG)
}

// maxTries bounds how often a reader looks again because the loader beside it
// went on. One reading takes as long as some tens of commits at most, and
// sixteen generations are kept: a second try is rare, a tenth is damage.
const maxTries = 10

// Newest returns the newest generation that verifies as a whole, with an error
// in damaged for each newer one that does not. err is ErrEmpty when there is
// none, else what kept from looking. The caller owns the snapshot. An
// Exclusive chain corrects the hint that names the newest.
func (c *Chain) Newest() (s *Snapshot, damaged []error, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var before []uint64
	for try := 1; ; try++ {
		all, err := c.numbers()
		if err != nil {
			return nil, nil, fmt.Errorf("newest generation: %w", err)
		}
		s, damaged, err = c.newestOf(all)
		if err == nil && c.mode == Exclusive {
			if err := c.correctHint(c.parent); err != nil {
				return nil, damaged, fmt.Errorf("newest generation: %w", err)
			}
		}
		// Beside a loader what was listed may be gone by the time it is read.
		if c.mode == Exclusive || err == nil && len(damaged) == 0 || slices.Equal(all, before) || try == maxTries {
			return s, damaged, err
		}
		before = all
	}
}

func (c *Chain) newestOf(all []uint64) (*Snapshot, []error, error) {
	var damaged []error
	for _, n := range all {
		s, p, shards, err := c.load(n)
		if err == nil {
			c.parent = p
			if c.mode == Exclusive {
				c.needs.note(p.root, shards)
			}
			return s, damaged, nil
		}
		if !spoilt(err) {
			return nil, damaged, err
		}
		damaged = append(damaged, err)
	}
	return nil, damaged, ErrEmpty
}

// At returns one generation. The error matches ErrEmpty when it is not kept,
// ErrDamaged when it does not verify.
func (c *Chain) At(generation uint64) (*Snapshot, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if _, err := c.disk.read(generationName(generation), maxObject); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("generation %d: %w", generation, ErrEmpty)
	}
	s, _, _, err := c.load(generation)
	return s, err
}

// List returns what is known of the kept generations, newest first.
func (c *Chain) List() ([]Info, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all, err := c.numbers()
	if err != nil {
		return nil, fmt.Errorf("list generations: %w", err)
	}
	var out []Info
	for _, n := range all {
		r, _, err := c.root(n)
		switch {
		case err == nil:
			out = append(out, Info{Generation: n, Time: r.Time, By: r.By, Why: r.Why, Changed: r.Changed})
		case errors.Is(err, fs.ErrNotExist): // removed since it was listed
		case spoilt(err):
			out = append(out, Info{Generation: n, Err: err})
		default:
			return nil, err
		}
	}
	return out, nil
}

// root reads and verifies one root object.
func (c *Chain) root(n uint64) (*root, string, error) {
	data, err := c.disk.read(generationName(n), maxObject)
	if err != nil {
		return nil, "", fmt.Errorf("generation %d: %w", n, err)
	}
	r, err := decodeRoot(n, data)
	if err != nil {
		return nil, "", fmt.Errorf("generation %d: %w", n, err)
	}
	return r, sum(data), nil
}

// load reads and verifies one generation with its shards, which it returns by
// their hash, too.
func (c *Chain) load(n uint64) (*Snapshot, *parent, map[string][]life.Command, error) {
	r, hash, err := c.root(n)
	if err != nil {
		return nil, nil, nil, err
	}
	if r.Parent != nil {
		// A parent that is gone or damaged says nothing about its child; one
		// that verifies and is another does.
		_, parentSum, err := c.root(r.Parent.Generation)
		if err != nil && !spoilt(err) {
			return nil, nil, nil, err
		}
		if err == nil && parentSum != r.Parent.SHA256 {
			return nil, nil, nil, fmt.Errorf("generation %d: %w", n, damagedf("generation %d is not its parent", r.Parent.Generation))
		}
	}
	shards, err := c.loadShards(r)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("generation %d: %w", n, err)
	}
	s := &Snapshot{Generation: n, Time: r.Time, By: r.By, Why: r.Why, Changed: r.Changed,
		Commands: make(map[string]life.Command, r.Commands)}
	for _, list := range shards {
		for _, command := range list {
			s.Commands[command.Name] = command
		}
	}
	return s, &parent{root: r, sum: hash}, shards, nil
}

// loadShards reads and verifies the shards of r, some at a time, and returns
// them by their hash.
func (c *Chain) loadShards(r *root) (map[string][]life.Command, error) {
	keys := sortedKeys(r.Shards)
	lists, errs := make([][]life.Command, len(keys)), make([]error, len(keys))
	var work sync.WaitGroup
	todo := make(chan int)
	for range min(runtime.GOMAXPROCS(0), len(keys)) {
		work.Go(func() {
			for i := range todo {
				lists[i], errs[i] = c.loadShard(keys[i], r.Shards[keys[i]])
			}
		})
	}
	for i := range keys {
		todo <- i
	}
	close(todo)
	work.Wait()
	out := make(map[string][]life.Command, len(keys))
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("shard %s: %w", keys[i], err)
		}
		out[r.Shards[keys[i]].SHA256] = lists[i]
	}
	return out, nil
}

func (c *Chain) loadShard(key string, ref reference) ([]life.Command, error) {
	number, err := strconv.ParseUint(key, 16, 8)
	if err != nil {
		return nil, damagedf("no number")
	}
	data, err := c.disk.read(path.Join(objectsDir, ref.SHA256), maxObject)
	if err != nil {
		return nil, err
	}
	return decodeShard(int(number), ref, data)
}
