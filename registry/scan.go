package registry

import (
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/registry/snapshot"
)

// Listing is what a registry held when it was scanned. It is immutable; nil is
// that of an empty registry. One listing shares with the next what did not
// change.
type Listing struct {
	items *snapshot.View[Item]
}

// Item is one name of a Listing.
type Item struct {
	// Name is the dotted name.
	Name string
	// Kind is Command or Group. What is there under a legal name and cannot
	// be read is a Command with Err.
	Kind NodeKind
	// Digest is the bundle's; empty for a group and with Err.
	Digest string
	// Err says why the bundle, or the group's directory, could not be read.
	Err error

	oneFile   bool
	signature string
	// stamps are those of the bundle's own directories and files.
	stamps []plan.Stamp
	// young: it changed so shortly before it was read that another change
	// could have left the same stamps.
	young bool
}

// youngFor is how old a file must be for its stamp to stand for its content:
// timestamps are as coarse as the kernel's tick, 10 ms at most, and the second
// of two changes within one is not to be seen.
const youngFor = 20 * time.Millisecond

// Get returns the item of a name.
func (l *Listing) Get(name string) (Item, bool) {
	if l == nil {
		return Item{}, false
	}
	item, ok := l.items.Get(name)
	if !ok {
		return Item{}, false
	}
	return *item, true
}

// All yields every command and group, in no order.
func (l *Listing) All() iter.Seq[Item] {
	return func(yield func(Item) bool) {
		if l == nil {
			return
		}
		for key, item := range l.items.All() {
			if !misplaced(key) && !yield(*item) {
				return
			}
		}
	}
}

// ScanOptions say how much a scan looks at. The zero value looks at all and
// reads what changed.
type ScanOptions struct {
	// Paths are those below the registry that may have changed, as a hint of
	// registry/watch names them; nil: any may.
	Paths []string
	// Read reads every bundle that is looked at, changed or not: the net for
	// what stamps do not show, as a clock that was set back.
	Read bool
}

// Changes are how one listing differs from the one before. The lists are
// sorted and name commands.
type Changes struct {
	Appeared []string
	// Changed have another digest or signature, or cannot be read (any more),
	// or for another reason.
	Changed  []string
	Vanished []string
	// Problems are groups that cannot be read and files that cannot be a
	// bundle where they are, each once until it changes. What was below such
	// a group stays in the listing as it was.
	Problems []Entry
	// Raw holds what was read of the commands in Appeared and Changed, as far
	// as maxRaw goes; the others have an Err or must be read again.
	Raw map[string]Raw
	// Read is how many bundles were read.
	Read int
}

// Empty reports whether nothing changed.
func (c *Changes) Empty() bool {
	return len(c.Appeared)+len(c.Changed)+len(c.Vanished)+len(c.Problems) == 0
}

// maxRaw bounds the bytes of manifests and signatures that Changes.Raw keeps:
// 10,000 bundles of 6 KiB. A registry of the largest manifests would not fit
// into memory.
const maxRaw = 64 << 20

// Scan tells what changed in the registry since prev. A bundle whose
// directories and files all have the stamps they had is not read; one that was
// read and has the digest and signature it had has not changed. The error
// means that the registry itself cannot be read: prev stands.
//
// Trust boundary. Whoever may write the registry controls what is there; the
// scan may hold root's rights. The registry's path was checked by OpenDir.
// Owners and kinds are checked by descriptor as in Load; what is not as it
// must be is an item with an Err, and what a hint says is only where to look.
func Scan(d *Dir, prev *Listing, o ScanOptions) (*Listing, Changes, error) {
	s := scan{dir: d, read: o.Read, seen: map[string]bool{}, next: map[string]*Item{}}
	if prev != nil {
		s.old = prev.items
	}
	top, err := d.top()
	if err != nil {
		return prev, Changes{}, fmt.Errorf("scan registry: %w", err)
	}
	defer top.file.Close()
	whole := o.Paths == nil
	for _, path := range o.Paths {
		rel, err := filepath.Rel(d.path, path)
		whole = whole || err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, "../")
	}
	if whole {
		if err := s.group(top, "", 1); err != nil {
			return prev, Changes{}, fmt.Errorf("scan registry: %w", err)
		}
		s.sweep(func(string) bool { return true })
	} else {
		for _, path := range o.Paths {
			rel, _ := filepath.Rel(d.path, path)
			s.path(top, strings.Split(rel, "/"))
		}
	}
	slices.Sort(s.changes.Appeared)
	slices.Sort(s.changes.Changed)
	slices.Sort(s.changes.Vanished)
	slices.SortFunc(s.changes.Problems, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	if len(s.next) == 0 && prev != nil {
		return prev, s.changes, nil
	}
	return &Listing{items: s.old.With(s.next)}, s.changes, nil
}

