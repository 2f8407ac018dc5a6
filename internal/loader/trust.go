package loader

import (
	"maps"
	"slices"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/sign"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// readTrust reads the publishers files for the change that begins. With one
// that is not understood nothing of the registry is loaded.
func (l *Loader) readTrust() (err error) {
	for range racyTries {
		l.trust, l.trustStamps, err = sign.Load(l.place.Path)
		if !waitRacy(l.trustStamps) {
			break
		}
	}
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

// verifyStored decides whether what is in force may stay so: publishers files
// may have come, or have changed, since it was verified.
func (l *Loader) verifyStored(name string, b *registry.Bundle) error {
	if l.place.Path == "" {
		return nil
	}
	_, err := l.trust.Verify(name, b.Digest, b.Signature)
	return err
}

// revoked tells whether a revision was taken back, by its digest or its key.
func (l *Loader) revoked(r life.Revision) bool { return revokedBy(l.trust, r) }

func revokedBy(t *sign.Trust, r life.Revision) bool {
	return t != nil && (t.Revoked(r.Digest) || r.KeyID != "" && t.RevokedKey(r.KeyID))
}

// TrustStamps are those of the publishers files of a registry as they are now:
// when they differ from earlier ones, everything is to be judged anew.
func TrustStamps(place Place) []plan.Stamp {
	stamps := []plan.Stamp{stampOrAbsent(sign.SystemFile)}
	if place.Path != "" {
		stamps = append(stamps, stampOrAbsent(place.Path+"/"+sign.RegistryFile))
	}
	return stamps
}

// Distrusted lists the commands in force whose revision the publishers files
// have taken back since; sorted.
func (l *Loader) Distrusted() ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.readTrust(); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for name, c := range l.snap.Commands {
		if r, ok := c.Current(); ok && l.revoked(r) {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}
