package policy_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/policy"
)

var update = flag.Bool("update", false, "rewrite the messages at the end of testdata/*.bad.yaml")

// parse is what a caller does with a policy file.
func parse(src []byte) (policy.Policy, error) {
	n, err := yamlnode.Parse("policy.yaml", src)
	if err != nil {
		return policy.Policy{}, err
	}
	p, err := policy.FromNode(n)
	return p, yamlnode.Locate("policy.yaml", src, err)
}

// marker begins the pinned message at the end of a bad file: the whole
// presentation of the error, each line behind "# ".
const marker = "# want:\n"

// TestBad holds every bad file to its message, excerpt and hint.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d bad files, want at least 40: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.yaml"), func(t *testing.T) {
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			src, want, pinned := strings.Cut(string(whole), marker)
			_, err = parse([]byte(src))
			if err == nil {
				t.Fatal("accepted")
			}
			var located *yamlnode.Error
			if !errors.As(err, &located) || located.Pos.Line == 0 {
				t.Errorf("no position in %v", err)
			}
			got := ""
			for _, line := range strings.Split(yamlnode.Format(err, "policy.yaml", []byte(src)), "\n") {
				got += strings.TrimRight("# "+line, " ") + "\n"
			}
			if *update {
				if err := os.WriteFile(file, []byte(src+marker+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !pinned {
				t.Fatalf("no pinned message; got\n%s", got)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGood holds every good file to what Canonical promises.
func TestGood(t *testing.T) {
	files, err := filepath.Glob("testdata/*.good.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no good files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".good.yaml"), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p, err := parse(src)
			if err != nil {
				t.Fatal(yamlnode.Format(err, file, src))
			}
			checkCanonical(t, p)
		})
	}
}

// equal ignores positions and the order of lists that have none.
var equal = cmp.Options{
	cmpopts.IgnoreTypes(policy.Pos{}, policy.Places{}),
	cmpopts.SortSlices(func(a, b string) bool { return a < b }),
	cmpopts.SortSlices(func(a, b policy.Name) bool { return a.Text < b.Text }),
	cmpopts.SortSlices(func(a, b policy.PathRule) bool { return a.Path < b.Path }),
	cmpopts.SortSlices(func(a, b policy.Tmpfs) bool { return a.Path < b.Path }),
}

func checkCanonical(t *testing.T, p policy.Policy) {
	t.Helper()
	text := policy.Canonical(p)
	again, err := parse(text)
	if err != nil {
		t.Fatalf("parse the canonical text: %v\n%s", err, text)
	}
	if diff := cmp.Diff(p, again, equal); diff != "" {
		t.Errorf("parse(canonical(p)) (-p +got):\n%s\n%s", diff, text)
	}
	if fixed := policy.Canonical(again); !bytes.Equal(fixed, text) {
		t.Errorf("canonical text is no fixpoint:\n%s", cmp.Diff(string(text), string(fixed)))
	}
}

// TestNotBuilt: what is reserved is refused by name, and told apart.
func TestNotBuilt(t *testing.T) {
	for _, src := range []string{
		"filesystem: {workspace: {size: 1G}}\n", "secrets: [a]\n",
		"network: {mode: egress}\n", "network: {allow: [{host: a, port: 1}]}\n",
		"devices: [/dev/fuse]\n",
	} {
		_, err := parse([]byte(src))
		if !errors.Is(err, policy.ErrNotBuilt) {
			t.Errorf("%q: error %v is not ErrNotBuilt", src, err)
		}
	}
	if _, err := parse([]byte("devices: []\nnetwork: {allow: []}\n")); err != nil {
		t.Errorf("empty lists: %v", err)
	}
}

func FuzzPolicy(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	stock, _ := filepath.Glob("../policies/stock/*.yaml")
	for _, file := range append(files, stock...) {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		p, err := parse(src)
		if err != nil {
			var located *yamlnode.Error
			if !errors.As(err, &located) {
				t.Fatalf("%T is not a *yamlnode.Error: %v", err, err)
			}
			return
		}
		checkCanonical(t, p)
		r, err := policy.Resolve(p, func(string) (policy.Policy, error) {
			return policy.Policy{Extends: []string{}}, nil
		}, policy.Calls{})
		if err != nil {
			t.Fatalf("resolve: %v", err)
		}
		checkCanonical(t, r)
	})
}
