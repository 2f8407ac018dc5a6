package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/yamlnode"
)

// Bounds of a directory bundle. Twice the files double the time of a load;
// what needs more belongs outside the bundle.
const (
	MaxFiles = 10_000
	MaxBytes = 1 << 30
	MaxDepth = 8
)

// Load implements Source.
func (d *Dir) Load(name string) (Bundle, error) {
	r, err := d.Read(name)
	if err != nil {
		return Bundle{}, err
	}
	return r.Parse()
}

// Read implements Source.
func (d *Dir) Read(name string) (Raw, error) {
	if err := CheckName(name); err != nil {
		return Raw{}, fmt.Errorf("load %q: %w", name, ErrNotFound)
	}
	r := Raw{Name: name}
	err := d.walk(name, func(p place, segment string) error {
		kind, oneFile, err := p.node(segment)
		switch {
		case err != nil:
			return err
		case kind == Missing:
			return ErrNotFound
		case kind == Group:
			return ErrGroup
		}
		if oneFile {
			return vanished(r.readFile(p, segment+".yaml", segment+".yaml"+SignatureSuffix))
		}
		return vanished(r.readDir(p, segment))
	})
	if err == nil {
		err = r.still()
	}
	if err != nil {
		return Raw{}, fmt.Errorf("load %q: %w", name, err)
	}
	if err := d.stampPath(&r, name); err != nil {
		return Raw{}, fmt.Errorf("load %q: %w", name, err)
	}
	r.Digest = digest(r.Source, r.Files)
	return r, nil
}

// stampPath adds the stamps of the registry and of the groups above name in
// front, and sets Owner.
func (d *Dir) stampPath(r *Raw, name string) error {
	var stamps []plan.Stamp
	p, err := d.top()
	if err != nil {
		return err
	}
	defer func() { p.file.Close() }()
	r.Owner = p.st.Uid
	stamps = append(stamps, p.passage())
	segments := strings.Split(name, ".")
	for _, segment := range segments[:len(segments)-1] {
		child, err := p.open(segment)
		if err != nil {
			return err
		}
		p.file.Close()
		p = child
		stamps = append(stamps, p.passage())
	}
	r.Stamps = append(stamps, r.Stamps...)
	return nil
}

// readFile reads and stamps a manifest and its signature.
func (r *Raw) readFile(p place, manifest, signature string) error {
	f, err := p.open(manifest)
	if err != nil {
		return err
	}
	defer f.file.Close()
	if r.Source, err = f.readFile(yamlnode.MaxSize); err != nil {
		return err
	}
	r.File = f.path
	sig, stamp, err := p.signature(signature)
	if err != nil {
		return err
	}
	r.Signature = sig
	r.Stamps = append(r.Stamps, f.stamp(), stamp)
	return nil
}

// readDir reads a directory bundle: its manifest, then every shipped file.
func (r *Raw) readDir(p place, segment string) error {
	dir, err := p.open(segment)
	if err != nil {
		return err
	}
	defer dir.file.Close()
	r.Dir = dir.path
	r.Stamps = append(r.Stamps, dir.stamp())
	if err := r.readFile(dir, ManifestName, SignatureName); err != nil {
		return err
	}
	var total int64
	if err := r.ship(dir, "", 1, &total); err != nil {
		return err
	}
	sort.Slice(r.Files, func(i, j int) bool { return r.Files[i].Name < r.Files[j].Name })
	return nil
}

// ship hashes the files of one directory of a bundle and goes below it.
func (r *Raw) ship(dir place, prefix string, depth int, total *int64) error {
	if depth > MaxDepth {
		return fmt.Errorf("%q: nested deeper than %d", dir.path, MaxDepth)
	}
	names, err := dir.list(MaxFiles + 2) // with manifest and signature
	if err != nil {
		return err
	}
	for _, name := range names {
		if prefix == "" && (name == ManifestName || name == SignatureName) {
			continue
		}
		if !utf8.ValidString(name) || hasControl(name) {
			return fmt.Errorf("%q in %q: not a name for a shipped file", name, dir.path)
		}
		if err := r.shipOne(dir, prefix, name, depth, total); err != nil {
			return err
		}
	}
	return nil
}

