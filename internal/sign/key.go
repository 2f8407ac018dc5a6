package sign

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"aead.dev/minisign"
)

// PublicKey verifies. The zero value verifies nothing.
type PublicKey struct{ key minisign.PublicKey }

// SecretKey signs.
type SecretKey struct{ key minisign.PrivateKey }

// ErrEncrypted says that a secret key needs a password.
var ErrEncrypted = errors.New("the secret key is encrypted")

// comment begins the first line of minisign's files.
const comment = "untrusted comment: "

// keyID writes an id as the minisign program does.
func keyID(id uint64) string { return fmt.Sprintf("%016X", id) }

// ID is the key's id: 16 upper-case hexadecimal digits. Whoever makes a key
// chooses it; it tells keys apart, it proves nothing.
func (k PublicKey) ID() string { return keyID(k.key.ID()) }

// String is the one line that publishers files and `minisign -P` take.
func (k PublicKey) String() string { return k.key.String() }

// File is the content of a public key file.
func (k PublicKey) File() []byte {
	return []byte(comment + "minisign public key " + k.ID() + "\n" + k.String() + "\n")
}

// same compares the keys themselves, whatever their ids say.
func (k PublicKey) same(other PublicKey) bool { return k.material() == other.material() }

// material is the key without algorithm (2 bytes) and id (8).
func (k PublicKey) material() string {
	raw, err := base64.StdEncoding.DecodeString(k.String())
	if err != nil || len(raw) != 10+ed25519.PublicKeySize {
		panic("bug: a public key is not spelt as minisign spells it: " + k.String())
	}
	return string(raw[10:])
}

// ParsePublicKey reads a public key: the file, or its second line alone.
func ParsePublicKey(text []byte) (PublicKey, error) {
	line, err := keyLine(text)
	if err != nil {
		return PublicKey{}, fmt.Errorf("public key: %w", err)
	}
	var k PublicKey
	if err := k.key.UnmarshalText([]byte(line)); err != nil {
		return PublicKey{}, fmt.Errorf("public key: not one of minisign's: %s", printable(err))
	}
	if k.String() != line {
		return PublicKey{}, errors.New("public key: not spelt as minisign spells it")
	}
	return k, nil
}

// keyLine returns the encoded line of a key file, which may have a comment
// above it.
func keyLine(text []byte) (string, error) {
	if len(text) > MaxSize {
		return "", fmt.Errorf("%d bytes are more than the bound of %d", len(text), MaxSize)
	}
	s := strings.TrimSuffix(string(text), "\n")
	if strings.HasPrefix(s, comment) {
		var ok bool
		if _, s, ok = strings.Cut(s, "\n"); !ok {
			return "", errors.New("no line after the comment")
		}
	}
	if s == "" || strings.ContainsAny(s, "\r\n") {
		return "", errors.New("want a comment and one line")
	}
	return s, nil
}

// GenerateKey makes a new key from the system's random numbers.
func GenerateKey() (SecretKey, error) {
	_, key, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		return SecretKey{}, fmt.Errorf("generate key: %w", err)
	}
	return SecretKey{key: key}, nil
}

// Public is the half that verifies.
func (k SecretKey) Public() PublicKey {
	return PublicKey{key: k.key.Public().(minisign.PublicKey)}
}

// File is the content of a secret key file, encrypted with password (scrypt
// with 1 GiB of memory, as the minisign program does) unless it is nil. It
// belongs into a file of mode 0600.
func (k SecretKey) File(password *string) ([]byte, error) {
	if password == nil {
		text, err := k.key.MarshalText()
		return append(text, '\n'), err
	}
	text, err := minisign.EncryptKey(*password, k.key)
	return append(text, '\n'), err
}

// ParseSecretKey reads a secret key file. password is asked for when it is
// encrypted; nil makes that ErrEncrypted. Decrypting takes up to 1 GiB of
// memory, which the file asks for: keys are read by whoever owns them.
func ParseSecretKey(text []byte, password func() (string, error)) (SecretKey, error) {
	if _, err := keyLine(text); err != nil {
		return SecretKey{}, fmt.Errorf("secret key: %w", err)
	}
	var key minisign.PrivateKey
	if !minisign.IsEncrypted(text) {
		if err := key.UnmarshalText(text); err != nil {
			return SecretKey{}, fmt.Errorf("secret key: not one of minisign's: %s", printable(err))
		}
		return SecretKey{key: key}, nil
	}
	if password == nil {
		return SecretKey{}, ErrEncrypted
	}
	word, err := password()
	if err != nil {
		return SecretKey{}, fmt.Errorf("secret key: %w", err)
	}
	if key, err = minisign.DecryptKey(word, text); err != nil {
		return SecretKey{}, errors.New("secret key: wrong password, or a damaged file")
	}
	return SecretKey{key: key}, nil
}
