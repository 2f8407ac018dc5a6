package engine

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/policy"
)

// TestSurveyIsOneLook: what one request has seen stands for the next one of the
// same load, with the stamps of then; the next load looks again.
func TestSurveyIsOneLook(t *testing.T) {
	cat, err := os.ReadFile("/usr/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, tempDir(t)+"/program", string(cat), 0o755)
	gather := func(r Request) Input {
		t.Helper()
		r.Path, r.Features = path, feature.Probe()
		in, err := Gather(r)
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	s := &Survey{}
	before := gather(Request{Survey: s})
	if diff := cmp.Diff(gather(Request{}), before, cmp.AllowUnexported(feature.Set{})); diff != "" {
		t.Errorf("a survey changes what is gathered:\n%s", diff)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, string(cat)+"more", 0o755)
	if now := gather(Request{Survey: s}); now.Program.Identity != before.Program.Identity {
		t.Error("one load has looked twice, with two answers")
	}
	if now := gather(Request{Survey: &Survey{}}); now.Program.Identity == before.Program.Identity {
		t.Error("the next load does not see the new program")
	}
}

// TestSurveyTellsRequestsApart: what decides how a program is found and judged
// is asked for each combination of it.
func TestSurveyTellsRequestsApart(t *testing.T) {
	cat, err := os.ReadFile("/usr/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	write(t, dir+"/script", "#!/usr/bin/env cat\n", 0o755)
	own := write(t, dir+"/bin/cat", string(cat), 0o755)
	s := &Survey{}
	gather := func(r Request) (Input, error) {
		r.Path, r.Features, r.Survey = dir+"/script", feature.Probe(), s
		return Gather(r)
	}
	first, err := gather(Request{})
	if err != nil {
		t.Fatal(err)
	}
	var searched Request
	searched.Policy.Env.Set = map[string]string{"PATH": dir + "/bin"}
	second, err := gather(searched)
	if err != nil {
		t.Fatal(err)
	}
	if first.Program.Path == own || second.Program.Path != own {
		t.Errorf("the interpreters are %s and %s", first.Program.Path, second.Program.Path)
	}
	if _, err := gather(Request{SHA256: "00"}); err == nil {
		t.Error("a program with another digest is accepted")
	}
	off := false
	lax, err := gather(Request{Policy: policy.Policy{DenyWriteExecute: &off}, Argv0: "other"})
	if err != nil {
		t.Fatal(err)
	}
	if lax.Program.Script.Interpreter != "other" {
		t.Errorf("argv[0] is %q", lax.Program.Script.Interpreter)
	}
}
