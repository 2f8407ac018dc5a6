package registry

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
)

// SignatureName is the signature of a directory bundle; SignatureSuffix is
// added to the manifest's name for that of a one-file bundle. Neither is
// covered by the digest.
const (
	SignatureName   = "bundle.sig"
	SignatureSuffix = ".sig"
)

// MaxSignature bounds a signature in bytes. One with minisign's longest
// comments (1,024 and 8,192 bytes) has less than 10,000.
const MaxSignature = 16 << 10

// Raw is a bundle that was read and that nobody has looked into: its digest
// is known, its manifest not yet parsed, its signature not yet verified. So a
// bundle that nobody may publish never reaches a parser. [Raw.Parse] makes the
// [Bundle].
type Raw struct {
	// Name is the name that its place gives it, with which the manifest must
	// agree; empty for one that [ReadPath] read: the manifest says it.
	Name string
	// Digest is that of Bundle.
	Digest string
	// Signature is the content of the signature file, at most MaxSignature
	// bytes, not verified; nil when there is none.
	Signature []byte
	// Source, File, Dir, Files, Stamps and Owner are those of Bundle.
	Source []byte
	File   string
	Dir    string
	Files  []ShippedFile
	Stamps []plan.Stamp
	Owner  uint32
}

// Parse decodes the manifest. The bundle shares r's slices. The error is a
// *yamlnode.Error, or says that the manifest has another name.
//
// Trust boundary. The author of the bundle controls the bytes. The loader may
// hold root's rights. Owner, kind and bounds were checked by Read; a caller
// that knows publishers has verified Digest and Signature. What is not
// understood is refused.
func (r Raw) Parse() (Bundle, error) {
	m, err := ParseManifest(r.File, r.Source)
	if err != nil {
		return Bundle{}, err
	}
	if r.Name != "" && m.Name != r.Name {
		return Bundle{}, fmt.Errorf("load %q: %s says that its name is %q", r.Name, r.File, m.Name)
	}
	return r.Parsed(m), nil
}

// Parsed is Parse where m is what it would come to: that of the same bytes in
// another place.
func (r Raw) Parsed(m Manifest) Bundle {
	return Bundle{
		Manifest: m, Digest: r.Digest, Source: r.Source, Signature: r.Signature,
		File: r.File, Dir: r.Dir, Files: r.Files, Stamps: r.Stamps, Owner: r.Owner,
	}
}

// ErrChanged says that a bundle was being replaced while it was read: what was
// read is none that anybody made. It is told of no content, and whoever reads it
// a moment later finds the old one or the new one. See [Torn].
var ErrChanged = errors.New("changed while it was read")

// Torn tells whether an error means that what was read changed meanwhile.
func Torn(err error) bool { return errors.Is(err, ErrChanged) || errors.Is(err, unix.ESTALE) }

// vanished is err as ErrChanged where a file went that was there a moment ago.
func vanished(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%v: %w", err, ErrChanged)
	}
	return err
}

// still makes sure that everything that was read is where it was, as it was: a
// directory that is taken away while it is read shows fewer and fewer files,
// and one whose files arrive one after the other shows some of each kind.
// Either would be a bundle that nobody made.
func (r *Raw) still() error {
	for i := range r.Stamps {
		if err := stands(&r.Stamps[i]); err != nil {
			return err
		}
	}
	for i := range r.Files {
		if err := stands(&r.Files[i].Stamp); err != nil {
			return err
		}
	}
	return nil
}

func stands(s *plan.Stamp) error {
	var st unix.Stat_t
	err := unix.Lstat(s.Path, &st)
	switch {
	case err != nil && !errors.Is(err, unix.ENOENT):
		return &os.PathError{Op: "stat", Path: s.Path, Err: err}
	case err != nil && s.Absent, err == nil && !s.Absent && stampOf(s.Path, &st) == *s:
		return nil
	case err == nil && s.Passage && passageOf(s.Path, &st) == *s:
		return nil
	}
	return fmt.Errorf("read %q: %w", s.Path, ErrChanged)
}

// ReadPath reads a bundle that is in no registry, as an author has it: a
// directory with a bundle.yaml, that bundle.yaml, or a file NAME.yaml. It is
// held to all that a registry is held to. There is no Owner, and the stamps are
// those of the bundle alone.
//
// Trust boundary. Who gives path may be an operator with root's rights, who
// was given the bundle by somebody else. Nothing has been checked. Each
// component from / must be owned by uid 0 or the effective uid; below, no link
// is followed and no other kind of file is opened.
func ReadPath(path string) (Raw, error) {
	if path == "" { // which is no name of the working directory
		return Raw{}, fmt.Errorf("read bundle %q: %w", path, unix.ENOENT)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return Raw{}, fmt.Errorf("read bundle %q: %w", path, err)
	}
	if filepath.Base(abs) == ManifestName {
		abs = filepath.Dir(abs)
	}
	parent, last := filepath.Split(abs)
	if last == "" {
		return Raw{}, fmt.Errorf("read bundle %q: %w", path, unix.EISDIR)
	}
	f, err := safefs.OpenTrusted(parent)
	if err != nil {
		return Raw{}, fmt.Errorf("read bundle: %w", err)
	}
	defer f.Close()
	p := place{file: f, path: filepath.Clean(parent)}
	kind, err := p.kind(last)
	switch {
	case err != nil:
	case kind == 0:
		err = &os.PathError{Op: "open", Path: abs, Err: unix.ENOENT}
	case kind == unix.S_IFLNK:
		err = &safefs.KindError{Path: abs, Kind: "symbolic link"}
	case kind != unix.S_IFDIR && !strings.HasSuffix(last, ".yaml"):
		err = fmt.Errorf("%q: %w", abs, errNoBundle)
	}
	if err != nil {
		return Raw{}, fmt.Errorf("read bundle: %w", err)
	}
	var r Raw
	if kind == unix.S_IFDIR {
		err = r.readDir(p, last)
	} else {
		err = r.readFile(p, last, last+SignatureSuffix)
	}
	if err == nil {
		err = r.still()
	}
	if err != nil {
		return Raw{}, fmt.Errorf("read bundle: %w", err)
	}
	r.Digest = digest(r.Source, r.Files)
	return r, nil
}

var errNoBundle = errors.New("neither a directory nor a file NAME.yaml")
