package publish

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sbx-project/sbx/registry"
)

// Removed is what [Remove] did.
type Removed struct {
	Name string `json:"name"`
	// Version is what it had; empty when it could not be read.
	Version string `json:"version,omitempty"`
	// Path is where it was.
	Path string `json:"path"`
}

// Remove takes the bundle of a command out of the registry at dir, durably: a
// directory in one rename, a manifest in one unlink, its signature after it.
// Groups that are empty then go too. A bundle that cannot be loaded can be
// removed. The error is a *registry.UnknownError when there is none. Revisions
// that were in force stay in the state directory.
func Remove(name, dir string) (Removed, error) {
	d, err := registry.OpenDir(dir)
	if err != nil {
		return Removed{}, err
	}
	defer d.Close()
	if registry.CheckName(name) != nil {
		return Removed{}, &registry.UnknownError{Word: name}
	}
	w, err := openWriter(d.Path())
	if err != nil {
		return Removed{}, err
	}
	defer w.Close()
	// A name that is a command and a group at once can be mended: what is
	// asked for by name is the command.
	kind, err := d.Node(name)
	switch {
	case errors.Is(err, registry.ErrTree):
	case err != nil:
		return Removed{}, err
	case kind == registry.Group:
		return Removed{}, &registry.UnknownError{Group: name}
	case kind == registry.Missing:
		return Removed{}, &registry.UnknownError{Word: name}
	}
	out := Removed{Name: name, Path: w.place(name)}
	if b, err := d.Load(name); err == nil {
		out.Version = b.Manifest.Version
	}
	rel := w.rel(name)
	if _, err := w.root.Lstat(rel + ".yaml"); err == nil {
		out.Path += ".yaml"
		err = w.unlink(rel + ".yaml")
		return out, errors.Join(err, w.prune(filepath.Dir(rel)))
	}
	temp, err := w.temp()
	if err != nil {
		return out, err
	}
	if err := w.root.Rename(rel, temp+"/"+filepath.Base(rel)); err != nil {
		return out, errors.Join(err, w.root.RemoveAll(temp))
	}
	err = errors.Join(w.syncDir(filepath.Dir(rel)), w.root.RemoveAll(temp))
	return out, errors.Join(err, w.prune(filepath.Dir(rel)))
}

// unlink removes a manifest and then its signature, which means nothing alone.
func (w *writer) unlink(manifest string) error {
	if err := w.root.Remove(manifest); err != nil {
		return err
	}
	if err := w.root.Remove(manifest + registry.SignatureSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the manifest is removed: %w", err)
	}
	return w.syncDir(filepath.Dir(manifest))
}

// prune removes groups that nothing is in, from the innermost.
func (w *writer) prune(group string) error {
	for ; group != "."; group = filepath.Dir(group) {
		if err := w.root.Remove(group); err != nil {
			return nil // something is in it
		}
		if err := w.syncDir(filepath.Dir(group)); err != nil {
			return err
		}
	}
	return nil
}
