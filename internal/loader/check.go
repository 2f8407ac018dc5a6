package loader

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/syscalls"
	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

// Note is what an author should look at although it is no error.
type Note struct {
	// Text begins with the place.
	Text string
	// Call is the guarded call that the policy opens by its own name.
	Call string
}

// Check reads a manifest or a policy as an author would have it checked: all
// of its text, and that the engine can make a plan of it on this host. A file
// with an apiVersion is a manifest. The notes are those of a file that is good.
func Check(path string) ([]Note, error) {
	p, err := check(path)
	if err != nil {
		return nil, err
	}
	return guarded(path, p.Syscalls), nil
}

// guarded points at the guarded calls that a policy opens: each of them reaches
// other processes or the kernel, or walks around a rule of the sandbox.
func guarded(path string, s policy.Syscalls) (notes []Note) {
	note := func(n policy.Name, how string) {
		denied := slices.ContainsFunc(s.Deny, func(d policy.Name) bool { return d.Text == n.Text })
		if !syscalls.Guarded(n.Text) || denied {
			return
		}
		place := path
		if n.Pos.Line > 0 {
			place += ":" + strconv.Itoa(n.Pos.Line) + ":" + strconv.Itoa(n.Pos.Col)
		}
		notes = append(notes, Note{Call: n.Text, Text: place + ": syscalls." + how + " opens " + n.Text + ", a guarded call, which no group opens"})
	}
	for _, n := range s.Allow {
		note(n, "allow")
	}
	for _, r := range s.Rules {
		if r.Action != "allow" {
			continue
		}
		for _, n := range r.Names {
			note(n, "rules")
		}
	}
	return notes
}

// check returns the policy as it is written.
func check(path string) (policy.Policy, error) {
	none := policy.Policy{}
	if path == "" {
		return none, &os.PathError{Op: "open", Path: path, Err: unix.ENOENT}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return none, err
	}
	if st, err := os.Stat(abs); err == nil && st.IsDir() {
		abs += "/bundle.yaml"
	}
	// The bounds and kinds of all that a bundle ships; whose the files are
	// matters where they are installed, not where they are written.
	var owner *safefs.OwnerError
	if strings.HasSuffix(abs, ".yaml") {
		if _, err := registry.ReadPath(abs); err != nil && !errors.As(err, &owner) {
			return none, err
		}
	}
	f, err := os.OpenFile(abs, os.O_RDONLY|unix.O_NONBLOCK, 0) // a named pipe would wait for its other end
	if err != nil {
		return none, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return none, errors.Join(err, &safefs.KindError{Path: path, Kind: "what is no regular file"})
	}
	src, err := io.ReadAll(io.LimitReader(f, yamlnode.MaxSize+1))
	if err != nil {
		return none, err
	}
	if isManifest(path, src) {
		m, err := registry.ParseManifest(path, src)
		if err != nil {
			return none, err
		}
		b := registry.Bundle{Manifest: m, File: path, Source: src}
		if strings.HasSuffix(abs, "/bundle.yaml") {
			b.Dir = filepath.Dir(abs)
		}
		return m.Policy, CheckBundle(&b)
	}
	p, err := registry.ParsePolicy(path, src)
	if err != nil {
		return none, located(path, src, err)
	}
	whole, err := policy.Resolve(p, registry.Stock)
	if err != nil {
		return none, located(path, src, err)
	}
	return p, located(path, src, compilePolicy(whole))
}

// CheckRegistry checks every bundle below a directory, as Check does and that
// they can be in force together. paths has each manifest, errs what speaks
// against it, nil for nothing; tree is what speaks against all.
func CheckRegistry(dir string) (paths []string, errs map[string]error, tree error) {
	d, err := registry.OpenDir(dir)
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	entries, err := d.Names()
	if err != nil {
		return nil, nil, err
	}
	errs = map[string]error{}
	var nodes []registry.Node
	for _, e := range entries {
		node := registry.Node{Name: e.Name, Group: e.Group}
		if e.Group && e.Err == nil {
			nodes = append(nodes, node)
			continue
		}
		if errors.Is(e.Err, registry.ErrTree) {
			nodes = append(nodes, node, registry.Node{Name: e.Name, Group: true})
			continue
		}
		path := filepath.Join(dir, strings.ReplaceAll(e.Name, ".", "/"))
		b, err := registry.Bundle{}, e.Err
		if err == nil {
			b, err = d.Load(e.Name)
		}
		if b.File != "" {
			path = b.File
		}
		if err == nil {
			err = CheckBundle(&b)
		}
		// A bundle that is bad in itself is there all the same.
		node.Requires = b.Manifest.Requires.Commands
		nodes = append(nodes, node)
		paths, errs[path] = append(paths, path), err
	}
	return paths, errs, registry.CheckTree(nodes)
}

// CheckTogether tells whether the manifests among paths make a circle, or a
// command and a group of one name. What they require may lie elsewhere. A file
// that is no manifest, or a bad one, has no part in it.
func CheckTogether(paths []string) error {
	var nodes []registry.Node
	names := map[string]bool{}
	for _, path := range paths {
		raw, err := registry.ReadPath(path)
		if err != nil || !isManifest(path, raw.Source) {
			continue
		}
		b, err := raw.Parse()
		if err == nil && !names[b.Manifest.Name] {
			names[b.Manifest.Name] = true
			nodes = append(nodes, registry.Node{Name: b.Manifest.Name, Requires: b.Manifest.Requires.Commands})
		}
	}
	errs := registry.TreeErrors(nodes)
	return registry.JoinTree(slices.DeleteFunc(errs, func(e *registry.TreeError) bool { return e.Err == registry.ErrRequires }))
}

// CheckBundle proves that the engine can make a plan of a bundle on this host.
// It runs nothing. The error has the manifest's line.
func CheckBundle(b *registry.Bundle) error {
	req, err := engine.ForBundle(b, 0, "", feature.Probe())
	if err == nil {
		req.NamesUsers = true // it may be meant for root's registry
		_, err = compile(req)
	}
	return located(b.File, b.Source, err)
}

// compilePolicy compiles a policy for a program that is surely there: this
// one.
func compilePolicy(p policy.Policy) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	_, err = compile(engine.Request{Policy: p, Path: self, NamesUsers: true, Features: feature.Probe()})
	return err
}

// isManifest tells a manifest from a policy by its keys.
func isManifest(path string, src []byte) bool {
	n, err := yamlnode.Parse(path, src)
	if err != nil || n == nil {
		return strings.Contains(string(src), "apiVersion:")
	}
	for _, p := range n.Pairs {
		if p.Key.Value == "apiVersion" || p.Key.Value == "exec" || p.Key.Value == "name" {
			return true
		}
	}
	return false
}
