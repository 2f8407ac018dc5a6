package deptest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestChangelog: each file of the changelog is as CHANGELOG.md says, so that a
// release can be made of them.
func TestChangelog(t *testing.T) {
	const dir = "../../changelog/unreleased"
	files, err := os.ReadDir(dir) // none right after a release
	if err != nil {
		t.Fatal(err)
	}
	head := regexp.MustCompile(`^(Breaking|Security|Change|Feature|Fix|Speed): .*[^.]$`)
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		first, rest, _ := strings.Cut(string(text), "\n")
		if !head.MatchString(first) {
			t.Errorf("%s: the first line is %q", file.Name(), first)
		}
		if rest != "" && !strings.HasPrefix(rest, "\n") {
			t.Errorf("%s: no empty line below the first", file.Name())
		}
	}
}
