package loader

import "github.com/sbx-project/sbx/registry"

// Stored reads the bundle of a revision from the store, verified against its
// digest. Without a state directory there is none.
func (l *Loader) Stored(name, digest string) (*registry.Bundle, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stored(name, digest)
}
