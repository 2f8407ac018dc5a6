package registry_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/registry"
)

// TestTypos breaks each key and each word of a fixed set of the good manifest
// and wants the place of the mistake and the word that was meant.
func TestTypos(t *testing.T) {
	whole, err := os.ReadFile("testdata/full.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	src := string(whole)
	key := regexp.MustCompile(`(?m)(?:^\s*(?:- )?|[{,] *)([a-zA-Z_0-9]{4,}):`)
	word := regexp.MustCompile(`\b(declared|string|create|enum|bool|duration|quarantine)\b`)
	places := key.FindAllStringSubmatchIndex(src, -1)
	places = append(places, word.FindAllStringSubmatchIndex(src, -1)...)
	if len(places) < 30 {
		t.Fatalf("%d places, want at least 30", len(places))
	}
	for _, m := range places {
		right := src[m[2]:m[3]]
		wrong := right[:1] + right
		line := strings.Count(src[:m[2]], "\n") + 1
		bad := []byte(src[:m[2]] + wrong + src[m[3]:])
		_, err := registry.ParseManifest("bundle.yaml", bad)
		var located *yamlnode.Error
		if !errors.As(err, &located) {
			t.Errorf("%d: %q for %q: %v", line, wrong, right, err)
			continue
		}
		if column := m[2] - strings.LastIndex(src[:m[2]], "\n"); located.Pos.Line != line || located.Pos.Col != column {
			t.Errorf("%d:%d: %q: reported at %d:%d", line, column, wrong, located.Pos.Line, located.Pos.Col)
		}
		text := yamlnode.Format(err, "bundle.yaml", bad)
		if _, hint, _ := strings.Cut(text, "hint: "); !strings.Contains(hint, `"`+right+`"`) {
			t.Errorf("%d: %q for %q: no hint:\n%s", line, wrong, right, text)
		}
	}
}
