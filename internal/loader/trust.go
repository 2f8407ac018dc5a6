package loader

import (
	"github.com/sbx-project/sbx/internal/sign"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// readTrust reads the publishers files for the change that begins. With one
// that is not understood nothing of the registry is loaded.
func (l *Loader) readTrust() (err error) {
	l.trust, l.trustStamps, err = sign.Load(l.place.Path)
	if err != nil {
		return &RejectedError{err}
	}
	l.seen.Store(l.trust)
	return nil
}

// Revoked tells whether the publishers files, as a change last read them, take
// a revision back. It waits for no change that goes on.
func (l *Loader) Revoked(r life.Revision) bool { return revokedBy(l.seen.Load(), r) }

// verify decides whether a bundle may be parsed. Those that are built in are
// part of this executable: who could change them need not sign.
func (l *Loader) verify(name string, raw *registry.Raw) (keyID string, err error) {
	if l.place.Path == "" {
		return "", nil
	}
	return l.trust.Verify(name, raw.Digest, raw.Signature)
}

// revoked tells whether a revision was taken back, by its digest or its key.
func (l *Loader) revoked(r life.Revision) bool { return revokedBy(l.trust, r) }

func revokedBy(t *sign.Trust, r life.Revision) bool {
	return t != nil && (t.Revoked(r.Digest) || r.KeyID != "" && t.RevokedKey(r.KeyID))
}
