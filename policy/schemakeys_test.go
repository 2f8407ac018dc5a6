package policy_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryKeyHasBadFile walks the committed schema: each key of it is met by
// the message of a bad file, so that a new key brings one of its own.
func TestEveryKeyHasBadFile(t *testing.T) {
	text, err := os.ReadFile("../policies/schema/policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	var walk func(v any, at string)
	walk = func(v any, at string) {
		switch v := v.(type) {
		case map[string]any:
			if properties, ok := v["properties"].(map[string]any); ok {
				for key, below := range properties {
					path := strings.TrimPrefix(at+"."+strings.TrimPrefix(key, "-"), ".")
					keys[path] = true
					walk(below, path)
				}
			}
			for key, below := range v {
				if key != "properties" {
					walk(below, at)
				}
			}
		case []any:
			for _, below := range v {
				walk(below, at)
			}
		}
	}
	walk(schema, "")
	if len(keys) < 40 {
		t.Fatalf("the schema has %d keys: %q", len(keys), slices.Sorted(maps.Keys(keys)))
	}
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// A path is told of by its list, in either of its forms (path-kind.bad.yaml).
	met := map[string]bool{"filesystem.read.path": true}
	for _, file := range files {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// The first line of the message says what is wrong, the last what is
		// meant; the excerpt between could name any key.
		_, want, _ := strings.Cut(string(whole), marker)
		first, rest, _ := strings.Cut(want, "\n")
		_, hint, _ := strings.Cut(rest, "# hint: ")
		for _, w := range regexp.MustCompile(`[a-z_]+(\.[a-z_]+)*`).FindAllString(first+" "+hint, -1) {
			met[w] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if !met[key] && !strings.HasPrefix(key, "limits.rlimit_") && key == strings.ToLower(key) { // errnos are one key, and so are limits
			t.Errorf("no bad file is about the key %s", key)
		}
	}
}
