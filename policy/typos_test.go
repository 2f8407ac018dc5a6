package policy_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/yamlnode"
)

// TestTypos breaks the good policy with every key and every word of a fixed
// set, one letter at a time, and wants the place of the mistake and the word
// that was meant.
func TestTypos(t *testing.T) {
	whole, err := os.ReadFile("testdata/full.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	src := string(whole)
	key := regexp.MustCompile(`(?m)(?:^\s*(?:- )?-?|[{,] *-?)([a-z][a-z_]+):`)
	word := regexp.MustCompile(`\b(?:full|minimal|owner|masked_eq|loopback|unix|inet|EAFNOSUPPORT|ENOSYS|EPERM|CAP_NET_BIND_SERVICE|cgroup\.memory|userns|kill|allow\b[^:]|errno\b[^:])`)
	type place struct{ from, to int }
	var places []place
	for _, m := range key.FindAllStringSubmatchIndex(src, -1) {
		places = append(places, place{m[2], m[3]})
	}
	for _, m := range word.FindAllStringIndex(src, -1) {
		at := place{m[0], m[1]}
		for last := src[at.to-1]; last == ',' || last == '}' || last == '\n'; last = src[at.to-1] {
			at.to--
		}
		places = append(places, at)
	}
	if len(places) < 60 {
		t.Fatalf("%d places, want at least 60", len(places))
	}
	for _, p := range places {
		right := src[p.from:p.to]
		for what, wrong := range map[string]string{
			"doubled": right[:1] + right, "left out": right[:len(right)/2] + right[len(right)/2+1:], "turned": right[:len(right)-2] + right[len(right)-1:] + right[len(right)-2:len(right)-1],
		} {
			if wrong == right {
				continue
			}
			_, err := parse([]byte(src[:p.from] + wrong + src[p.to:]))
			line := strings.Count(src[:p.from], "\n") + 1
			column := p.from - strings.LastIndex(src[:p.from], "\n")
			var located *yamlnode.Error
			if !errors.As(err, &located) {
				t.Errorf("%d: %s %s: %q: got %v", line, right, what, wrong, err)
				continue
			}
			// An optional limit's place is that of its dash, a quoted word's that of
			// its quote.
			if d := column - located.Pos.Col; located.Pos.Line != line || d < 0 || d > 1 {
				t.Errorf("%d:%d: %s %s: reported at %d:%d: %v", line, column, right, what, located.Pos.Line, located.Pos.Col, err)
			}
			text := yamlnode.Format(err, "policy.yaml", []byte(src[:p.from]+wrong+src[p.to:]))
			if _, hint, _ := strings.Cut(text, "hint: "); !strings.Contains(hint, `"`+right+`"`) {
				t.Errorf("%d: %s %s: no hint:\n%s", line, right, what, text)
			}
		}
	}
}
