package publish

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/sign"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// ConflictError says that a bundle does not go where it wants to: a newer one
// is there, or another kind of node. Verdict 409, exit status 126.
type ConflictError struct {
	// Name is the command.
	Name string
	// Msg says what is in the way; Fix what to do, or is empty.
	Msg, Fix string
}

// Error names the command and what is in the way.
func (e *ConflictError) Error() string { return e.Name + ": " + e.Msg }

// Hint says what to do about it.
func (e *ConflictError) Hint() string { return e.Fix }

// Installed is what [Install] did.
type Installed struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	// Key is the id of the key whose signature was verified; empty: none was.
	Key string `json:"key,omitempty"`
	// Unverified is set when there is a signature and no publishers file.
	Unverified bool `json:"unverified,omitempty"`
	// Replaced is the version that was there; empty: none, or a bad one.
	Replaced string `json:"replaced,omitempty"`
	// Unchanged is set when the same bundle was there: nothing was done.
	Unchanged bool `json:"unchanged,omitempty"`
	// Path is where it is.
	Path string `json:"path"`
}

// Options are what [Install] is told besides where from and where to.
type Options struct {
	// Publishers is the publishers file of the host; empty: sign.SystemFile.
	Publishers string
	// Check proves that the host can make a plan of the bundle, which is not
	// copied when it returns an error. nil: nothing is checked.
	Check func(*registry.Bundle) error
	// Now is the time of the installation.
	Now time.Time
}

// Install verifies the bundle at path, parses and checks it, copies it into the
// registry at dir and gives it its name there with one rename, durably. A
// one-file bundle becomes NAME.yaml and, when it is signed, NAME.yaml.sig,
// which is renamed first: until the manifest follows, the two do not belong
// together and a loader keeps what is in force. A directory bundle, and a
// one-file bundle whose name is a directory bundle there, becomes a directory,
// exchanged as a whole.
//
// Errors: *ConflictError (an older version, a group of the same name),
// *sign.UntrustedError, what registry.ReadPath and Parse say, Check's.
//
// Trust boundary. Who made the bundle controls all below path; whoever runs
// this may hold root's rights. Owners, kinds and bounds are checked by
// ReadPath, the signature before the manifest is parsed. What is copied is
// read again from the copy, which only this process writes, and must have the
// digest and the signature that were verified: a file that was exchanged in
// between is refused.
func Install(path, dir string, opt Options) (Installed, error) {
	raw, err := registry.ReadPath(path)
	if err != nil {
		return Installed{}, err
	}
	d, err := registry.OpenDir(dir)
	if err != nil {
		return Installed{}, err
	}
	defer d.Close()
	if opt.Publishers == "" {
		opt.Publishers = sign.SystemFile
	}
	trust, _, err := sign.LoadFiles(opt.Publishers, d.Path())
	if err != nil {
		return Installed{}, err
	}
	b, key, err := open(&raw, "", trust)
	if err != nil {
		return Installed{}, err
	}
	out := Installed{
		Name: b.Manifest.Name, Version: b.Manifest.Version, Digest: b.Digest, Key: key,
		Unverified: key == "" && b.Signature != nil,
	}
	if opt.Check != nil {
		if err := opt.Check(&b); err != nil {
			return Installed{}, err
		}
	}
	w, err := openWriter(d.Path())
	if err != nil {
		return Installed{}, err
	}
	defer w.Close()
	there, err := w.judge(d, trust, &b, key, opt.Now, &out)
	if err != nil || out.Unchanged {
		return out, err
	}
	err = w.put(&raw, &b, there, &out)
	return out, err
}

// there says what is at a bundle's place in the registry.
type there uint8

const (
	nothing there = iota
	oneFile
	directory
)

// judge decides whether the bundle may take its place: tree and versions.
func (w *writer) judge(d *registry.Dir, trust *sign.Trust, b *registry.Bundle, key string, now time.Time, out *Installed) (there, error) {
	name := b.Manifest.Name
	for i := range name {
		if name[i] != '.' {
			continue
		}
		if kind, err := d.Node(name[:i]); err != nil {
			return 0, err
		} else if kind == registry.Command {
			return 0, &ConflictError{name, fmt.Sprintf("%q is a command here, so nothing can be below it", name[:i]), "another name, or sbx remove " + name[:i]}
		}
	}
	kind, err := d.Node(name)
	switch {
	case err != nil:
		return 0, err
	case kind == registry.Missing:
		return nothing, nil
	case kind == registry.Group:
		return 0, &ConflictError{name, "a group here: a name is a command or a group, never both", "another name"}
	}
	at := oneFile
	out.Path = w.place(name) + ".yaml"
	if _, err := w.root.Lstat(w.rel(name) + ".yaml"); err != nil {
		at, out.Path = directory, w.place(name)
	}
	raw, err := d.Read(name)
	if err != nil {
		return at, nil // it cannot be loaded: whatever it is, it may be replaced
	}
	if same(&raw, b) {
		out.Unchanged = true
		return at, nil
	}
	old, err := raw.Parse()
	if err != nil {
		return at, nil
	}
	if at == oneFile && b.Dir != "" {
		return 0, &ConflictError{name, "one file here, and a directory to install: for a moment there would be both, or none", "sbx remove " + name + ", then install it"}
	}
	oldKey, err := trust.Verify(name, raw.Digest, raw.Signature)
	if err != nil {
		return at, nil // not believed, so it says nothing about versions
	}
	// The same judgement as the loader's, on what the registry holds.
	before := life.Command{Name: name}
	rev := revision(&old, oldKey)
	rev.Proved = true
	if v := before.Activate(rev, 1, now).Offer(revision(b, key), nil); v.Code != life.OK {
		return 0, &ConflictError{name, v.Reason, v.Hint}
	}
	out.Replaced = old.Manifest.Version
	return at, nil
}

