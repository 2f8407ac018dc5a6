package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-project/sbx/internal/sign"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/chain"
	"github.com/sbx-project/sbx/registry/life"
)

// Reader reads bundles as they lie in a registry, for whoever shows them. As
// in a load, nothing that the publishers files do not believe is parsed.
type Reader struct {
	place Place
	trust *sign.Trust
}

// Reader reads the publishers files. The error is a *RejectedError.
func (p Place) Reader() (*Reader, error) {
	trust, _, err := sign.Load(p.Path)
	if err != nil {
		return nil, &RejectedError{err}
	}
	return &Reader{place: p, trust: trust}, nil
}

// Load reads, verifies and parses one bundle.
func (r *Reader) Load(name string) (registry.Bundle, error) {
	raw, err := r.place.Read(name)
	if err != nil {
		return registry.Bundle{}, err
	}
	if r.place.Path != "" { // those that are built in are part of this executable
		if _, err := r.trust.Verify(name, raw.Digest, raw.Signature); err != nil {
			return registry.Bundle{}, err
		}
	}
	return raw.Parse()
}

// RevisionError says that a command has no stored revision of that kind.
type RevisionError struct {
	Name, At string
	// Have are the versions that are stored, newest first.
	Have []string
}

// Error names what was asked for.
func (e *RevisionError) Error() string { return fmt.Sprintf("%s: nothing stored is %q", e.Name, e.At) }

// Hint lists what there is.
func (e *RevisionError) Hint() string {
	if len(e.Have) == 0 {
		return "sbx history " + e.Name
	}
	return "stored: " + strings.Join(e.Have, ", ")
}

// stored reads a revision from the store of the first registry that knows the
// name: at is a version, a digest, or the number of a generation.
func stored(places []Place, name, at string) (registry.Bundle, error) {
	for _, p := range places {
		b, found, err := storedIn(p, name, at)
		if found || err != nil {
			return b, err
		}
	}
	return registry.Bundle{}, &registry.UnknownError{Word: name}
}

func storedIn(p Place, name, at string) (b registry.Bundle, found bool, err error) {
	c, err := chain.Open(lookedAt(p)+"/"+p.Key, chain.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return b, false, nil
	}
	if err != nil {
		return b, false, err
	}
	defer c.Close()
	snap, _, err := c.Newest()
	if errors.Is(err, chain.ErrEmpty) {
		return b, false, nil
	}
	if err != nil {
		return b, false, err
	}
	command, known := snap.Commands[name]
	if !known {
		return b, false, nil
	}
	if generation, err := strconv.ParseUint(at, 10, 64); err == nil {
		if snap, err = c.At(generation); err != nil {
			return b, true, err
		}
		then := snap.Commands[name]
		if then.InForce == "" {
			return b, true, &RevisionError{Name: name, At: "generation " + at, Have: versions(command)}
		}
		b, err = c.Load(name, then.InForce)
		return b, true, err
	}
	for _, r := range command.Revisions {
		if r.Stored() && (r.Version == at || r.Digest == at) {
			b, err = c.Load(name, r.Digest)
			return b, true, err
		}
	}
	return b, true, &RevisionError{Name: name, At: at, Have: versions(command)}
}

func versions(c life.Command) (out []string) {
	for _, r := range c.Revisions {
		if r.Stored() && !slices.Contains(out, r.Version) {
			out = append(out, r.Version)
		}
	}
	return out
}
