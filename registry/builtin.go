package registry

import (
	"fmt"
	"strings"

	"github.com/sbx-project/sbx/policies"
)

// Builtin returns the source of the bundles that come with sbx. Their files
// are not files of the host: Bundle.File says "builtin:NAME.yaml" and there
// are no stamps. It is safe for concurrent use.
func Builtin() Source { return builtin{} }

type builtin struct{}

func (b builtin) Load(name string) (Bundle, error) {
	r, err := b.Read(name)
	if err != nil {
		return Bundle{}, err
	}
	return r.Parse()
}

func (builtin) Read(name string) (Raw, error) {
	if CheckName(name) != nil || strings.Contains(name, ".") {
		return Raw{}, fmt.Errorf("load %q: %w", name, ErrNotFound)
	}
	src, err := policies.FS.ReadFile("commands/" + name + ".yaml")
	if err != nil {
		return Raw{}, fmt.Errorf("load %q: %w", name, ErrNotFound)
	}
	return Raw{Name: name, File: "builtin:" + name + ".yaml", Source: src, Digest: digest(src, nil)}, nil
}

func (builtin) Names() ([]Entry, error) {
	var out []Entry
	for _, name := range embedded("commands") {
		out = append(out, Entry{Name: name})
	}
	return out, nil
}

func (builtin) Node(name string) (NodeKind, error) {
	for _, n := range embedded("commands") {
		if n == name {
			return Command, nil
		}
	}
	return Missing, nil
}

// embedded lists the names of the embedded files of one directory, sorted as
// ReadDir does.
func embedded(dir string) []string {
	entries, err := policies.FS.ReadDir(dir)
	if err != nil {
		panic("bug: the embedded policies have no " + dir + ": " + err.Error())
	}
	var out []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok {
			out = append(out, name)
		}
	}
	return out
}
