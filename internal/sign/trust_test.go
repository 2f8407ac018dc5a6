package sign

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/internal/yamlnode"
)

// files makes a registry and a system file; "" is none.
func files(t *testing.T, system, registry string) (systemFile, dir string) {
	t.Helper()
	base := t.TempDir()
	systemFile, dir = base+"/publishers.yaml", base+"/registry"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{systemFile: system, dir + "/" + RegistryFile: registry} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return systemFile, dir
}

func trust(t *testing.T, system, registry string) *Trust {
	t.Helper()
	tr, _, err := LoadFiles(files(t, system, registry))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestTrustVerify(t *testing.T) {
	ops, dev := generate(t), generate(t)
	list := func(k SecretKey, commands string) string {
		return fmt.Sprintf("publishers:\n  - {name: who, keys: [%s], commands: [%s]}\n", k.Public(), commands)
	}
	const required = "require_signature: true\n"
	other := "sha256:" + strings.Repeat("0", 64)
	byOps := signed(t, ops, name, digest)
	for _, tt := range []struct {
		name             string
		system, registry string
		sig              []byte
		want             Reason // 0: accepted
		unverified       bool   // accepted without a key
	}{
		{name: "no file, no signature", unverified: true},
		{name: "no file, any signature", sig: []byte("x"), unverified: true},
		{name: "unsigned, not required", system: list(ops, `"*"`), unverified: true},
		{name: "unsigned, required", system: list(ops, `"*"`) + required, want: Unsigned},
		{name: "unsigned, required by the registry alone", system: list(ops, `"*"`), registry: required, want: Unsigned},
		{name: "unsigned, the registry does not undo it", system: required, registry: "require_signature: false\n", want: Unsigned},
		{name: "everything", system: list(ops, `"*"`), sig: byOps},
		{name: "by name", system: list(ops, "db.backup"), sig: byOps},
		{name: "by group", system: list(ops, `"db.*"`), sig: byOps},
		{name: "group is not its prefix", system: list(ops, `"d.*", "db.b.*", "db.backup.*"`), sig: byOps, want: NotAllowed},
		{name: "another name", system: list(ops, "db.restore, db, web"), sig: byOps, want: NotAllowed},
		{name: "unknown key", system: list(dev, `"*"`), sig: byOps, want: UnknownKey},
		{name: "unknown key, nothing required", system: "require_signature: false\n", sig: byOps, want: UnknownKey},
		{name: "nobody may", system: "publishers: []\n", sig: byOps, want: UnknownKey},
		{name: "not a signature, nothing required", system: list(ops, `"*"`), sig: []byte("x"), want: BadSignature},
		{name: "empty signature", system: list(ops, `"*"`), sig: []byte{}, want: BadSignature},
		{name: "signature of another name", system: list(ops, `"*"`), sig: signed(t, ops, "db.restore", digest), want: BadSignature},
		{name: "signature of another content", system: list(ops, `"*"`), sig: signed(t, ops, name, other), want: BadSignature},
		{name: "revoked digest", system: list(ops, `"*"`) + "revoked: {digests: [\"" + digest + "\"]}\n", sig: byOps, want: RevokedDigest},
		{name: "revoked digest, unsigned", registry: "revoked: {digests: [\"" + digest + "\"]}\n", want: RevokedDigest},
		{name: "revoked key", system: list(ops, `"*"`) + "revoked: {keys: [" + ops.Public().String() + "]}\n", sig: byOps, want: RevokedKey},
		{name: "revoked by id", system: list(ops, `"*"`) + "revoked: {keys: [\"" + ops.Public().ID() + "\"]}\n", sig: byOps, want: RevokedKey},
		{name: "revoked and not listed", system: list(dev, `"*"`) + "revoked: {keys: [\"" + ops.Public().ID() + "\"]}\n", sig: byOps, want: RevokedKey},
		{name: "revoked by the other file", system: list(ops, `"*"`), registry: "revoked: {keys: [" + ops.Public().String() + "]}\n", sig: byOps, want: RevokedKey},
		{name: "another key is revoked", system: list(ops, `"*"`) + "revoked: {keys: [" + dev.Public().String() + "]}\n", sig: byOps},
		{name: "both files accept", system: list(ops, `"*"`), registry: list(ops, `"db.*"`), sig: byOps},
		{name: "the registry narrows", system: list(ops, `"*"`), registry: list(ops, "web"), sig: byOps, want: NotAllowed},
		{name: "the registry does not widen", system: list(dev, `"*"`), registry: list(ops, `"*"`), sig: byOps, want: UnknownKey},
		{name: "one file leaves it to the other", system: required, registry: list(ops, `"*"`), sig: byOps},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := trust(t, tt.system, tt.registry).Verify(name, digest, tt.sig)
			if tt.want == 0 {
				want := ops.Public().ID()
				if tt.unverified {
					want = ""
				}
				if err != nil || id != want {
					t.Errorf("key %q, %v; want %q", id, err, want)
				}
				return
			}
			var bad *UntrustedError
			if !errors.As(err, &bad) || bad.Reason != tt.want || id != "" {
				t.Fatalf("key %q, error %v; want reason %s", id, err, tt.want)
			}
			if bad.Name != name || bad.Digest != digest || bad.File == "" || !strings.HasPrefix(err.Error(), name+": ") || bad.Hint() == "" {
				t.Errorf("%q says too little: %+v", err, bad)
			}
		})
	}
}

