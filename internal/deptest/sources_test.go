package deptest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// source is one parsed Go file.
type source struct {
	path      string // below the repository, with slashes
	text      []byte
	file      *ast.File
	fset      *token.FileSet
	test      bool
	generated bool
}

func (s *source) line(p token.Pos) int { return s.fset.Position(p).Line }

// sources parses every Go file of the repository, whatever its build tags.
func sources(t *testing.T) []*source {
	t.Helper()
	base := root(t)
	var out []*source
	err := filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() != "." && strings.HasPrefix(d.Name(), ".") && path != base):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(base, path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		out = append(out, &source{
			path: filepath.ToSlash(rel), text: text, file: f, fset: fset,
			test: strings.HasSuffix(path, "_test.go"), generated: ast.IsGenerated(f),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("%d Go files in %s: that cannot be all", len(out), base)
	}
	return out
}

// maxLines is when a file holds more than one concept.
const maxLines = 500

func TestFileLength(t *testing.T) {
	for _, s := range sources(t) {
		if n := bytes.Count(s.text, []byte("\n")); n > maxLines && !s.generated {
			t.Errorf("%s has %d lines, more than %d: split it by concept", s.path, n, maxLines)
		}
	}
}

// TestUnsafe: who reviews memory tricks looks at the files that say so in
// their name.
func TestUnsafe(t *testing.T) {
	seen := false
	for _, s := range sources(t) {
		for _, i := range s.file.Imports {
			if i.Path.Value != `"unsafe"` {
				continue
			}
			seen = true
			name := strings.TrimSuffix(strings.TrimSuffix(s.path, ".go"), "_test")
			if !strings.HasSuffix(name, "_unsafe") {
				t.Errorf("%s imports unsafe: such files are named *_unsafe.go", s.path)
			}
		}
	}
	if !seen {
		t.Error("no file imports unsafe: the rule looks at nothing")
	}
}

// TestDirectives: nothing private of the Go runtime is linked to, so that a
// new release of Go cannot break a launch; see docs/adr/0002.
func TestDirectives(t *testing.T) {
	for _, s := range sources(t) {
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//go:linkname") {
					t.Errorf("%s:%d: go:linkname: docs/adr/0002 says why not", s.path, s.line(c.Pos()))
				}
			}
		}
	}
}

// TestChildCode: every function of the file that runs in the cloned child is
// marked so that the compiler puts neither a stack check nor a race detector's
// call into it; either would enter a scheduler that is not there.
func TestChildCode(t *testing.T) {
	const file = "nsexec/child_unsafe.go"
	for _, s := range sources(t) {
		if s.path != file {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			doc := ""
			if f.Doc != nil {
				for _, c := range f.Doc.List {
					doc += c.Text + "\n"
				}
			}
			for _, want := range []string{"//go:nosplit\n", "//go:norace\n"} {
				if !strings.Contains(doc, want) {
					t.Errorf("%s:%d: %s is not marked %s", s.path, s.line(f.Pos()), f.Name.Name, strings.TrimSpace(want))
				}
			}
		}
		return
	}
	t.Errorf("%s is gone: move its rule with it", file)
}

// TestWords: messages say operation, object and cause; these openings say
// nothing.
func TestWords(t *testing.T) {
	openings := []string{"failed to", "unable to", "could not", "error while"}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			value, err := strconv.Unquote(lit.Value)
			if err != nil {
				return true
			}
			for _, o := range openings {
				if strings.HasPrefix(strings.ToLower(value), o) {
					t.Errorf("%s:%d: a message begins with %q: name the operation, then the object, then the cause", s.path, s.line(lit.Pos()), o)
				}
			}
			return true
		})
	}
}

// calls visits every call of the form pkg.Name or Name; pkg is "" for the
// latter.
func calls(in ast.Node, visit func(pkg, name string, at token.Pos)) {
	ast.Inspect(in, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch f := call.Fun.(type) {
		case *ast.Ident:
			visit("", f.Name, call.Pos())
		case *ast.SelectorExpr:
			if x, ok := f.X.(*ast.Ident); ok {
				visit(x.Name, f.Sel.Name, call.Pos())
			}
		}
		return true
	})
}

// TestPrinting: a library returns; only a main package prints.
func TestPrinting(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.file.Name.Name == "main" {
			continue
		}
		calls(s.file, func(pkg, name string, at token.Pos) {
			if pkg == "fmt" && strings.HasPrefix(name, "Print") || pkg == "" && (name == "print" || name == "println") || pkg == "log" {
				t.Errorf("%s:%d: %s.%s in package %s: only commands print", s.path, s.line(at), pkg, name, s.file.Name.Name)
			}
		})
	}
}

// TestSleep: a test waits for an event, with a deadline. A sleep is fine in a
// loop that looks again, and in a program that a test starts (a function that
// is given no testing.T); anywhere else it is a guess at how fast the machine
// is.
func TestSleep(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !takesTesting(f) {
				continue
			}
			var loops []ast.Node
			ast.Inspect(f, func(n ast.Node) bool {
				switch n.(type) {
				case *ast.ForStmt, *ast.RangeStmt:
					loops = append(loops, n)
				}
				return true
			})
			calls(f, func(pkg, name string, at token.Pos) {
				inLoop := slices.ContainsFunc(loops, func(n ast.Node) bool { return n.Pos() <= at && at < n.End() })
				if pkg == "time" && name == "Sleep" && !inLoop {
					t.Errorf("%s:%d: time.Sleep outside a loop: wait for an event, or look again until a deadline", s.path, s.line(at))
				}
			})
		}
	}
}

// takesTesting tells whether a function has a parameter of package testing.
func takesTesting(f *ast.FuncDecl) bool {
	return slices.ContainsFunc(f.Type.Params.List, func(p *ast.Field) bool {
		x := p.Type
		if star, ok := x.(*ast.StarExpr); ok {
			x = star.X
		}
		sel, ok := x.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		of, ok := sel.X.(*ast.Ident)
		return ok && of.Name == "testing"
	})
}

// TestInit: importing a package does nothing.
func TestInit(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" && !s.test {
				t.Errorf("%s:%d: func init: no work on import", s.path, s.line(f.Pos()))
			}
		}
	}
}

// TestDocs: every package says what it is, every exported name what it does.
func TestDocs(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		dir := filepath.Dir(s.path)
		if s.test {
			continue
		}
		documented[dir] = documented[dir] || s.file.Doc != nil
		if s.file.Name.Name == "main" {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Name.IsExported() && f.Doc == nil && exportedReceiver(f) && !obvious(f.Name.Name) {
				t.Errorf("%s:%d: %s has no doc comment", s.path, s.line(f.Pos()), f.Name.Name)
			}
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok && ts.Name.IsExported() && g.Doc == nil && ts.Doc == nil {
					t.Errorf("%s:%d: %s has no doc comment", s.path, s.line(ts.Pos()), ts.Name.Name)
				}
			}
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no file has a package comment", dir)
		}
	}
}

// exportedReceiver is true for functions and for methods of exported types.
func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	x := f.Recv.List[0].Type
	if star, ok := x.(*ast.StarExpr); ok {
		x = star.X
	}
	id, ok := x.(*ast.Ident)
	return !ok || id.IsExported()
}

// obvious are the methods of error and fmt.Stringer.
func obvious(name string) bool {
	return name == "Error" || name == "Unwrap" || name == "String" || name == "Is"
}
