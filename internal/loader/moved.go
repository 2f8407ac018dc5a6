package loader

import "github.com/sbx-project/sbx/registry/life"

// Moved lists the commands of which the snapshot may have another state than when
// Moved was last called, or when the loader was opened.
func (l *Loader) Moved() map[string]bool {
	l.moved.mu.Lock()
	defer l.moved.mu.Unlock()
	names := l.moved.names
	l.moved.names = nil
	return names
}

func (l *Loader) move(changed map[string]life.Command) {
	l.moved.mu.Lock()
	defer l.moved.mu.Unlock()
	if l.moved.names == nil {
		l.moved.names = make(map[string]bool, len(changed))
	}
	for name := range changed {
		l.moved.names[name] = true
	}
}