func (r *Raw) shipOne(dir place, prefix, name string, depth int, total *int64) error {
	child, err := dir.open(name)
	if err != nil {
		return err
	}
	defer child.file.Close()
	if child.st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if len(r.Stamps) > MaxFiles {
			return fmt.Errorf("%q: more than %d directories", r.Dir, MaxFiles)
		}
		r.Stamps = append(r.Stamps, child.stamp())
		return r.ship(child, prefix+name+"/", depth+1, total)
	}
	if err := child.regular(MaxBytes - *total); err != nil {
		return err
	}
	if len(r.Files) == MaxFiles {
		return fmt.Errorf("%q: more than %d files", r.Dir, MaxFiles)
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(child.file, child.st.Size+1))
	if err != nil {
		return err
	}
	if err := child.unchanged(n); err != nil {
		return err
	}
	*total += n
	r.Files = append(r.Files, ShippedFile{
		Name: prefix + name, Executable: child.st.Mode&0o111 != 0, Size: n,
		SHA256: hex.EncodeToString(h.Sum(nil)), Stamp: child.stamp(),
	})
	return nil
}

// ignored names belong to editors and version control.
func ignored(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~")
}

// readDir returns the entries of a directory, sorted, without those that are
// ignored. More than limit is an error.
func (p place) readDir(limit int) ([]os.DirEntry, error) {
	// A descriptor of its own: the offset of a directory is shared.
	f, _, err := safefs.OpenBeneath(p.file, p.path, ".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []os.DirEntry
	for {
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			if ignored(e.Name()) {
				continue
			}
			if len(out) == limit {
				return nil, fmt.Errorf("%q: more than %d entries", p.path, limit)
			}
			out = append(out, e)
		}
		if err == io.EOF {
			sort.Slice(out, func(i, j int) bool { return out[i].Name() < out[j].Name() })
			return out, nil
		}
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: p.path, Err: err}
		}
	}
}

// list is readDir without the kinds.
func (p place) list(limit int) ([]string, error) {
	entries, err := p.readDir(limit)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

// maxNames bounds a registry, ten times what the benchmarks promise.
const maxNames = 100_000

// Names implements Source. It looks at names, kinds and owners only: a bundle
// without an error here may still be refused by Load. What is not a bundle
// and does not look like one is left out.
func (d *Dir) Names() ([]Entry, error) {
	p, err := d.top()
	if err != nil {
		return nil, fmt.Errorf("list registry: %w", err)
	}
	defer p.file.Close()
	var out []Entry
	if err := p.entries("", 1, &out); err != nil {
		return nil, fmt.Errorf("list registry: %w", err)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// entries appends what is in p, whose name is prefix with a dot at its end.
func (p place) entries(prefix string, depth int, out *[]Entry) error {
	names, err := p.list(maxNames)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, file := range names {
		if len(*out) >= maxNames {
			return fmt.Errorf("more than %d names", maxNames)
		}
		kind, err := p.kind(file)
		if err != nil {
			return err
		}
		segment, yaml := strings.CutSuffix(file, ".yaml")
		if short, ok := strings.CutSuffix(file, ".yml"); ok {
			*out = append(*out, Entry{Name: prefix + short, Err: fmt.Errorf("%q: the name of a manifest ends in .yaml", filepath.Join(p.path, file))})
			continue
		}
		if !yaml && kind != unix.S_IFDIR && kind != unix.S_IFLNK || seen[segment] {
			continue
		}
		seen[segment] = true
		if err := p.entry(prefix, segment, file, depth, out); err != nil {
			return err
		}
	}
	return nil
}

// entry appends one name and, for a group, what is in it.
func (p place) entry(prefix, segment, file string, depth int, out *[]Entry) error {
	e := Entry{Name: prefix + segment}
	if e.Err = checkSegment(prefix, segment); e.Err != nil {
		*out = append(*out, e)
		return nil
	}
	kind, oneFile, err := p.node(segment)
	if err != nil {
		e.Err = err
		*out = append(*out, e)
		return nil
	}
	if oneFile {
		file = segment + ".yaml"
	}
	child, err := p.open(file)
	if err != nil {
		e.Err = err
		*out = append(*out, e)
		return nil
	}
	defer child.file.Close()
	if oneFile {
		e.Err = child.regular(yamlnode.MaxSize)
	}
	e.Group = kind == Group
	*out = append(*out, e)
	if !e.Group {
		return nil
	}
	if depth == MaxSegments {
		(*out)[len(*out)-1].Err = fmt.Errorf("%q: nested deeper than %d", child.path, MaxSegments)
		return nil
	}
	at := len(*out) - 1
	if err := child.entries(e.Name+".", depth+1, out); err != nil {
		(*out)[at].Err = err
	}
	return nil
}
