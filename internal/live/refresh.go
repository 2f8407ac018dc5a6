package live

import (
	"errors"
	"io/fs"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/watch"
)

// refresh opens a registry anew, whose directory may be another one than
// before, even one with the same inode. Another directory has another state.
func (s *source) refresh(h watch.Hint) error {
	if !h.All && !s.lost {
		return nil
	}
	place, err := loader.OpenPlace(s.place().Path)
	s.lost = err != nil
	if errors.Is(err, fs.ErrNotExist) {
		return err // everything stays in force until it is there again
	}
	if err != nil {
		return err
	}
	old := s.at.Load()
	was, isDir := old.place.Source.(*registry.Dir)
	if is := place.Source.(*registry.Dir); isDir && was.Same(is) && place.Owner == old.place.Owner {
		return is.Close() // nobody has it; the one before stays open
	}
	if place.Key == old.place.Key {
		// The same directory, or a new one with the inode of the old.
		old.loader.Reopen(place)
		s.at.Store(&opened{place, old.loader})
		return nil
	}
	if err := s.open(place); err != nil {
		return err
	}
	s.forget()
	return old.loader.Close()
}