func revision(b *registry.Bundle, key string) life.Revision {
	return life.Revision{Digest: b.Digest, Version: b.Manifest.Version, Counter: b.Manifest.Counter, KeyID: key, Floor: b.Manifest.Floor}
}

// same tells whether what is there is what comes, signature included.
func same(old *registry.Raw, b *registry.Bundle) bool {
	return old.Digest == b.Digest && string(old.Signature) == string(b.Signature) && (old.Signature == nil) == (b.Signature == nil)
}

// put copies, reads the copy again, and renames it into place.
func (w *writer) put(raw *registry.Raw, b *registry.Bundle, at there, out *Installed) error {
	name := b.Manifest.Name
	group, last := filepath.Split(w.rel(name))
	asDir := b.Dir != "" || at == directory
	temp, err := w.temp()
	if err != nil {
		return err
	}
	defer w.root.RemoveAll(temp)
	copied := temp + "/" + last
	if !asDir {
		copied += ".yaml"
	}
	if err := w.copy(raw, copied, asDir); err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	again, err := registry.ReadPath(filepath.Join(w.path, copied))
	if err != nil {
		return fmt.Errorf("read the copy of %s: %w", name, err)
	}
	if !same(&again, b) {
		return fmt.Errorf("%s: changed while it was copied", raw.File)
	}
	if err := w.sync(temp, len(raw.Files)); err != nil {
		return err
	}
	if err := w.groups(group); err != nil {
		return err
	}
	// The registry itself, or a group: everything below happens in it.
	target := group + last
	if asDir {
		out.Path = w.place(name)
		return w.exchange(copied, target, at == directory)
	}
	out.Path = w.place(name) + ".yaml"
	return w.renameFiles(copied, target+".yaml", raw.Signature != nil)
}

// renameFiles puts a one-file bundle in place, its signature first.
func (w *writer) renameFiles(from, to string, signed bool) error {
	const suffix = registry.SignatureSuffix
	if signed {
		if err := w.root.Rename(from+suffix, to+suffix); err != nil {
			return err
		}
	}
	if err := w.root.Rename(from, to); err != nil {
		return err
	}
	if !signed { // what the one before left
		if err := w.root.Remove(to + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return w.syncDir(filepath.Dir(to))
}

// exchange puts a directory in place: with the one that is there, in one step
// (renameat2(2), Linux 3.15), or where nothing is.
func (w *writer) exchange(from, to string, exists bool) error {
	flags := uint(unix.RENAME_NOREPLACE)
	if exists {
		flags = unix.RENAME_EXCHANGE
	}
	fromDir, err := w.root.Open(filepath.Dir(from))
	if err != nil {
		return err
	}
	defer fromDir.Close()
	toDir, err := w.root.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer toDir.Close()
	if err := unix.Renameat2(int(fromDir.Fd()), filepath.Base(from), int(toDir.Fd()), filepath.Base(to), flags); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return toDir.Sync()
}

// copy writes the bundle below the temporary directory.
func (w *writer) copy(raw *registry.Raw, to string, asDir bool) error {
	if !asDir {
		if err := w.write(to, 0o644, raw.Source); err != nil || raw.Signature == nil {
			return err
		}
		return w.write(to+registry.SignatureSuffix, 0o644, raw.Signature)
	}
	if err := w.mkdir(to); err != nil {
		return err
	}
	if err := w.write(to+"/"+registry.ManifestName, 0o644, raw.Source); err != nil {
		return err
	}
	if raw.Signature != nil {
		if err := w.write(to+"/"+registry.SignatureName, 0o644, raw.Signature); err != nil {
			return err
		}
	}
	if len(raw.Files) == 0 {
		return nil
	}
	source, err := safefs.OpenTrusted(raw.Dir)
	if err != nil {
		return err
	}
	defer source.Close()
	made := map[string]bool{".": true}
	for _, f := range raw.Files {
		if err := w.parents(to, filepath.Dir(f.Name), made); err != nil {
			return err
		}
		if err := w.copyFile(source, raw.Dir, f, to+"/"+f.Name); err != nil {
			return err
		}
	}
	return nil
}

// place is where a bundle of this name is in a registry, without ".yaml".
func (w *writer) place(name string) string { return filepath.Join(w.path, w.rel(name)) }

func (w *writer) rel(name string) string { return strings.ReplaceAll(name, ".", "/") }
