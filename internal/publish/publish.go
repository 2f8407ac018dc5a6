// Package publish is what a publisher and an operator do with a bundle before
// a registry loads it: [Sign] it, [Verify] its signature, [Install] it, and
// [Remove] it again. The verbs of the same names print what these return.
//
// A bundle is read whole, bounded, by descriptor and with its owners checked;
// where there are publishers files its signature is verified before its
// manifest is parsed; what is copied is read again and must have the digest
// that was verified. A loader does all of it once more: a bundle that came
// into a registry by cp is held to the same.
package publish

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/sign"
	"github.com/sbx-project/sbx/registry"
)

// Signed is what [Sign] did.
type Signed struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	Key     string `json:"key"`
	// File is the signature file.
	File string `json:"file"`
}

// Message returns what is signed for the bundle at path: for signing by the
// minisign program, or elsewhere.
func Message(path string) ([]byte, error) {
	raw, err := registry.ReadPath(path)
	if err != nil {
		return nil, err
	}
	b, err := raw.Parse()
	if err != nil {
		return nil, err
	}
	return sign.Message(b.Manifest.Name, b.Digest)
}

// Sign signs the bundle at path and writes the signature beside the manifest:
// bundle.sig, or NAME.yaml.sig. One that is there is replaced.
func Sign(path string, key sign.SecretKey, now time.Time) (Signed, error) {
	raw, err := registry.ReadPath(path)
	if err != nil {
		return Signed{}, err
	}
	b, err := raw.Parse()
	if err != nil {
		return Signed{}, err
	}
	m := b.Manifest
	text, err := key.Sign(m.Name, b.Digest, "name:"+m.Name+" version:"+m.Version, now)
	if err != nil {
		return Signed{}, err
	}
	out := Signed{Name: m.Name, Version: m.Version, Digest: b.Digest, Key: key.Public().ID(), File: signatureFile(&raw)}
	dir, err := safefs.OpenTrusted(filepath.Dir(out.File))
	if err != nil {
		return Signed{}, err
	}
	defer dir.Close()
	return out, safefs.WriteAtomic(dir, filepath.Base(out.File), 0o644, text)
}

func signatureFile(raw *registry.Raw) string {
	if raw.Dir != "" {
		return filepath.Join(raw.Dir, registry.SignatureName)
	}
	return raw.File + registry.SignatureSuffix
}

// Verified is what [Verify] found good.
type Verified struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	// Key is the id of the key that signed.
	Key string `json:"key"`
	// Comment is the signed comment.
	Comment string `json:"comment"`
}

// Verify verifies the signature of the bundle at path by who, who is a trust
// or a single key; then it parses the manifest, whose name must be the one
// that was signed. name is the bundle's name when the signature's comment does
// not say it (one that the minisign program made); "" means that the path
// does. The error is a *sign.UntrustedError when the signature is missing or
// not good.
func Verify(path, name string, who Verifier) (Verified, error) {
	raw, err := registry.ReadPath(path)
	if err != nil {
		return Verified{}, err
	}
	if raw.Signature == nil {
		return Verified{}, &sign.UntrustedError{Reason: sign.Unsigned, Name: path, Digest: raw.Digest, File: "sbx verify"}
	}
	b, key, err := open(&raw, name, who)
	if err != nil {
		return Verified{}, err
	}
	s, err := sign.ParseSignature(raw.Signature)
	if err != nil {
		return Verified{}, fmt.Errorf("bug: a verified signature: %w", err)
	}
	return Verified{Name: b.Manifest.Name, Version: b.Manifest.Version, Digest: b.Digest, Key: key, Comment: s.Comment}, nil
}

// Verifier decides whether bytes may be parsed: a *sign.Trust or a [Key].
type Verifier interface {
	Verify(name, digest string, signature []byte) (keyID string, err error)
}

// Key is a Verifier that believes one key, whatever the name.
type Key struct{ sign.PublicKey }

// Verify refuses what the key has not signed: a *sign.UntrustedError.
func (k Key) Verify(name, digest string, signature []byte) (string, error) {
	if _, err := k.PublicKey.Verify(name, digest, signature); err != nil {
		return "", &sign.UntrustedError{Reason: sign.BadSignature, Name: name, Digest: digest, File: "--key", Err: err}
	}
	return k.ID(), nil
}

// open verifies and then parses a bundle that is in no registry: its place
// does not say its name, and the manifest, which does, is not parsed yet. The
// names that come into question are tried; a signature holds for one of them
// alone, and the manifest must agree.
func open(raw *registry.Raw, name string, who Verifier) (b registry.Bundle, key string, err error) {
	var first error
	for _, candidate := range names(raw, name) {
		key, err = who.Verify(candidate, raw.Digest, raw.Signature)
		if err == nil {
			name = candidate
			break
		}
		if first == nil {
			first = err
		}
	}
	if err != nil {
		return b, "", first
	}
	if b, err = raw.Parse(); err != nil {
		return b, "", err
	}
	if key != "" && b.Manifest.Name != name {
		return b, "", fmt.Errorf("%s says that its name is %q, and is signed as %q", raw.File, b.Manifest.Name, name)
	}
	return b, key, nil
}

// names lists what the bundle may be called: what was asked for, or what its
// signature's comment and its path say. The last is always there, so that
// there is one to verify.
func names(raw *registry.Raw, asked string) []string {
	if asked != "" {
		return []string{asked}
	}
	var out []string
	if s, err := sign.ParseSignature(raw.Signature); err == nil {
		for word := range strings.FieldsSeq(s.Comment) {
			if name, ok := strings.CutPrefix(word, "name:"); ok && registry.CheckName(name) == nil {
				out = append(out, name)
				break
			}
		}
	}
	at := raw.Dir
	if at == "" {
		at = strings.TrimSuffix(raw.File, ".yaml")
	}
	if name := filepath.Base(at); registry.CheckName(name) == nil && !slices.Contains(out, name) {
		out = append(out, name)
	}
	if len(out) == 0 {
		out = append(out, "unnamed")
	}
	return out
}

// Publishers loads one publishers file to verify by, which must be there.
func Publishers(file string) (*sign.Trust, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	trust, _, err := sign.LoadFiles(abs, "")
	if err == nil && !trust.Known() {
		err = &os.PathError{Op: "open", Path: abs, Err: unix.ENOENT}
	}
	return trust, err
}

// ErrNobody says that there is no publishers file to verify by.
var ErrNobody = errors.New("no publishers file says whom to believe")