// scan is one scan under way.
type scan struct {
	dir     *Dir
	read    bool
	old     *snapshot.View[Item]
	seen    map[string]bool  // keys that were looked at and are there
	next    map[string]*Item // what the next view has instead; nil: nothing
	changes Changes
	raw     int // bytes in changes.Raw
}

// Keys of a listing are dotted names, and for what is misplaced its path below
// the registry with a slash in front.
func misplaced(key string) bool { return strings.HasPrefix(key, "/") }

// put notes what is now at key.
func (s *scan) put(key string, item *Item) {
	s.seen[key] = true
	old, had := s.old.Get(key)
	s.next[key] = item
	if item.Err != nil && (item.Kind == Group || misplaced(key)) {
		if !had || old.text() != item.text() || old.Kind != item.Kind {
			s.changes.Problems = append(s.changes.Problems, Entry{Name: strings.TrimPrefix(key, "/"), Group: item.Kind == Group, Err: item.Err})
		}
	}
	was, is := had && old.Kind == Command, item.Kind == Command
	switch {
	case is && !was:
		s.changes.Appeared = append(s.changes.Appeared, key)
	case was && !is:
		s.changes.Vanished = append(s.changes.Vanished, key)
	case is && (old.Digest != item.Digest || old.signature != item.signature || old.text() != item.text()):
		s.changes.Changed = append(s.changes.Changed, key)
	}
}

// text is the item's error for comparison.
func (i *Item) text() string {
	if i.Err == nil {
		return ""
	}
	return i.Err.Error()
}

// keep notes that what is at key is as it was.
func (s *scan) keep(key string) { s.seen[key] = true }

// sweep takes out what was there before, is of the part that was looked at,
// and was not seen.
func (s *scan) sweep(part func(key string) bool) {
	for key, old := range s.old.All() {
		if s.seen[key] || !part(key) {
			continue
		}
		s.next[key] = nil
		if old.Kind == Command {
			s.changes.Vanished = append(s.changes.Vanished, key)
		}
	}
}

// below selects a name, what is below it and what is misplaced there.
func below(name string) func(key string) bool {
	path := "/" + strings.ReplaceAll(name, ".", "/") + "/"
	return func(key string) bool {
		return key == name || strings.HasPrefix(key, name+".") || strings.HasPrefix(key, path)
	}
}

// path looks at what a changed path belongs to: it goes down while there was
// and is a group, and there looks at one name.
func (s *scan) path(p place, parts []string) {
	prefix := ""
	for i, part := range parts {
		if ignored(part) {
			return
		}
		last := i == len(parts)-1
		segment := part
		if last {
			segment = strings.TrimSuffix(strings.TrimSuffix(part, SignatureSuffix), ".yaml")
		}
		name := prefix + segment
		if checkSegment(prefix, segment) != nil || strings.HasSuffix(part, ".yml") {
			s.one(p, prefix, part, i+1)
			return
		}
		if old, had := s.old.Get(name); last || !had || old.Kind != Group || s.seen[name] {
			s.name(p, prefix, segment, i+1)
			return
		}
		kind, _, err := p.node(segment)
		if err != nil || kind != Group {
			s.name(p, prefix, segment, i+1)
			return
		}
		child, err := p.open(segment)
		if err != nil {
			s.name(p, prefix, segment, i+1)
			return
		}
		defer child.file.Close()
		p, prefix = child, name+"."
	}
}

// name looks at one name and what is below it, and takes out what is gone.
func (s *scan) name(p place, prefix, segment string, depth int) {
	name := prefix + segment
	if s.seen[name] {
		return
	}
	old, had := s.old.Get(name)
	s.segment(p, prefix, segment, depth, nil)
	switch {
	case had && old.Kind == Group:
		s.sweep(below(name))
	case had && !s.seen[name]:
		s.sweep(func(key string) bool { return key == name })
	}
}

// one looks at a file that may be misplaced.
func (s *scan) one(p place, prefix, file string, depth int) {
	key := misplacedKey(prefix, file)
	if kind, err := p.kind(file); err != nil || kind == 0 || !s.stray(prefix, file, kind) {
		s.sweep(func(k string) bool { return k == key })
	}
}

func misplacedKey(prefix, file string) string {
	return "/" + strings.ReplaceAll(prefix, ".", "/") + file
}

// stray notes a file or directory that looks like a bundle and cannot be one
// where it is, and tells whether it is such.
func (s *scan) stray(prefix, file string, kind uint32) bool {
	segment, yaml := strings.CutSuffix(file, ".yaml")
	var err error
	switch {
	case strings.HasSuffix(file, ".yml"):
		err = fmt.Errorf("%q: the name of a manifest ends in .yaml", file)
	case !yaml && kind != unix.S_IFDIR && kind != unix.S_IFLNK:
		return false
	default:
		err = checkSegment(prefix, segment)
	}
	if err == nil {
		return false
	}
	key := misplacedKey(prefix, file)
	s.put(key, &Item{Name: key, Kind: Missing, Err: err})
	return true
}