// TestTwoKeysOfOneID: an id is a hint; the key that verifies decides.
func TestTwoKeysOfOneID(t *testing.T) {
	ops := generate(t)
	twin := generate(t).Public().String()
	// characters 3 to 13 hold the id's eight bytes
	twin = ops.Public().String()[:13] + twin[13:]
	tr := trust(t, fmt.Sprintf("publishers:\n  - {name: twin, keys: [%s], commands: [db.backup]}\n  - {name: ops, keys: [%s], commands: [web]}\n", twin, ops.Public()), "")
	var bad *UntrustedError
	if _, err := tr.Verify(name, digest, signed(t, ops, name, digest)); !errors.As(err, &bad) || bad.Reason != NotAllowed {
		t.Errorf("error %v: ops may publish web only", err)
	}
	if id, err := tr.Verify("web", digest, signed(t, ops, "web", digest)); err != nil || id != ops.Public().ID() {
		t.Errorf("web: %s, %v", id, err)
	}
}

func TestTrustStates(t *testing.T) {
	none := &Trust{}
	if none.Known() || none.Required() || none.Revoked(digest) {
		t.Error("no file says something")
	}
	tr := trust(t, "require_signature: true\n", "revoked: {digests: [\""+digest+"\"], keys: [\"0123456789ABCDEF\"]}\n")
	if !tr.Known() || !tr.Required() || !tr.Revoked(digest) || tr.Revoked(digest[:len(digest)-1]+"f") {
		t.Error("one file is not looked at")
	}
	if !tr.RevokedKey("0123456789ABCDEF") || tr.RevokedKey("0123456789ABCDEE") {
		t.Error("revoked keys")
	}
}

func TestLoadStamps(t *testing.T) {
	system, dir := files(t, "require_signature: true\n", "")
	_, stamps, err := LoadFiles(system, dir)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(system, &st); err != nil {
		t.Fatal(err)
	}
	want := []plan.Stamp{
		{Path: system, Dev: st.Dev, Ino: st.Ino, Size: st.Size, MtimeNs: st.Mtim.Nano(), CtimeNs: st.Ctim.Nano()},
		{Path: dir + "/" + RegistryFile, Absent: true},
	}
	if fmt.Sprint(stamps) != fmt.Sprint(want) {
		t.Errorf("stamps %v, want %v", stamps, want)
	}
	if _, stamps, err := LoadFiles(filepath.Join(dir, "none"), ""); err != nil || len(stamps) != 1 || !stamps[0].Absent {
		t.Errorf("%v, %v", stamps, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	const good = "require_signature: true\n"
	for _, tt := range []struct {
		name    string
		prepare func(path string) error // path of either file
		want    string
	}{
		{"writable", func(p string) error { return os.Chmod(p, 0o664) }, "writable by others"},
		{"directory", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o755)) }, "directory not accepted"},
		{"named pipe", func(p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o644)) }, "named pipe not accepted"},
		{"hard link", func(p string) error { return os.Link(p, p+".2") }, "hard link not accepted"},
		{"misspelt", func(p string) error { return os.WriteFile(p, []byte("revokd: {}\n"), 0o644) }, `:1:1: publishers file: unknown key "revokd"`},
		{"empty", func(p string) error { return os.WriteFile(p, nil, 0o644) }, "empty document"},
		{"large", func(p string) error { return os.Truncate(p, yamlnode.MaxSize+1) }, "more than the bound"},
	} {
		for _, which := range []string{"system", "registry"} {
			t.Run(tt.name+" "+which, func(t *testing.T) {
				system, dir := files(t, good, good)
				path := system
				if which == "registry" {
					path = dir + "/" + RegistryFile
				}
				if err := tt.prepare(path); err != nil {
					t.Fatal(err)
				}
				tr, _, err := LoadFiles(system, dir)
				if err == nil || tr != nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v does not contain %q", err, tt.want)
				}
			})
		}
	}
	system, dir := files(t, good, "")
	if err := os.Symlink(system, dir+"/"+RegistryFile); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadFiles(system, dir); err == nil || !strings.Contains(err.Error(), "symbolic link not accepted") {
		t.Errorf("symbolic link in the registry: %v", err)
	}
}

