package integration

import (
	"os"
	"strings"
	"testing"
	"time"
)

// key makes a key pair with sbx keygen and returns the file of the secret one
// and the text of the public one.
func (h *host) key(t *testing.T, name string) (file, public string) {
	t.Helper()
	file = h.path("work/" + name + ".key")
	if r := h.run(t, call{verb: "keygen", plain: true, words: []string{"-W", "-o", file}}); r.status != 0 {
		t.Fatalf("%s", r)
	}
	text, err := os.ReadFile(h.path("work/" + name + ".pub"))
	check(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return file, lines[len(lines)-1]
}

// sign signs a bundle of the caller's registry where it lies.
func (h *host) sign(t *testing.T, name, key string) {
	t.Helper()
	bundle := h.path("registry/" + name + ".yaml")
	if r := h.run(t, call{verb: "sign", plain: true, words: []string{bundle, "--key", key}}); r.status != 0 {
		t.Fatalf("%s", r)
	}
}

// publishers writes the registry's publishers file.
func (h *host) publishers(t *testing.T, public, revoked string) {
	t.Helper()
	h.write(t, "registry/.publishers.new", "publishers: [{name: ops, keys: ["+public+"], commands: [\"*\"]}]\nrequire_signature: true\nrevoked: {"+revoked+"}\n", 0o644)
	check(t, os.Rename(h.path("registry/.publishers.new"), h.path("registry/.publishers.yaml")))
}

// TestSignedOnly: with a publishers file that requires signatures nothing
// unsigned or badly signed is parsed, by a one-shot run and by a daemon;
// revocation takes out what is in force, and an older signed bundle does not
// come back. Keys and signatures are made by sbx.
func TestSignedOnly(t *testing.T) {
	for _, direct := range []bool{true, false} {
		t.Run(map[bool]string{true: "direct", false: "daemon"}[direct], func(t *testing.T) {
			each(t, func(t *testing.T, h *host) { signedOnly(t, h, direct) })
		})
	}
}

func signedOnly(t *testing.T, h *host, direct bool) {
	ops, public := h.key(t, "ops")
	stranger, _ := h.key(t, "stranger")
	h.publishers(t, public, "")
	const garbage = "apiVersion: sbx/v9\nname: &a [*a, {\n\t"
	h.write(t, "registry/garbage.yaml", garbage, 0o644)
	h.revision(t, "plain", "1.0.0", "", "")
	h.revision(t, "strange", "1.0.0", "", "")
	h.sign(t, "strange", stranger)
	h.revision(t, "tool", "1.0.0", "", "")
	h.sign(t, "tool", ops)
	if r := h.run(t, call{verb: "verify", plain: true, words: []string{h.path("registry/tool.yaml"), "--key", h.path("work/ops.pub")}}); r.status != 0 {
		t.Fatalf("%s", r)
	}
	if !direct {
		h.serve(t)
	}
	run := func(name string) result {
		t.Helper()
		return h.run(t, h.both(direct, call{words: []string{name, "exit", "3"}}))
	}
	// becomes waits: a daemon learns of a change by itself, and soon.
	becomes := func(what, name string, ok func(result) bool) result {
		t.Helper()
		var r result
		for end := time.Now().Add(patience()); ; {
			if r = run(name); ok(r) {
				return r
			}
			if direct || time.Now().After(end) {
				t.Fatalf("%s\n%s", what, r)
			}
		}
	}
	version := func(want string) func(result) bool {
		return func(r result) bool { return r.status == 3 && r.report.Version == want }
	}
	refused := func(r result) bool { return r.status == 126 }

	for name, why := range map[string]string{"garbage": "not signed", "plain": "not signed", "strange": "does not have"} {
		r := run(name)
		if !refused(r) || !strings.Contains(r.stderr, why) || strings.Contains(r.stderr, ".yaml:1:") || strings.Contains(r.stderr, ".yaml:2:") {
			t.Errorf("%s, want %q and nothing of a parser\n%s", name, why, r)
		}
	}
	becomes("the signed one", "tool", version("1.0.0"))

	// An update that is not signed, then one that is.
	h.revision(t, "tool", "2.0.0", "", "env: {set: {N: two}}")
	if r := run("tool"); !version("1.0.0")(r) {
		t.Errorf("an unsigned update\n%s", r)
	}
	h.sign(t, "tool", stranger)
	if r := run("tool"); !version("1.0.0")(r) {
		t.Errorf("a stranger's update\n%s", r)
	}
	h.sign(t, "tool", ops)
	becomes("a signed update", "tool", version("2.0.0"))

	// An older one, though it is signed: a replay.
	h.revision(t, "tool", "1.5.0", "", "")
	h.sign(t, "tool", ops)
	if r := run("tool"); !version("2.0.0")(r) || direct && !strings.Contains(r.stderr, "older") {
		t.Errorf("an older signed one\n%s", r)
	}
	h.publishers(t, public, "digests: [\""+run("tool").report.Revision+"\"]")
	r := becomes("a revoked digest", "tool", func(r result) bool { return r.status == 126 || r.report.Version != "2.0.0" })
	if !version("1.0.0")(r) && !version("1.5.0")(r) {
		t.Errorf("a revoked digest\n%s", r)
	}
	h.publishers(t, public, "keys: ["+public+"]")
	becomes("a revoked key", "tool", refused)
	if r := run("tool"); !refused(r) {
		t.Errorf("a revoked key, again\n%s", r)
	}
}
