package deptest

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// module is the path that all our packages begin with.
const module = "github.com/sbx-project/sbx"

// pkg is what `go list -json` says about one package.
type pkg struct {
	ImportPath   string
	Dir          string
	Name         string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
	CgoFiles     []string
	Deps         []string
}

// short is the path below the module, "." for the root.
func (p *pkg) short() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func (p *pkg) ours() bool {
	return p.ImportPath == module || strings.HasPrefix(p.ImportPath, module+"/")
}

// root is the repository: tests run in their package's directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatalf("the repository is not where it should be: %v", err)
	}
	return dir
}

// load is every package of the module and everything that they need, with
// cgo, so that no file is left out by it.
var load = sync.OnceValues(func() (map[string]*pkg, error) {
	cmd := exec.Command("go", "list", "-deps", "-test=false", "-json=ImportPath,Dir,Name,Standard,Imports,TestImports,XTestImports,CgoFiles,Deps", "./...")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=-buildvcs=false", "GOOS=linux", "GOARCH=amd64")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	all := map[string]*pkg{}
	for d := json.NewDecoder(out); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return nil, errors.Join(err, cmd.Wait())
		}
		all[p.ImportPath] = &p
	}
	return all, cmd.Wait()
})

func packages(t *testing.T) map[string]*pkg {
	t.Helper()
	all, err := load()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return all
}

// find is one of our packages by its short path; it fails when there is none.
func find(t *testing.T, short string) *pkg {
	t.Helper()
	p := packages(t)[module+"/"+short]
	if p == nil {
		t.Fatalf("package %s is gone: move its rules with it", short)
	}
	return p
}

// ownImports is what p imports, and what those of our packages import that it
// reaches: everything that somebody here wrote down, without what the standard
// library needs for itself. It maps each import to the package that has it.
func ownImports(t *testing.T, p *pkg) map[string]string {
	all := packages(t)
	from := map[string]string{}
	var visit func(p *pkg)
	visit = func(p *pkg) {
		for _, i := range p.Imports {
			if _, seen := from[i]; seen {
				continue
			}
			from[i] = p.short()
			if next := all[i]; next != nil && next.ours() {
				visit(next)
			}
		}
	}
	visit(p)
	return from
}

// matches tells whether an import is the pattern, or lies below it.
func matches(imported, pattern string) bool {
	return imported == pattern || strings.HasPrefix(imported, pattern+"/")
}

// ourPackages are ours, sorted.
func ourPackages(t *testing.T) []*pkg {
	var out []*pkg
	for _, p := range packages(t) {
		if p.ours() {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *pkg) int { return strings.Compare(a.ImportPath, b.ImportPath) })
	return out
}