// TestLoadOwner: in a sticky directory of root's everybody may make the file,
// and would be believed by himself. The second half runs as such a user.
func TestLoadOwner(t *testing.T) {
	if dir := os.Getenv("SBX_TEST_OWNER"); dir != "" {
		_, _, err := LoadFiles("", dir)
		var owner *safefs.OwnerError
		if !errors.As(err, &owner) || owner.UID != 1234 || !strings.Contains(err.Error(), "registry's owner") || owner.Hint() != "chown 0 "+owner.Path {
			t.Errorf("his own file in root's registry: %v", err)
		}
		return
	}
	testenv.Root(t)
	system, dir := files(t, "", "require_signature: false\n")
	var owner *safefs.OwnerError
	if err := os.Chown(dir+"/"+RegistryFile, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadFiles(system, dir); !errors.As(err, &owner) || owner.UID != 1234 {
		t.Errorf("another's file: %v", err)
	}

	// Where an ordinary user gets to, unlike below t.TempDir.
	sticky, err := os.MkdirTemp("/var/tmp", "sbx-sign")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sticky) })
	path := sticky + "/" + RegistryFile
	if err := errors.Join(os.Chmod(sticky, 0o777|os.ModeSticky), os.WriteFile(path, nil, 0o644), os.Chown(path, 1234, 1234)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestLoadOwner$", "-test.count=1")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "SBX_TEST_OWNER="+sticky)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestParsePublishersRefuses(t *testing.T) {
	key := generate(t).Public().String()
	for _, tt := range []struct{ name, text, want string }{
		{"text", "hello", "want a mapping"},
		{"anchor", "publishers: &x []", "anchors are not supported"},
		{"two documents", "publishers: []\n---\npublishers: []", "several documents"},
		{"null list", "publishers:\n", "1:1: publishers file: key \"publishers\" has no value"},
		{"no name", "publishers: [{keys: [" + key + "], commands: [a]}]", "name is missing"},
		{"no keys", "publishers: [{name: a, commands: [a]}]", "keys are missing"},
		{"no commands", "publishers: [{name: a, keys: [" + key + "]}]", "commands are missing"},
		{"name twice", "publishers:\n- {name: a, keys: [" + key + "], commands: [a]}\n- {name: a, keys: [], commands: []}", "2:"},
		{"bad key", "publishers: [{name: a, keys: [RWabc], commands: [a]}]", "publishers.keys: public key"},
		{"key twice", "publishers: [{name: a, keys: [" + key + ", " + key + "], commands: [a]}]", "listed twice"},
		{"pattern", "publishers: [{name: a, keys: [" + key + "], commands: [\"d*\"]}]", `"d*" is not a pattern`},
		{"pattern in the middle", "publishers: [{name: a, keys: [" + key + "], commands: [\"a.*.b\"]}]", "is not a pattern"},
		{"dot star", "publishers: [{name: a, keys: [" + key + "], commands: [\".*\"]}]", "is not a pattern"},
		{"digest", "revoked: {digests: [abc]}", `"abc" is not a digest`},
		{"upper-case digest", "revoked: {digests: [\"sha256:" + strings.Repeat("A", 64) + "\"]}", "is not a digest"},
		{"revoked key", "revoked: {keys: [0123456789abcdef]}", "is not a key"},
		{"requirement", "require_signature: yes", "is not a truth value"},
		{"requirement misspelt", "require_signatures: true", `unknown key "require_signatures"`},
	} {
		p, err := ParsePublishers("p.yaml", []byte(tt.text))
		var place *yamlnode.Error
		if !errors.As(err, &place) || p != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v (%T) does not contain %q", tt.name, err, err, tt.want)
		}
	}
}

func TestReasons(t *testing.T) {
	seen := map[string]bool{}
	for r := Unsigned; r <= RevokedKey; r++ {
		if s := r.String(); s == "invalid" || seen[s] {
			t.Errorf("reason %d is %q", r, s)
		}
		seen[r.String()] = true
		if e := (&UntrustedError{Reason: r, Name: "x", File: "f"}); strings.Contains(e.Error(), "bug") || e.Hint() == "" {
			t.Errorf("%s: %s", r, e)
		}
	}
	if Reason(0).String() != "invalid" || (RevokedKey+1).String() != "invalid" {
		t.Error("an unknown reason has a name")
	}
}

func FuzzParsePublishers(f *testing.F) {
	k := publicKey(f, "plain.pub")
	f.Add([]byte("publishers:\n  - {name: ops, keys: [" + k.String() + "], commands: [\"db.*\"]}\nrequire_signature: true\n"))
	f.Add([]byte("revoked: {digests: [\"" + digest + "\"], keys: [\"80D2464202DCCA5F\", " + k.String() + "]}\n"))
	f.Add([]byte("publishers: []\n"))
	sig := data(f, "plain.sig")
	f.Fuzz(func(t *testing.T, src []byte) {
		p, err := ParsePublishers("f", src)
		if err != nil {
			var place *yamlnode.Error
			if !errors.As(err, &place) {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		tr := &Trust{files: []*Publishers{p}}
		if id, err := tr.Verify(name, digest, nil); id != "" || (err == nil) != (!p.RequireSignature && !tr.Revoked(digest)) {
			t.Errorf("unsigned: %q, %v", id, err)
		}
		if id, err := tr.Verify(name, digest, sig); err == nil && (id != k.ID() || len(p.List) == 0 || tr.Revoked(digest)) {
			t.Errorf("accepted: %q", id)
		}
	})
}
