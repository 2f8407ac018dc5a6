package sign

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/registry"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// name and digest are what testdata/message says.
const (
	name   = "db.backup"
	digest = "sha256:0f47baba0dee387ab1aea630927ee76cdac3c4ee8c4d6ed64fbbcd7b6d36228e"
)

func data(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func publicKey(t testing.TB, file string) PublicKey {
	t.Helper()
	k, err := ParsePublicKey(data(t, file))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func generate(t testing.TB) SecretKey {
	t.Helper()
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func signed(t testing.TB, k SecretKey, name, digest string) []byte {
	t.Helper()
	sig, err := k.Sign(name, digest, "a comment", time.Unix(1_700_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestMessage(t *testing.T) {
	got, err := Message(name, digest)
	if err != nil || !bytes.Equal(got, data(t, "message")) {
		t.Errorf("message = %q, %v", got, err)
	}
	hex := strings.Repeat("a", 64)
	for _, bad := range []struct{ name, digest string }{
		{"", digest}, {"db backup", digest}, {"db.backup\nx", digest}, {"../x", digest}, {"db..x", digest}, {".db", digest},
		{"a.a.a.a.a.a.a.a.a", digest}, {"Db", digest}, {name, ""}, {name, hex}, {name, "sha256:" + hex[1:]},
		{name, "sha256:" + strings.ToUpper(hex)}, {name, "sha512:" + hex}, {name, digest + "\n"},
	} {
		if m, err := Message(bad.name, bad.digest); err == nil {
			t.Errorf("Message(%q, %q) = %q", bad.name, bad.digest, m)
		}
	}
}

// TestNames: what can be signed is what a registry can hold.
func TestNames(t *testing.T) {
	for _, s := range []string{"a", "db.backup", "a.a.a.a.a.a.a.a", "a.a.a.a.a.a.a.a.a", "A", "a_b", "a-b", "-a", "a.", "", strings.Repeat("a", 32), strings.Repeat("a", 33)} {
		if got, want := isName(s), registry.CheckName(s) == nil; got != want {
			t.Errorf("isName(%q) = %v, the registry says %v", s, got, want)
		}
	}
	if MaxSize != registry.MaxSignature {
		t.Errorf("a signature of %d bytes is read and of %d verified", registry.MaxSignature, MaxSize)
	}
}

// TestToolsFiles: keys and signatures that the minisign program (0.11) made.
func TestToolsFiles(t *testing.T) {
	plain := publicKey(t, "plain.pub")
	if plain.ID() != "80D2464202DCCA5F" {
		t.Errorf("id = %s", plain.ID())
	}
	if !bytes.Equal(plain.File(), data(t, "plain.pub")) {
		t.Errorf("file = %q", plain.File())
	}
	for file, want := range map[string]string{
		"plain.sig": "made by the tool", "default.sig": "timestamp:1795471721\tfile:message\thashed",
	} {
		s, err := plain.Verify(name, digest, data(t, file))
		if err != nil || s.Comment != want || s.KeyID != plain.ID() {
			t.Errorf("%s: %+v, %v", file, s, err)
		}
	}
	if _, err := publicKey(t, "locked.pub").Verify(name, digest, data(t, "locked.sig")); err != nil {
		t.Error(err)
	}
	if _, err := plain.Verify(name, digest, data(t, "legacy.sig")); err == nil || !strings.Contains(err.Error(), "prehashed") {
		t.Errorf("legacy signature: %v", err)
	}
	k, err := ParseSecretKey(data(t, "plain.key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if k.Public().String() != plain.String() {
		t.Errorf("public half = %s", k.Public())
	}
}

func TestEncryptedKey(t *testing.T) {
	text := data(t, "locked.key")
	if _, err := ParseSecretKey(text, nil); !errors.Is(err, ErrEncrypted) {
		t.Errorf("without a password: %v", err)
	}
	if _, err := ParseSecretKey(text, func() (string, error) { return "", os.ErrDeadlineExceeded }); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	if testing.Short() {
		t.Skip("scrypt takes a gigabyte and seconds")
	}
	answer := func(s string) func() (string, error) { return func() (string, error) { return s, nil } }
	k, err := ParseSecretKey(text, answer("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	if k.Public().String() != publicKey(t, "locked.pub").String() {
		t.Errorf("public half = %s", k.Public())
	}
	if _, err := ParseSecretKey(text, answer("hunter3")); err == nil || !strings.Contains(err.Error(), "wrong password") {
		t.Errorf("wrong password: %v", err)
	}
	locked, err := k.File(new(string))
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseSecretKey(locked, answer(""))
	if err != nil || again.Public().String() != k.Public().String() {
		t.Errorf("written and read again: %v", err)
	}
}

// TestToolReads: the minisign program takes what is made here.
func TestToolReads(t *testing.T) {
	tool := testenv.Program(t, "minisign")
	k, dir := generate(t), t.TempDir()
	secret, err := k.File(nil)
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{
		"k.pub": k.Public().File(), "k.key": secret, "m": data(t, "message"), "sig": signed(t, k, name, digest),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"-V", "-p", "k.pub", "-m", "m", "-x", "sig"},
		{"-V", "-H", "-P", k.Public().String(), "-m", "m", "-x", "sig"},
		{"-S", "-s", "k.key", "-m", "m", "-x", "theirs"},
	} {
		cmd := exec.Command(tool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("minisign %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	theirs, err := os.ReadFile(filepath.Join(dir, "theirs"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Public().Verify(name, digest, theirs); err != nil {
		t.Error(err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	k := generate(t)
	good := signed(t, k, name, digest)
	if s, err := k.Public().Verify(name, digest, good); err != nil || s.Comment != "timestamp:1700000000 a comment" {
		t.Fatalf("%+v, %v", s, err)
	}
	lines := strings.Split(string(good), "\n")
	line := func(i int, s string) string {
		out := append([]string{}, lines...)
		out[i] = s
		return strings.Join(out, "\n")
	}
	flip := func(s string) string { // another character of the same alphabet
		b := []byte(s)
		b[20] = 'A' + (b[20]-'A'+1)%2
		return string(b)
	}
	// the same bits, spelt with others that do not count
	loose := strings.TrimSuffix(lines[1], "=")
	loose = loose[:len(loose)-1] + string(loose[len(loose)-1]+1) + "="
	for _, tt := range []struct{ name, sig, want string }{
		{"empty", "", "not one of minisign's"},
		{"text", "hello\n", "not one of minisign's"},
		{"three lines", strings.Join(lines[:3], "\n"), "not one of minisign's"},
		{"more after it", string(good) + "x\n", "not one of minisign's"},
		{"two newlines", string(good) + "\n", "not spelt"},
		{"carriage returns", strings.ReplaceAll(string(good), "\n", "\r\n"), "minisign"},
		{"loose base64", line(1, loose), "not spelt"},
		{"flipped signature", line(1, flip(lines[1])), "has not signed"},
		{"flipped comment signature", line(3, flip(lines[3])), "has not signed"},
		{"other trusted comment", line(2, "trusted comment: timestamp:1800000000 a comment"), "has not signed"},
		{"escape sequence", line(0, "untrusted comment: \x1b[2J"), "control character"},
		{"long", strings.Repeat("x", MaxSize+1), "more than the bound"},
	} {
		if _, err := k.Public().Verify(name, digest, []byte(tt.sig)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v does not contain %q", tt.name, err, tt.want)
		}
	}
	if _, err := k.Public().Verify("db.restore", digest, good); err == nil {
		t.Error("accepted for another name")
	}
	if _, err := k.Public().Verify(name, "sha256:"+strings.Repeat("0", 64), good); err == nil {
		t.Error("accepted for another digest")
	}
	if _, err := generate(t).Public().Verify(name, digest, good); err == nil || !strings.Contains(err.Error(), "made by key") {
		t.Errorf("another key: %v", err)
	}
}

// TestMismatchedHalves: a key file whose public half was exchanged makes no
// signature, which would give the secret half away.
func TestMismatchedHalves(t *testing.T) {
	text, err := generate(t).File(nil)
	if err != nil {
		t.Fatal(err)
	}
	head, line, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	raw, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		t.Fatal(err)
	}
	copy(raw[94:126], data(t, "plain.key")[:32])
	bad, err := ParseSecretKey([]byte(head+"\n"+base64.StdEncoding.EncodeToString(raw)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if sig, err := bad.Sign(name, digest, "", time.Now()); err == nil {
		t.Errorf("signed: %s", sig)
	}
}

func TestParseKeyRefuses(t *testing.T) {
	k := generate(t).Public()
	for _, bad := range []string{
		"", "\n", "RW", k.String() + "\n" + k.String(), k.String()[1:], "A" + k.String()[1:], k.String() + "\r\n", " " + k.String(),
		comment + "x", comment + "x\n", strings.Repeat("A", MaxSize+1),
	} {
		if got, err := ParsePublicKey([]byte(bad)); err == nil {
			t.Errorf("public key %q = %s", bad, got)
		}
		if _, err := ParseSecretKey([]byte(bad), nil); err == nil {
			t.Errorf("secret key %q accepted", bad)
		}
	}
	for _, good := range []string{k.String(), k.String() + "\n", comment + "mine\n" + k.String(), string(k.File())} {
		if got, err := ParsePublicKey([]byte(good)); err != nil || got.String() != k.String() {
			t.Errorf("public key %q: %s, %v", good, got, err)
		}
	}
}

// TestSameUnderAnotherID: an id is no part of a key.
func TestSameUnderAnotherID(t *testing.T) {
	k := generate(t).Public()
	raw, err := base64.StdEncoding.DecodeString(k.String())
	if err != nil {
		t.Fatal(err)
	}
	raw[2] ^= 1
	var other minisign.PublicKey
	if err := other.UnmarshalText([]byte(base64.StdEncoding.EncodeToString(raw))); err != nil {
		t.Fatal(err)
	}
	if !k.same(PublicKey{other}) || k.same(generate(t).Public()) {
		t.Error("keys are compared by their ids")
	}
}

func FuzzParseSignature(f *testing.F) {
	for _, file := range []string{"plain.sig", "default.sig", "legacy.sig", "locked.sig", "message"} {
		f.Add(data(f, file))
	}
	k := publicKey(f, "plain.pub")
	good := map[string]bool{}
	for _, file := range []string{"plain.sig", "default.sig"} {
		_, rest, _ := strings.Cut(string(data(f, file)), "\n")
		good[strings.TrimSuffix(rest, "\n")] = true
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSignature(text)
		if err != nil {
			return
		}
		if again := s.made.String(); strings.TrimSuffix(again, "\n") != strings.TrimSuffix(string(text), "\n") {
			t.Errorf("%q is written as %q", text, again)
		}
		// Only the untrusted comment, the first line, may be another.
		_, rest, _ := strings.Cut(string(text), "\n")
		if _, err = k.Verify(name, digest, text); err == nil && !good[strings.TrimSuffix(rest, "\n")] {
			t.Errorf("%q verifies", text)
		}
	})
}

func FuzzParsePublicKey(f *testing.F) {
	for _, file := range []string{"plain.pub", "locked.pub", "plain.key", "message"} {
		f.Add(data(f, file))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := ParsePublicKey(text)
		if err != nil {
			return
		}
		if again, err := ParsePublicKey(k.File()); err != nil || again.String() != k.String() || !again.same(k) {
			t.Errorf("%q: written and read again: %v", text, err)
		}
	})
}

func FuzzParseSecretKey(f *testing.F) {
	for _, file := range []string{"plain.key", "locked.key", "plain.pub"} {
		f.Add(data(f, file))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := ParseSecretKey(text, nil)
		if err != nil {
			return
		}
		again, err := k.File(nil)
		if err != nil {
			t.Fatal(err)
		}
		if other, err := ParseSecretKey(again, nil); err != nil || other.Public().String() != k.Public().String() {
			t.Errorf("%q: written and read again: %v", text, err)
		}
	})
}
