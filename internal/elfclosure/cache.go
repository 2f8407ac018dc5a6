package elfclosure

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// Cache is the table of ldconfig(8): library names and where they are.
type Cache struct {
	// entries by name, in the order of the file; the loader's preference is
	// settled by hardware capability, see Lookup.
	entries map[string][]cacheEntry
}

type cacheEntry struct {
	path string
	// variant is set for builds that only some processors may use
	// (glibc-hwcaps and the older hwcap bits).
	variant bool
}

// The layout is glibc's sysdeps/generic/dl-cache.h, struct cache_file_new: a
// header of 48 bytes, then entries of 24 bytes, then strings whose offsets
// count from the header.
const (
	cacheMagic  = "glibc-ld.so.cache1.1"
	cacheHeader = 48
	cacheEntryN = 24
	// MaxCache bounds the file in bytes: one of 100,000 libraries is 12 MiB.
	MaxCache = 16 << 20
)

// ErrCache is returned for bytes that are no cache of the format that
// ldconfig has written since glibc 2.2 (and alone since 2.32).
var ErrCache = errors.New("not an ld.so.cache of the format 1.1")

// ParseCache reads /etc/ld.so.cache. A file that begins in the format of
// libc5 is searched for the new one behind it, as the loader does.
func ParseCache(b []byte) (*Cache, error) {
	if len(b) > MaxCache {
		return nil, ErrCache
	}
	at := 0
	if !bytes.HasPrefix(b, []byte(cacheMagic)) {
		if at = bytes.Index(b, []byte(cacheMagic)); at < 0 {
			return nil, ErrCache
		}
	}
	b = b[at:]
	if len(b) < cacheHeader {
		return nil, ErrCache
	}
	n := binary.LittleEndian.Uint32(b[20:])
	if uint64(n)*cacheEntryN > uint64(len(b)-cacheHeader) {
		return nil, ErrCache
	}
	c := &Cache{entries: make(map[string][]cacheEntry, n)}
	for i := range int(n) {
		e := b[cacheHeader+i*cacheEntryN:]
		name, ok1 := cString(b, binary.LittleEndian.Uint32(e[4:]))
		path, ok2 := cString(b, binary.LittleEndian.Uint32(e[8:]))
		if !ok1 || !ok2 {
			return nil, ErrCache
		}
		c.entries[name] = append(c.entries[name], cacheEntry{path, binary.LittleEndian.Uint64(e[16:]) != 0})
	}
	return c, nil
}

// cString returns the string at off, at most maxString bytes long.
func cString(b []byte, off uint32) (string, bool) {
	if uint64(off) >= uint64(len(b)) {
		return "", false
	}
	s := b[off:]
	end := bytes.IndexByte(s[:min(len(s), maxString)], 0)
	if end < 0 {
		return "", false
	}
	return string(s[:end]), true
}

// lookup returns the paths for a name; nil is a cache without entries.
func (c *Cache) lookup(name string) []cacheEntry {
	if c == nil {
		return nil
	}
	return c.entries[name]
}
