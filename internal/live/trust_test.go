package live

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/sign"
	"github.com/sbx-project/sbx/registry/life"
)

// signer is a publisher of a fixture.
type signer struct {
	f   *fixture
	key sign.SecretKey
}

func (f *fixture) signer() signer {
	f.t.Helper()
	key, err := sign.GenerateKey()
	f.must(err)
	return signer{f, key}
}

func (s signer) public() string { return s.key.Public().String() }

// digest is that of a one-file bundle of this text, by way of a registry of
// its own.
func (f *fixture) digest(name, text string) string {
	f.t.Helper()
	dir := f.t.TempDir()
	f.must(os.WriteFile(dir+"/"+name+".yaml", []byte(text), 0o644))
	place, err := loader.OpenPlace(dir)
	f.must(err)
	raw, err := place.Read(name)
	f.must(err)
	return raw.Digest
}

// put signs a bundle as another name (its own in most cases) and puts it, the
// signature first.
func (s signer) put(name, as, text string) (digest string) {
	s.f.t.Helper()
	digest = s.f.digest(name, text)
	text2, err := s.key.Sign(as, digest, "name:"+as, time.Unix(1_700_000_000, 0))
	s.f.must(err)
	s.f.file(name+".yaml.sig", string(text2))
	s.f.put(name, text)
	return digest
}

// file replaces a file of the registry by rename.
func (f *fixture) file(name, text string) {
	f.t.Helper()
	f.must(os.WriteFile(f.base+"/file", []byte(text), 0o644))
	f.must(os.Rename(f.base+"/file", f.dir()+"/"+name))
}

// publishers writes the publishers file: who may publish everything, and what
// was taken back.
func (f *fixture) publishers(required bool, key string, digests, keys []string) {
	f.t.Helper()
	text := "publishers: [{name: ops, keys: [" + key + "], commands: [\"*\"]}]\n"
	if required {
		text += "require_signature: true\n"
	}
	quoted := func(list []string) string {
		if len(list) == 0 {
			return "[]"
		}
		return "[\"" + strings.Join(list, "\", \"") + "\"]"
	}
	text += "revoked: {digests: " + quoted(digests) + ", keys: " + quoted(keys) + "}\n"
	f.file(sign.RegistryFile, text)
}

// refused waits for the n-th rejection of a command and checks that it says
// 412 and nothing that only a parser knows.
func (f *fixture) refused(name string, n int) {
	f.t.Helper()
	f.reaches(loader.Rejected, name, n)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.Kind != loader.Rejected || e.Name != name {
			continue
		}
		if e.Code != life.Untrusted || e.Version != "" || loader.Code(e.Err) != life.Untrusted {
			f.t.Errorf("%s: %+v", name, e)
		}
	}
}

// unparsable is a manifest of which every parser would have something to say.
const unparsable = "apiVersion: sbx/v9\nname: &a [*a, {\n\t"

