package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/sbx-project/sbx/internal/admin"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// TestKinds: every kind of a loader's events but Violated has one of the API,
// which its document lists, and of the same name.
func TestKinds(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../internal/loader/event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(f, func(node ast.Node) bool {
		v, ok := node.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		n++
		c, told := changeOf(loader.Event{Kind: loader.Kind(text), Name: "a"})
		if told == (text == string(loader.Violated)) {
			t.Errorf("%s: told %v", text, told)
		}
		if told && (string(c.Kind) != text || !slices.Contains(admin.Kind("").Enum(), text)) {
			t.Errorf("%s is told as %q", text, c.Kind)
		}
		return true
	})
	if n != 10 {
		t.Errorf("%d kinds, want 10", n)
	}
}
