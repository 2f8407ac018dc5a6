package registry

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"sync"
)

// Memory is a source of bundles that a program registers: one-file bundles
// that are in no directory. Its Bundle.File says "memory:NAME.yaml" and there
// are no stamps. The zero value is empty. It is safe for concurrent use.
type Memory struct {
	mu    sync.RWMutex
	names map[string][]byte
}

// Set parses a manifest and keeps it under the name that it states. old is the
// manifest that was there, nil when there was none. The bytes are copied. The
// error is a *yamlnode.Error with the file name "memory", or matches ErrTree
// when the name would be a command and a group at once; then nothing has
// changed.
func (m *Memory) Set(src []byte) (name string, old []byte, err error) {
	manifest, err := ParseManifest("memory", src)
	if err != nil {
		return "", nil, err
	}
	name = manifest.Name
	m.mu.Lock()
	defer m.mu.Unlock()
	for other := range m.names {
		if strings.HasPrefix(other, name+".") || strings.HasPrefix(name, other+".") {
			return name, nil, fmt.Errorf("register %q beside %q: %w", name, other, ErrTree)
		}
	}
	if m.names == nil {
		m.names = map[string][]byte{}
	}
	old = m.names[name]
	m.names[name] = bytes.Clone(src)
	return name, old, nil
}

// Delete removes a bundle and returns its manifest, nil when there was none.
func (m *Memory) Delete(name string) (old []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old = m.names[name]
	delete(m.names, name)
	return old
}

// Read implements Source.
func (m *Memory) Read(name string) (Raw, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	src, ok := m.names[name]
	if !ok {
		if m.node(name) == Group {
			return Raw{}, fmt.Errorf("load %q: %w", name, ErrGroup)
		}
		return Raw{}, fmt.Errorf("load %q: %w", name, ErrNotFound)
	}
	return Raw{Name: name, File: "memory:" + name + ".yaml", Source: src, Digest: digest(src, nil)}, nil
}

// Load implements Source.
func (m *Memory) Load(name string) (Bundle, error) {
	r, err := m.Read(name)
	if err != nil {
		return Bundle{}, err
	}
	return r.Parse()
}

// Node implements Source.
func (m *Memory) Node(name string) (NodeKind, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.node(name), nil
}

func (m *Memory) node(name string) NodeKind {
	if _, ok := m.names[name]; ok {
		return Command
	}
	for other := range m.names {
		if strings.HasPrefix(other, name+".") {
			return Group
		}
	}
	return Missing
}

// Names implements Source.
func (m *Memory) Names() ([]Entry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	seen := map[string]bool{}
	var out []Entry
	for name := range m.names {
		out = append(out, Entry{Name: name})
		for i := range len(name) {
			if name[i] == '.' && !seen[name[:i]] {
				seen[name[:i]] = true
				out = append(out, Entry{Name: name[:i], Group: true})
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}
