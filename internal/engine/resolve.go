package engine

import (
	"runtime"

	"github.com/sbx-project/sbx/internal/syscalls"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

// Calls is what policies are resolved and compared with: the tables of the
// architecture that this is built for.
func Calls() policy.Calls {
	return policy.Calls{
		Group: syscalls.GroupAll, Guarded: syscalls.Guarded,
		Name: func(number uint32) (string, bool) { return syscalls.Name(runtime.GOARCH, number) },
	}
}

// Resolve merges a policy into the stock policies that it extends.
func Resolve(p policy.Policy) (policy.Policy, error) {
	return policy.Resolve(p, registry.Stock, Calls())
}
