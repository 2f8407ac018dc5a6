// Package registry reads bundles: from a directory that only people who are
// believed may write, or from those that are built in. Use [OpenDir] or
// [Builtin] to get a [Source], and its Load for one [Bundle]; [Find] turns the
// words of a command line into a name.
//
// What Load returns was read by descriptor from files whose owners were
// checked, is within bounds, and was decoded strictly. Whether the programs,
// syscalls and features that it names exist is for the engine; signatures are
// for whoever has the publishers file (internal/sign), between [Dir.Read] and
// [Raw.Parse]. It runs nothing and writes nothing.
package registry

import (
	"errors"
	"sync"

	"github.com/sbx-project/sbx/policies"
	"github.com/sbx-project/sbx/policy"
)

// ErrNotFound says that a source has no bundle of a name (exit status 127).
var ErrNotFound = errors.New("no such command")

// ErrGroup says that a name is a group, which cannot be run (127).
var ErrGroup = errors.New("a group, not a command")

// ErrTree says that a name is a command and a group at once. A tree with such
// a name is refused whole (126).
var ErrTree = errors.New("a command and a group at once")

// NodeKind says what a name is.
type NodeKind uint8

// The kinds of names. The zero value is the one that runs nothing.
const (
	Missing NodeKind = iota
	Group
	Command
)

// Source is where bundles come from: [Dir] or [Builtin].
type Source interface {
	// Load reads one bundle. The error matches ErrNotFound or ErrGroup when
	// there is none of this name, policy.ErrNotBuilt when it asks for what
	// is reserved, and is a *safefs.OwnerError, a *safefs.KindError, a
	// *yamlnode.Error or an *os.PathError for what is there and refused.
	Load(name string) (Bundle, error)
	// Read is the first half of Load: it parses nothing, so that whoever
	// knows publishers can refuse what they have not signed. Raw.Parse is
	// the second half. Its errors are those of Load but for
	// policy.ErrNotBuilt and *yamlnode.Error.
	Read(name string) (Raw, error)
	// Names lists commands and groups, sorted by name.
	Names() ([]Entry, error)
	// Node says what a name is, without reading a bundle.
	Node(name string) (NodeKind, error)
}

// stock are the stock policies that were asked for, by name, parsed: every
// bundle extends one of them.
var stock sync.Map

// Stock returns a stock policy by name, for policy.Resolve. It is shared:
// nobody changes it.
func Stock(name string) (policy.Policy, error) {
	if p, ok := stock.Load(name); ok {
		return p.(policy.Policy), nil
	}
	if !policy.IsSegment(name) {
		return policy.Policy{}, errors.New("stock policy: not a name")
	}
	src, err := policies.FS.ReadFile("stock/" + name + ".yaml")
	if err != nil {
		return policy.Policy{}, &policy.Error{
			Msg:  "extends: no stock policy \"" + name + "\"",
			Hint: policy.OneOf(name, StockNames()),
		}
	}
	p, err := ParsePolicy("stock:"+name+".yaml", src)
	if err == nil {
		stock.Store(name, p)
	}
	return p, err
}

// StockNames lists the stock policies, sorted.
func StockNames() []string { return embedded("stock") }
