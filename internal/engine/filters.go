package engine

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/sbx-project/sbx/internal/plan"
)

// maxFilters bounds how many compiled filters are remembered. One has some
// 4 KiB; a registry of 10,000 bundles has some 50 policies.
const maxFilters = 1024

// Filters remembers compiled filters by what their rulesets are made of:
// making the ruleset, compiling it and having libseccomp agree is nine tenths
// of making a plan. The zero value is empty; nil remembers nothing. It is safe
// for concurrent use.
type Filters struct {
	mu       sync.Mutex
	programs map[[sha256.Size]byte]plan.Filter
}

// program is the compiled filter of the ruleset that in makes.
func (f *Filters) program(in rulesetInput) (plan.Filter, error) {
	if f == nil {
		return in.compile()
	}
	key := in.key()
	f.mu.Lock()
	p, ok := f.programs[key]
	f.mu.Unlock()
	if ok {
		return p, nil
	}
	p, err := in.compile()
	if err != nil {
		return p, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.programs == nil || len(f.programs) >= maxFilters {
		f.programs = map[[sha256.Size]byte]plan.Filter{}
	}
	f.programs[key] = p
	return p, nil
}

func (in rulesetInput) compile() (plan.Filter, error) {
	rs, why, err := ruleset(in)
	if err != nil {
		return plan.Filter{}, err
	}
	p, err := compileFilter(rs)
	return plan.Filter{Insns: p.Insns, ExecOnce: p.ExecOnce, Denied: why.denied, ByArgs: why.byArgs}, err
}

// key names the input: two with one key make one ruleset. Where a call is
// written decides nothing.
func (in rulesetInput) key() [sha256.Size]byte {
	in.syscalls = in.syscalls.Unplaced()
	// Every field, of this type and those in it, with its name: none is left
	// out. There is no pointer among them, and maps are in the order of their
	// keys (fmt).
	return sha256.Sum256(fmt.Appendf(nil, "%#v", in))
}
