package registry

import (
	"fmt"

	"github.com/sbx-project/sbx/internal/plan"
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
	// Name is the name that its place gives it; the manifest must agree.
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
	if m.Name != r.Name {
		return Bundle{}, fmt.Errorf("load %q: %s says that its name is %q", r.Name, r.File, m.Name)
	}
	return Bundle{
		Manifest: m, Digest: r.Digest, Source: r.Source, Signature: r.Signature,
		File: r.File, Dir: r.Dir, Files: r.Files, Stamps: r.Stamps, Owner: r.Owner,
	}, nil
}
