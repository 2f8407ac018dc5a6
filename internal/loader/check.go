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
	"github.com/sbx-project/sbx/internal/filter"
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
	p, rules, err := check(path)
	if err != nil {
		return nil, err
	}
	return guarded(path, p.Syscalls, rules), nil
}

// guarded points at the guarded calls that a policy opens: each of them reaches
// other processes or the kernel, or walks around a rule of the sandbox. rules
// are what the policy comes to: what is denied or has a built-in answer is not
// open although it is named.
func guarded(path string, s policy.Syscalls, rules filter.Ruleset) (notes []Note) {
	note := func(n policy.Name, how string) {
		if !syscalls.Guarded(n.Text) || !opens(rules, n.Text) {
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

// opens tells whether a call can pass.
func opens(rules filter.Ruleset, name string) bool {
	nr, ok := syscalls.Number(rules.Arch, name)
	if !ok {
		return false
	}
	call := rules.Calls[nr]
	return call.Default.Kind == filter.Allow ||
		slices.ContainsFunc(call.Rules, func(r filter.Rule) bool { return r.Verdict.Kind == filter.Allow })
}

// check returns the policy as it is written, and what it comes to.
func check(path string) (policy.Policy, filter.Ruleset, error) {
	none, rules := policy.Policy{}, filter.Ruleset{}
	if path == "" {
		return none, rules, &os.PathError{Op: "open", Path: path, Err: unix.ENOENT}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return none, rules, err
	}
	if st, err := os.Stat(abs); err == nil && st.IsDir() {
		abs += "/bundle.yaml"
	}
	// The bounds and kinds of all that a bundle ships; whose the files are
	// matters where they are installed, not where they are written.
	var owner *safefs.OwnerError
	if strings.HasSuffix(abs, ".yaml") {
		if _, err := registry.ReadPath(abs); err != nil && !errors.As(err, &owner) {
			return none, rules, err
		}
	}
	f, err := os.OpenFile(abs, os.O_RDONLY|unix.O_NONBLOCK, 0) // a named pipe would wait for its other end
	if err != nil {
		return none, rules, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return none, rules, errors.Join(err, &safefs.KindError{Path: path, Kind: "what is no regular file"})
	}
	src, err := io.ReadAll(io.LimitReader(f, yamlnode.MaxSize+1))
	if err != nil {
		return none, rules, err
	}
	if isManifest(path, src) {
		m, err := registry.ParseManifest(path, src)
		if err != nil {
			return none, rules, err
		}
		b := registry.Bundle{Manifest: m, File: path, Source: src}
		if strings.HasSuffix(abs, "/bundle.yaml") {
			b.Dir = filepath.Dir(abs)
		}
		rules, err = checkBundle(&b)
		return m.Policy, rules, err
	}
	p, err := registry.ParsePolicy(path, src)
	if err != nil {
		return none, rules, located(path, src, err)
	}
	whole, err := engine.Resolve(p)
	if err != nil {
		return none, rules, located(path, src, err)
	}
	rules, err = compilePolicy(whole)
	return p, rules, located(path, src, err)
}

// Checked is what was found of one manifest.
type Checked struct {
	Path  string
	Notes []Note
	// Err is what speaks against it, nil for nothing.
	Err error
}

// CheckRegistry checks every bundle below a directory, as Check does and that
// they can be in force together; tree is what speaks against all.
func CheckRegistry(dir string) (out []Checked, tree error) {
	d, err := registry.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.Names()
	if err != nil {
		return nil, err
	}
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
		c := Checked{Path: path, Err: err}
		if err == nil {
			var rules filter.Ruleset
			if rules, c.Err = checkBundle(&b); c.Err == nil {
				c.Notes = guarded(path, b.Manifest.Policy.Syscalls, rules)
			}
		}
		// A bundle that is bad in itself is there all the same.
		node.Requires = b.Manifest.Requires.Commands
		nodes = append(nodes, node)
		out = append(out, c)
	}
	return out, registry.CheckTree(nodes)
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
	_, err := checkBundle(b)
	return err
}

// checkBundle is CheckBundle, and returns what the policy comes to.
func checkBundle(b *registry.Bundle) (rules filter.Ruleset, err error) {
	req, err := engine.ForBundle(b, 0, "", feature.Probe())
	if err == nil {
		req.NamesUsers = true // it may be meant for root's registry
		rules, err = checkRequest(req)
	}
	return rules, located(b.File, b.Source, err)
}

// checkRequest compiles a request, and returns its ruleset.
func checkRequest(req engine.Request) (filter.Ruleset, error) {
	in, err := engine.Gather(req)
	if err == nil {
		_, err = engine.Compile(in)
	}
	if err != nil {
		return filter.Ruleset{}, err
	}
	return engine.Ruleset(in)
}

// compilePolicy compiles a policy for a program that is surely there: this
// one.
func compilePolicy(p policy.Policy) (filter.Ruleset, error) {
	self, err := os.Executable()
	if err != nil {
		return filter.Ruleset{}, err
	}
	return checkRequest(engine.Request{Policy: p, Path: self, NamesUsers: true, Features: feature.Probe()})
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
