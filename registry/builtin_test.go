package registry

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/policy"
)

// TestBuiltin loads, resolves and re-reads everything that comes with sbx.
func TestBuiltin(t *testing.T) {
	entries, err := Builtin().Names()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	if diff := cmp.Diff([]string{"git", "grep", "jq", "python3", "tar"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			b, err := Builtin().Load(name)
			if err != nil {
				t.Fatal(err)
			}
			if b.Manifest.Name != name {
				t.Errorf("name = %q", b.Manifest.Name)
			}
			if len(b.Manifest.Checks) < 2 || b.Manifest.Summary == "" {
				t.Error("want at least two checks and a summary")
			}
			p, err := policy.Resolve(b.Manifest.Policy, Stock, policy.Calls{})
			if err != nil {
				t.Fatal(err)
			}
			text := policy.Canonical(p)
			again, err := ParsePolicy("canonical", text)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if got := policy.Canonical(again); !bytes.Equal(text, got) {
				t.Errorf("canonical text is no fixpoint:\n%s", cmp.Diff(string(text), string(got)))
			}
			if p.Limits.PidsMax == nil || !p.Limits.PidsMax.Optional || p.Limits.PidsMax.Value != 64 {
				t.Errorf("pids_max = %+v, want the optional 64 of base", p.Limits.PidsMax)
			}
		})
	}
}

func TestStock(t *testing.T) {
	for _, name := range StockNames() {
		p, err := Stock(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if p.Extends == nil || len(p.Extends) > 0 {
			t.Errorf("%s: extends = %v, want a stated empty list", name, p.Extends)
		}
	}
	_, err := Stock("bsae")
	if want := `extends: no stock policy "bsae"`; err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}
