package loader

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

// Subject is one side of a comparison: a bundle, or a policy alone.
type Subject struct {
	// Label is what it was called.
	Label string
	// Policy is resolved.
	Policy policy.Policy
	// Bundle is nil for a policy.
	Bundle *registry.Bundle
}

// FindSubject finds what a person calls arg: a path (it has a slash, or ends
// in .yaml) of a bundle or a policy; NAME, as it lies in a registry, or a stock
// policy; NAME@VERSION, NAME@DIGEST or NAME@GENERATION of a registry's store.
func FindSubject(places []Place, arg string) (Subject, error) {
	s := Subject{Label: arg}
	var err error
	name, at, isStored := strings.Cut(arg, "@")
	switch {
	case strings.Contains(arg, "/") || strings.HasSuffix(arg, ".yaml") || arg == "." || arg == "..":
		err = s.read(arg)
	case registry.CheckName(name) != nil:
		err = &registry.UnknownError{Word: arg}
	case isStored:
		var b registry.Bundle
		b, err = stored(places, name, at)
		s.Bundle = &b
	default:
		err = s.named(places, name)
	}
	if err == nil && s.Bundle != nil {
		s.Policy = s.Bundle.Manifest.Policy
	}
	if err != nil {
		return s, err
	}
	p, err := engine.Resolve(s.Policy)
	if err != nil && s.Bundle != nil {
		err = located(s.Bundle.File, s.Bundle.Source, err)
	}
	s.Policy = p
	return s, err
}

// named looks in the registries, then among the stock policies.
func (s *Subject) named(places []Place, name string) error {
	for _, p := range places {
		kind, err := p.Node(name)
		if err != nil {
			return err
		}
		if kind != registry.Command {
			continue
		}
		disk, err := p.Reader()
		if err != nil {
			return err
		}
		b, err := disk.Load(name)
		if err != nil {
			return &RejectedError{err}
		}
		s.Bundle = &b
		return nil
	}
	p, err := registry.Stock(name)
	if err != nil {
		return &registry.UnknownError{Word: name}
	}
	s.Policy = p
	return nil
}

// read reads a bundle, or a file that holds one policy, within the bounds and
// from the owners that a registry wants.
func (s *Subject) read(path string) error {
	raw, err := registry.ReadPath(path)
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		return &RejectedError{err}
	}
	if raw.Dir != "" || isManifest(path, raw.Source) {
		raw.File = shown(path, raw.Dir)
		b, err := raw.Parse()
		if err != nil {
			return &RejectedError{err}
		}
		s.Bundle = &b
		return nil
	}
	if s.Policy, err = registry.ParsePolicy(path, raw.Source); err != nil {
		return &RejectedError{err}
	}
	return nil
}

// shown is the manifest's path as the caller wrote it.
func shown(path, dir string) string {
	if dir != "" && !strings.HasSuffix(path, registry.ManifestName) {
		return strings.TrimSuffix(path, "/") + "/" + registry.ManifestName
	}
	return path
}

// Compare says what changes from a to b, by risk: the policy, and with two
// bundles the rest of the manifest and the shipped files.
func Compare(a, b Subject) []policy.Change {
	list := policy.Compare(a.Policy, b.Policy, engine.Calls())
	if a.Bundle != nil && b.Bundle != nil {
		list = append(list, registry.Compare(a.Bundle.Manifest, b.Bundle.Manifest)...)
		list = append(list, registry.CompareFiles(a.Bundle.Files, b.Bundle.Files)...)
	}
	policy.SortChanges(list)
	return list
}
