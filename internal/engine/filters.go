package engine

import (
	"crypto/sha256"
	"encoding/json"
	"sync"

	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/plan"
)

// maxFilters bounds how many compiled filters are remembered. One has some
// 4 KiB; a registry of 10,000 bundles has some 50 policies.
const maxFilters = 1024

// Filters remembers compiled filters by their rulesets: compiling one, and
// having libseccomp agree to it, is nine tenths of making a plan. The zero
// value is empty; nil remembers nothing. It is safe for concurrent use.
type Filters struct {
	mu       sync.Mutex
	programs map[[sha256.Size]byte]filter.Program
}

// Compile is [Compile] with what is remembered.
func (f *Filters) Compile(in Input) (*plan.Plan, error) { return compileWith(in, f.compile) }

func (f *Filters) compile(rs filter.Ruleset) (filter.Program, error) {
	if f == nil {
		return compileFilter(rs)
	}
	text, err := json.Marshal(rs) // maps in the order of their keys: one text for one ruleset
	if err != nil {
		return filter.Program{}, bug(err)
	}
	key := sha256.Sum256(text)
	f.mu.Lock()
	p, ok := f.programs[key]
	f.mu.Unlock()
	if ok {
		return p, nil
	}
	if p, err = compileFilter(rs); err != nil {
		return p, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.programs == nil || len(f.programs) >= maxFilters {
		f.programs = map[[sha256.Size]byte]filter.Program{}
	}
	f.programs[key] = p
	return p, nil
}
