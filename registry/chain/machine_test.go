package chain

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// machine is a model of a file system with a cache: what was done is seen at
// once, what was made durable survives a cut. It promises no more than POSIX
// does: fsync of a file does not keep its name, fsync of a directory keeps
// names and not contents, and changes of a directory may survive in any
// selection.
type machine struct{ root *inode }

type inode struct {
	dir           bool
	mode, durMode uint32
	data, durData []byte
	entries       map[string]*inode // what is seen
	durEntries    map[string]*inode // what survives for certain
	pending       []change          // what was done to entries since
}

// change is one rename, link or unlink: names with what they are afterwards,
// nil for nothing.
type change map[string]*inode

func newDir() *inode {
	return &inode{dir: true, mode: 0o755, durMode: 0o755, entries: map[string]*inode{}, durEntries: map[string]*inode{}}
}

func newMachine() *machine { return &machine{root: newDir()} }

func (m *machine) find(name string) (*inode, error) {
	at := m.root
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		next := at.entries[part]
		if next == nil {
			return nil, fmt.Errorf("no %q", name)
		}
		at = next
	}
	return at, nil
}

// change records what happens to names of one directory in one step.
func (m *machine) change(dir string, what change) error {
	d, err := m.find(dir)
	if err != nil {
		return err
	}
	for name, ino := range what {
		if ino == nil {
			delete(d.entries, name)
		} else {
			d.entries[name] = ino
		}
	}
	d.pending = append(d.pending, what)
	return nil
}

// apply follows one step.
func (m *machine) apply(s step) error {
	dir, base := path.Dir(s.name), path.Base(s.name)
	ino, err := m.find(s.name)
	switch s.op {
	case opMkdir:
		if err == nil {
			return fmt.Errorf("%q is there", s.name)
		}
		return m.change(dir, change{base: newDir()})
	case opCreate:
		return m.change(dir, change{base: &inode{mode: 0o600, durMode: 0o600}})
	case opSyncAll:
		m.root.flush()
		return nil
	}
	if err != nil {
		return err
	}
	switch s.op {
	case opWrite:
		ino.data = append(ino.data, s.data...)
	case opChmod:
		ino.mode = s.mode
	case opSync:
		ino.durData, ino.durMode = ino.data[:len(ino.data):len(ino.data)], ino.mode
	case opSyncDir:
		ino.settle()
	case opRename:
		if path.Dir(s.to) != dir {
			return fmt.Errorf("the model has no rename to another directory: %q", s.to)
		}
		return m.change(dir, change{base: nil, path.Base(s.to): ino})
	case opExchange:
		other, err := m.find(s.to)
		if err != nil {
			return err
		}
		return m.change(dir, change{base: other, path.Base(s.to): ino})
	case opRemove:
		return m.change(dir, change{base: nil})
	default:
		return fmt.Errorf("no op %d", s.op)
	}
	return nil
}

func (i *inode) settle() {
	i.durMode, i.pending = i.mode, nil
	i.durEntries = map[string]*inode{}
	for name, child := range i.entries {
		i.durEntries[name] = child
	}
}

// flush is syncfs.
func (i *inode) flush() {
	if !i.dir {
		i.durData, i.durMode = i.data[:len(i.data):len(i.data)], i.mode
		return
	}
	i.settle()
	for _, child := range i.entries {
		child.flush()
	}
}

// loss says what happens to what was not made durable.
type loss struct {
	rng *rand.Rand
	// changes and bytes are the chances in percent that a change of a
	// directory, and what was written to a file, survive.
	changes, bytes int
	// inOrder drops every change of a directory after the first that is
	// lost, as a journal does.
	inOrder bool
}

// policy is the loss of a round: first everything, then nothing, then names
// without contents (a file system with delayed allocation), contents without
// names, then at random.
func policy(round int, seed uint64) *loss {
	l := &loss{rng: rand.New(rand.NewPCG(seed, uint64(round)))}
	switch round {
	case 0:
	case 1:
		l.changes, l.bytes = 100, 100
	case 2:
		l.changes = 100
	case 3:
		l.bytes = 100
	default:
		l.changes, l.bytes, l.inOrder = 20+l.rng.IntN(70), l.rng.IntN(100), round%2 == 0
	}
	return l
}

func (l *loss) survives(chance int) bool { return l.rng.IntN(100) < chance }

// reboot writes what survives to dir.
func (m *machine) reboot(dir string, l *loss) error { return m.root.write(dir, l) }

func (i *inode) write(dir string, l *loss) error {
	if !i.dir {
		return os.WriteFile(dir, i.survivor(l), 0o600)
	}
	entries := map[string]*inode{}
	for name, child := range i.durEntries {
		entries[name] = child
	}
	for _, what := range i.pending {
		if !l.survives(l.changes) {
			if l.inOrder {
				break
			}
			continue
		}
		for name, ino := range what {
			if ino == nil {
				delete(entries, name)
			} else {
				entries[name] = ino
			}
		}
	}
	for _, name := range sortedKeys(entries) {
		child, where := entries[name], filepath.Join(dir, name)
		if child.dir {
			if err := os.Mkdir(where, 0o755); err != nil && !os.IsExist(err) {
				return err
			}
		}
		if err := child.write(where, l); err != nil {
			return err
		}
		mode := child.durMode
		if l.survives(l.changes) {
			mode = child.mode
		}
		if err := os.Chmod(where, os.FileMode(mode)); err != nil {
			return err
		}
	}
	return nil
}

// survivor is the content of a file after the cut: what was made durable, and
// of the rest all, nothing, a part, or blocks of zeroes.
func (i *inode) survivor(l *loss) []byte {
	rest := i.data[len(i.durData):]
	if len(rest) == 0 || l.survives(l.bytes) {
		return i.data
	}
	out := append([]byte(nil), i.durData...)
	switch l.rng.IntN(3) {
	case 0:
		return append(out, rest[:l.rng.IntN(len(rest))]...)
	case 1:
		return append(out, make([]byte, len(rest))...)
	}
	return out
}
