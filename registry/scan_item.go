package registry

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// group looks at everything in the directory p, whose name is prefix with a
// dot at its end. The error means that p cannot be listed.
func (s *scan) group(p place, prefix string, depth int) error {
	entries, err := p.readDir(maxNames)
	if err != nil {
		return err
	}
	if len(s.seen)+len(entries) > 2*maxNames {
		return fmt.Errorf("more than %d names", maxNames)
	}
	kinds := make(map[string]uint32, len(entries))
	for _, e := range entries {
		kinds[e.Name()] = bits(e.Type())
	}
	done := make(map[string]bool, len(entries))
	for _, e := range entries {
		file := e.Name()
		if s.stray(prefix, file, kinds[file]) {
			continue
		}
		segment, yaml := strings.CutSuffix(file, ".yaml")
		if !yaml && kinds[file] != unix.S_IFDIR && kinds[file] != unix.S_IFLNK || done[segment] {
			continue
		}
		done[segment] = true
		s.segment(p, prefix, segment, depth, kinds)
	}
	return nil
}

// bits are the type bits of a directory entry; 0 for what is neither a file,
// a directory nor a link.
func bits(mode fs.FileMode) uint32 {
	switch {
	case mode.IsRegular():
		return unix.S_IFREG
	case mode.IsDir():
		return unix.S_IFDIR
	case mode&fs.ModeSymlink != 0:
		return unix.S_IFLNK
	}
	return 0
}

// segment looks at one name of the directory p. kinds are what the directory
// was seen to hold; nil: it was not listed.
func (s *scan) segment(p place, prefix, segment string, depth int, kinds map[string]uint32) {
	name := prefix + segment
	old, had := s.old.Get(name)
	if had && kinds != nil && s.unlike(old, segment, kinds) {
		had = false
	}
	if had && kinds != nil && s.same(old) {
		s.keep(name)
		return
	}
	kind, oneFile, err := p.node(segment)
	switch {
	case err != nil:
		s.put(name, &Item{Name: name, Kind: Command, Err: err})
	case kind == Command && had && old.oneFile == oneFile && s.same(old):
		s.keep(name)
	case kind == Command:
		s.command(name, oneFile)
	case kind == Group:
		s.subgroup(p, name, segment, depth)
	}
}

// subgroup looks at a group. When it cannot be read, what was known below it
// stays: that a directory was closed takes no command away.
func (s *scan) subgroup(p place, name, segment string, depth int) {
	item := &Item{Name: name, Kind: Group}
	child, err := p.open(segment)
	if err == nil {
		defer child.file.Close()
		if depth == MaxSegments {
			err = fmt.Errorf("%q: nested deeper than %d", child.path, MaxSegments)
		} else {
			err = s.group(child, name+".", depth+1)
		}
	}
	if errors.Is(err, unix.ENOENT) {
		return // gone since it was listed
	}
	if err != nil {
		item.Err = err
		part := below(name)
		for key := range s.old.All() {
			if part(key) {
				s.keep(key)
			}
		}
	}
	if old, had := s.old.Get(name); had && old.Kind == Group && old.text() == item.text() {
		s.keep(name)
		return
	}
	s.put(name, item)
}

// command reads a bundle.
func (s *scan) command(name string, oneFile bool) {
	begun := time.Now()
	raw, err := s.dir.Read(name)
	s.changes.Read++
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrGroup) {
		return // it went, or became a group, since it was listed: an event tells
	}
	item := &Item{Name: name, Kind: Command, Err: err, oneFile: oneFile}
	if err == nil {
		item.Digest = raw.Digest
		if raw.Signature != nil {
			sum := sha256.Sum256(raw.Signature)
			item.signature = string(sum[:])
		}
		// The registry's directory and the groups come first: they change
		// with their other entries.
		item.stamps = append(item.stamps, raw.Stamps[1+strings.Count(name, "."):]...)
		for _, f := range raw.Files {
			item.stamps = append(item.stamps, f.Stamp)
		}
		for i := range item.stamps {
			newest := max(item.stamps[i].MtimeNs, item.stamps[i].CtimeNs)
			item.young = item.young || newest > begun.Add(-youngFor).UnixNano()
		}
	}
	before := len(s.changes.Appeared) + len(s.changes.Changed)
	s.put(name, item)
	size := len(raw.Source) + len(raw.Signature)
	if err != nil || before == len(s.changes.Appeared)+len(s.changes.Changed) || s.raw+size > maxRaw {
		return
	}
	if s.changes.Raw == nil {
		s.changes.Raw = map[string]Raw{}
	}
	s.raw += size
	s.changes.Raw[name] = raw
}

// unlike tells from a listing alone that a command is not what it was: another
// form, or a signature that came or went.
func (s *scan) unlike(old *Item, segment string, kinds map[string]uint32) bool {
	_, file := kinds[segment+".yaml"]
	dir := kinds[segment] == unix.S_IFDIR || kinds[segment] == unix.S_IFLNK
	if file == dir || file != old.oneFile {
		return true
	}
	_, signed := kinds[segment+".yaml"+SignatureSuffix]
	return old.oneFile && signed != (old.signature != "")
}

// same tells whether every file and directory of a command has the stamp that
// it had when it was read.
func (s *scan) same(old *Item) bool {
	if s.read || old.Kind != Command || old.Err != nil || old.young || len(old.stamps) == 0 {
		return false
	}
	for i := range old.stamps {
		want := &old.stamps[i]
		rel, ok := strings.CutPrefix(want.Path, s.dir.path+"/")
		if !ok {
			return false
		}
		var st unix.Stat_t
		err := unix.Fstatat(int(s.dir.root.Fd()), rel, &st, unix.AT_SYMLINK_NOFOLLOW)
		if want.Absent {
			if err != unix.ENOENT {
				return false
			}
			continue
		}
		if err != nil || stampOf(want.Path, &st) != *want {
			return false
		}
	}
	return true
}