// TestUntrustedNeverReachTheParser: at start and on a file event, what is not
// signed, or not well, is 412, whatever is in it.
func TestUntrustedNeverReachTheParser(t *testing.T) {
	f := newFixture(t)
	ops, stranger := f.signer(), f.signer()
	f.publishers(true, ops.public(), nil, nil)
	texts := map[string]string{"valid": "", "garbage": unparsable}
	bad := map[string]func(name, text string){
		"unsigned":  func(name, text string) { f.put(name, text) },
		"stranger":  func(name, text string) { stranger.put(name, name, text) },
		"othername": func(name, text string) { ops.put(name, "else", text) },
		"nosig": func(name, text string) {
			f.file(name+".yaml.sig", "untrusted comment: x\nnot a signature\n")
			f.put(name, text)
		},
		"otherbytes": func(name, text string) {
			ops.put(name, name, text)
			f.put(name, text+"\n")
		},
	}
	all := func(prefix string) (names []string) {
		for what, write := range bad {
			for which, text := range texts {
				name := prefix + "-" + what + "-" + which
				if text == "" {
					text = manifest(name, "1.0.0", "")
				}
				write(name, text)
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	names := all("start")
	ops.put("good", "good", manifest("good", "1.0.0", ""))
	f.start()
	f.version("good", "1.0.0")
	names = append(names, all("event")...)
	ops.put("later", "later", manifest("later", "1.0.0", ""))
	f.version("later", "1.0.0")
	for _, name := range names {
		f.refused(name, 1)
		f.version(name, "")
		if e, ok := f.set.Get(name); ok {
			if p, err := f.set.Plan(e); err == nil {
				t.Errorf("%s has a plan of %s", name, p.Version)
			}
		}
	}
	// What a good signature covers is parsed, and only then is it an error of
	// the content.
	ops.put("signed", "signed", unparsable)
	f.reaches(loader.Rejected, "signed", 1)
	f.mu.Lock()
	for _, e := range f.events {
		if e.Name == "signed" && (e.Code != 0 || !strings.Contains(e.Reason, "signed.yaml:")) {
			t.Errorf("%+v", e)
		}
	}
	f.mu.Unlock()
}

// TestSignedUpdates: what is in force goes on over every update that is not
// trusted, and an older one is a conflict though it is signed.
func TestSignedUpdates(t *testing.T) {
	f := newFixture(t)
	ops := f.signer()
	f.publishers(true, ops.public(), nil, nil)
	ops.put("tool", "tool", manifest("tool", "2.0.0", ""))
	f.start()
	f.version("tool", "2.0.0")

	f.put("tool", manifest("tool", "2.1.0", "")) // with the signature of 2.0.0
	f.refused("tool", 1)
	f.version("tool", "2.0.0")
	ops.put("tool", "tool", manifest("tool", "2.1.0", ""))
	f.version("tool", "2.1.0")

	code := func() life.Code {
		results, err := f.set.Reload()
		f.must(err)
		return loader.Code(results["tool"].Err)
	}
	ops.put("tool", "tool", manifest("tool", "2.0.5", ""))
	if got := code(); got != life.Conflict {
		t.Errorf("an older signed bundle: %d, want 409", got)
	}
	ops.put("tool", "tool", manifest("tool", "2.1.0", "summary: other content\n"))
	if got := code(); got != life.Conflict {
		t.Errorf("the same version with other signed content: %d, want 409", got)
	}
	f.must(os.Remove(f.dir() + "/tool.yaml.sig"))
	if got := code(); got != life.Untrusted {
		t.Errorf("the signature removed: %d, want 412", got)
	}
	f.version("tool", "2.1.0")
}

// TestPublishersChangeLive: a daemon follows its publishers file, though no
// bundle changes with it.
func TestPublishersChangeLive(t *testing.T) {
	f := newFixture(t)
	ops, next := f.signer(), f.signer()
	f.publishers(true, ops.public(), nil, nil)
	ops.put("tool", "tool", manifest("tool", "1.0.0", ""))
	ops.put("alone", "alone", manifest("alone", "1.0.0", ""))
	f.put("plain", manifest("plain", "1.0.0", ""))
	f.start()
	f.version("tool", "1.0.0")
	f.refused("plain", 1)
	counted := func() {
		e, _ := f.set.Get("tool")
		p, err := f.set.Plan(e)
		f.must(err)
		_, err = f.set.Ended(p, "run-"+p.Version, "")
		f.must(err)
	}
	counted()
	second := ops.put("tool", "tool", manifest("tool", "2.0.0", ""))
	f.version("tool", "2.0.0")
	counted()

	// Nobody need sign any more.
	f.publishers(false, ops.public(), nil, nil)
	f.version("plain", "1.0.0")
	// Everybody must: what came in force without goes no further.
	f.publishers(true, ops.public(), nil, nil)
	f.untrusted("plain")
	ops.put("plain", "plain", manifest("plain", "1.0.0", "")) // the same, signed
	f.runnable("plain", "1.0.0")

	// A digest is taken back: the last good one comes back.
	f.publishers(true, ops.public(), []string{second}, nil)
	f.version("tool", "1.0.0")
	f.reaches(loader.Reverted, "tool", 1)
	if e, _ := f.set.Get("tool"); e != nil {
		if p, err := f.set.Plan(e); err != nil || p.Version != "1.0.0" {
			t.Errorf("%+v, %v", p, err)
		}
	}
	// The key: nothing that it signed is left, and nothing comes back.
	f.publishers(true, next.public(), []string{second}, []string{ops.public()})
	for _, name := range []string{"tool", "alone"} {
		f.version(name, "")
		e, ok := f.set.Get(name)
		if !ok {
			t.Errorf("%s is forgotten", name)
			continue
		}
		if p, err := f.set.Plan(e); err == nil && p.Refusal == "" {
			t.Errorf("%s %s can be run", name, p.Version)
		}
	}
	// Another publisher's comes in force.
	next.put("tool", "tool", manifest("tool", "3.0.0", ""))
	f.version("tool", "3.0.0")

	// One that is not understood: nothing new, and it is said.
	f.file(sign.RegistryFile, "publishrs: []\n")
	f.reaches(loader.Damaged, "", 1)
	next.put("tool", "tool", manifest("tool", "4.0.0", ""))
	f.reaches(loader.Damaged, "", 2)
	f.version("tool", "3.0.0")
	f.publishers(true, next.public(), nil, nil)
	f.version("tool", "4.0.0")
}

// untrusted waits until nothing of a command can be run because of who signed
// it.
func (f *fixture) untrusted(name string) {
	f.t.Helper()
	var got any
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		e, ok := f.set.Get(name)
		if !ok {
			got = "no entry"
			continue
		}
		p, err := f.set.Plan(e)
		if err != nil && loader.Code(err) == life.Untrusted {
			return
		}
		got = []any{p, err}
	}
	f.t.Fatalf("%s: %+v", name, got)
}

// runnable waits until a version of a command can be run.
func (f *fixture) runnable(name, version string) {
	f.t.Helper()
	var got any
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if e, ok := f.set.Get(name); ok {
			p, err := f.set.Plan(e)
			if err == nil && p.Version == version && p.Refusal == "" {
				return
			}
			got = []any{p, err}
		}
	}
	f.t.Fatalf("%s: %+v", name, got)
}

// TestRevokedWhileStopped: the publishers file changed while nobody looked,
// and the bundle lies there as it was.
func TestRevokedWhileStopped(t *testing.T) {
	f := newFixture(t)
	ops := f.signer()
	f.publishers(true, ops.public(), nil, nil)
	digest := ops.put("tool", "tool", manifest("tool", "1.0.0", ""))
	f.start()
	f.version("tool", "1.0.0")
	f.stop()
	f.publishers(true, ops.public(), []string{digest}, nil)
	f.start()
	e, ok := f.set.Get("tool")
	if ok && e.Command.InForce != "" {
		t.Errorf("in force after a start: %s", e.Command.InForce)
	}
	// Another publishers file, without a revocation.
	ops.put("other", "other", manifest("other", "1.0.0", ""))
	f.runnable("other", "1.0.0")
	f.stop()
	f.publishers(true, f.signer().public(), nil, nil)
	f.start()
	f.untrusted("other")
}
