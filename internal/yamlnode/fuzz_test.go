package yamlnode

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sbx-project/sbx/policy"
)

// parseDeadline is far above what MaxSize bytes take; a parser that is still
// running then does not end.
const parseDeadline = 5 * time.Second

// FuzzParse: any bytes end in a bounded tree or an *Error, and soon.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"../../policy/testdata/*.yaml", "../../registry/testdata/*.yaml", "../../policies/*/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		watchdog := time.AfterFunc(parseDeadline, func() { panic("the parser does not end") })
		defer watchdog.Stop()
		n, err := Parse("f", src)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Msg == "" {
				t.Fatalf("%T is not an *Error with a message: %v", err, err)
			}
			if isControlIn(Format(err, "f", src)) {
				t.Errorf("control character in %q", Format(err, "f", src))
			}
			return
		}
		check(t, n, 0)
	})
}

func isControlIn(s string) bool {
	for _, r := range s {
		if r != '\n' && isControl(r) {
			return true
		}
	}
	return false
}

func check(t *testing.T, n *policy.Node, depth int) {
	t.Helper()
	if depth > MaxDepth+1 {
		t.Fatal("deeper than MaxDepth")
	}
	if n.Pos.Line < 1 || n.Pos.Col < 1 {
		t.Errorf("%v without position: %q", n.Kind, n.Value)
	}
	switch n.Kind {
	case policy.Scalar:
	case policy.Sequence:
		for _, item := range n.Items {
			check(t, item, depth+1)
		}
	case policy.Mapping:
		for _, pair := range n.Pairs {
			if pair.Key.Kind != policy.Scalar {
				t.Errorf("key of kind %v", pair.Key.Kind)
			}
			check(t, pair.Key, depth+1)
			check(t, pair.Value, depth+1)
		}
	default:
		t.Errorf("kind %d", n.Kind)
	}
}
