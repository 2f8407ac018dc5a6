// Package sign makes and verifies the signatures of bundles: Ed25519 in
// minisign's formats, over a short message that names the command and the
// digest of its bundle. Use [Load] for the [Trust] of a registry and its
// Verify before anything of a bundle is parsed; [SecretKey.Sign] makes a
// signature.
//
// What Verify accepts was signed by a key that a publishers file gives for
// this name, and neither key nor digest was revoked. It does not say that the
// bundle is new: who replays an older signed one is stopped by versions and
// floors, not here.
//
// Files are those of the minisign program (jedisct1.github.io/minisign), which
// verifies the message that [Message] makes, and whose keys and signatures are
// read here; only its prehashed form ("ED", the default since 0.10) is
// accepted, because the older one is another way to sign the same bytes.
package sign

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"aead.dev/minisign"

	"github.com/sbx-project/sbx/policy"
)

// MaxSize bounds a signature or a key in bytes. The longest that the minisign
// program writes has comments of 1,024 and 8,192 bytes (minisign.h,
// COMMENTMAXBYTES, TRUSTEDCOMMENTMAXBYTES).
const MaxSize = 16 << 10

// maxSegments is the bound of a command's name (SPEC 2).
const maxSegments = 8

// Message is what is signed for a bundle: "sbx/v1\nNAME\nsha256:HEX\n". It
// refuses a name or a digest that is not spelt as it must be, so that no two
// pairs give the same message.
func Message(name, digest string) ([]byte, error) {
	if !isName(name) {
		return nil, fmt.Errorf("%q is not a command's name", name)
	}
	if !isDigest(digest) {
		return nil, fmt.Errorf("%q is not a digest", digest)
	}
	return []byte("sbx/v1\n" + name + "\n" + digest + "\n"), nil
}

func isName(s string) bool {
	segments := strings.Split(s, ".")
	for _, segment := range segments {
		if !policy.IsSegment(segment) {
			return false
		}
	}
	return len(segments) <= maxSegments
}

// isDigest accepts "sha256:" and 64 lower-case hexadecimal digits.
func isDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

// Signature is a parsed signature that was not verified, or that
// [PublicKey.Verify] returned.
type Signature struct {
	// KeyID is the id of the key as [PublicKey.ID] writes it. It is a hint:
	// only that a key verifies says who signed.
	KeyID string
	// Comment is the trusted comment: signed, one line, at most 8,192 bytes.
	Comment string
	// made is what it was parsed to.
	made minisign.Signature
}

// ParseSignature reads a signature file, strictly: four lines, spelt the one
// way that minisign spells them, printable comments, prehashed form. It does
// not verify.
//
// Trust boundary. Whoever could place the file controls text. The loader may
// hold root's rights. The file's owner and size were checked by whoever read
// it; the size is checked again. Anything but the one spelling is refused.
func ParseSignature(text []byte) (Signature, error) {
	if len(text) > MaxSize {
		return Signature{}, fmt.Errorf("signature: %d bytes are more than the bound of %d", len(text), MaxSize)
	}
	var s minisign.Signature
	if err := s.UnmarshalText(text); err != nil {
		return Signature{}, fmt.Errorf("signature: not one of minisign's: %s", printable(err))
	}
	if s.Algorithm != minisign.HashEdDSA {
		return Signature{}, errors.New("signature: not in the prehashed form (minisign without -l makes it)")
	}
	// One signature has one spelling: base64 with other bits at its end, or
	// lines that end in another way, were made by nobody who means well.
	if again := s.String(); again != string(text) && strings.TrimSuffix(again, "\n") != string(text) {
		return Signature{}, errors.New("signature: not spelt as minisign spells it")
	}
	if hasControl(s.TrustedComment) || hasControl(s.UntrustedComment) {
		return Signature{}, errors.New("signature: control character in a comment")
	}
	return Signature{KeyID: keyID(s.KeyID), Comment: s.TrustedComment, made: s}, nil
}

// Verify parses a signature and verifies that this key made it for name and
// digest, trusted comment included. It knows nothing of who may publish what:
// that is [Trust.Verify].
func (k PublicKey) Verify(name, digest string, signature []byte) (Signature, error) {
	s, err := ParseSignature(signature)
	if err != nil {
		return Signature{}, err
	}
	message, err := Message(name, digest)
	if err != nil {
		return Signature{}, err
	}
	if s.KeyID != k.ID() {
		return Signature{}, fmt.Errorf("signature: made by key %s, not by %s", s.KeyID, k.ID())
	}
	if !k.verifies(message, signature) {
		return Signature{}, fmt.Errorf("signature: key %s has not signed %s %s", k.ID(), name, digest)
	}
	return s, nil
}

// verifies asks minisign. The id is part of what it compares.
func (k PublicKey) verifies(message, signature []byte) bool {
	return minisign.Verify(k.key, message, signature)
}

// Sign makes the signature file for a bundle. comment is what the trusted
// comment says besides the time: one line of at most 1,000 bytes.
func (k SecretKey) Sign(name, digest, comment string, now time.Time) ([]byte, error) {
	message, err := Message(name, digest)
	if err != nil {
		return nil, err
	}
	if hasControl(comment) || len(comment) > 1000 {
		return nil, errors.New("sign: a comment is one line of at most 1,000 bytes")
	}
	trusted := "timestamp:" + strconv.FormatInt(now.Unix(), 10)
	if comment != "" {
		trusted += " " + comment
	}
	r := minisign.NewReader(strings.NewReader(string(message)))
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	text := r.SignWithComments(k.key, trusted, "signature from sbx secret key "+k.Public().ID())
	// A key file whose halves do not belong together would make signatures
	// that give the key away.
	if _, err := k.Public().Verify(name, digest, text); err != nil {
		return nil, fmt.Errorf("sign: the secret key does not match its public half: %w", err)
	}
	return text, nil
}

func hasControl(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 || r == '\ufffd' }) >= 0
}

// printable makes a foreign message fit for a terminal.
func printable(err error) string {
	s := strings.TrimPrefix(err.Error(), "minisign: ")
	return strings.Trim(strconv.QuoteToASCII(s), `"`)
}
