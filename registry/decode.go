package registry

import (
	"path"
	"strings"
	"time"

	"golang.org/x/mod/semver"

	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/policy"
)

// Defaults of a manifest.
const (
	DefaultProbationRuns = 5
	DefaultRevertCount   = 1
	DefaultWindow        = 24 * time.Hour
	// DefaultParamMax bounds a parameter's value in bytes.
	DefaultParamMax = 4096
)

// Bounds of a manifest. They keep what one bundle can cost small; the
// manifests of the built-in registry need a tenth.
const (
	maxSummary = 200
	maxParams  = 128
	maxArgv    = 1024
	maxChecks  = 64
	// maxArgLen is MAX_ARG_STRLEN less the NUL (execve(2)).
	maxArgLen = 128<<10 - 1
	maxRuns   = 1_000_000
)

// ParseManifest parses and decodes a manifest. file names it in messages. The
// error is a *yamlnode.Error with position, excerpt and hint.
func ParseManifest(file string, src []byte) (Manifest, error) {
	n, err := yamlnode.Parse(file, src)
	if err != nil {
		return Manifest{}, err
	}
	m, err := FromNode(n)
	return m, yamlnode.Locate(file, src, err)
}

// ParsePolicy parses and decodes a file that holds one policy mapping. The
// error is a *yamlnode.Error.
func ParsePolicy(file string, src []byte) (policy.Policy, error) {
	n, err := yamlnode.Parse(file, src)
	if err != nil {
		return policy.Policy{}, err
	}
	p, err := policy.FromNode(n)
	return p, yamlnode.Locate(file, src, err)
}

// FromNode decodes a manifest strictly, in the manner of policy.FromNode. The
// error is a *policy.Error.
func FromNode(n *policy.Node) (Manifest, error) {
	m := Manifest{
		Probation:    Probation{Runs: DefaultProbationRuns, Window: DefaultWindow},
		RevertBudget: RevertBudget{Count: DefaultRevertCount, Window: DefaultWindow},
	}
	d := decoder{m: &m}
	// A manifest of another version is told so before its keys are judged.
	for _, pair := range n.Pairs {
		if pair.Key.Value == "apiVersion" && !pair.Value.IsNull() {
			if err := d.apiVersion(pair.Value); err != nil {
				return Manifest{}, err
			}
		}
	}
	err := n.Decode("manifest", policy.Keys{
		"apiVersion": d.apiVersion,
		"name":       d.name,
		"version": func(n *policy.Node) (err error) {
			d.stated.version = true
			m.Version, err = version(n, "version")
			return err
		},
		"summary":       d.summary,
		"exec":          d.exec,
		"params":        d.params,
		"requires":      m.Requires.decode,
		"floor":         func(n *policy.Node) (err error) { d.floorAt = n; m.Floor, err = version(n, "floor"); return err },
		"revision":      d.revision,
		"checks":        d.checks,
		"on_violation":  d.onViolation,
		"probation":     d.probation,
		"revert_budget": d.revertBudget,
		"allow":         d.allow,
		"policy":        func(n *policy.Node) (err error) { m.Policy, err = policy.FromNode(n); return err },
	})
	if err == nil {
		err = d.whole(n)
	}
	if err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// decoder holds what is checked only when the whole manifest was read,
// because the order of keys means nothing.
type decoder struct {
	m      *Manifest
	stated struct{ apiVersion, name, version, exec, path bool }
	// argv and params keep the nodes of Exec.Argv and Params.
	argv       []*policy.Node
	paramNodes []*policy.Node
	paramsAt   *policy.Node
	floorAt    *policy.Node
}

// whole checks what concerns several keys.
func (d *decoder) whole(n *policy.Node) error {
	for _, key := range []struct {
		name   string
		stated bool
	}{
		{"apiVersion", d.stated.apiVersion}, {"name", d.stated.name},
		{"version", d.stated.version}, {"exec", d.stated.exec},
	} {
		if !key.stated {
			return n.Errorf("required: apiVersion, name, version, exec", "manifest: %s is missing", key.name)
		}
	}
	if d.m.Floor != "" && semver.Compare("v"+d.m.Floor, "v"+d.m.Version) > 0 {
		return d.floorAt.Errorf("", "floor: %s is above the version %s", d.m.Floor, d.m.Version)
	}
	if d.m.Exec.Args == ArgsPassthrough && d.paramsAt != nil && len(d.m.Params) > 0 {
		return d.paramsAt.Errorf("take params out, or write args: declared",
			"params: args: passthrough hands everything over as it is")
	}
	return d.templates()
}

func (d *decoder) apiVersion(n *policy.Node) error {
	d.stated.apiVersion = true
	s, err := n.Text("apiVersion")
	if err != nil {
		return err
	}
	if s != APIVersion {
		return n.Errorf("this version reads "+APIVersion, "apiVersion: unknown version %q", s)
	}
	return nil
}

func (d *decoder) name(n *policy.Node) error {
	d.stated.name = true
	s, err := n.Text("name")
	if err != nil {
		return err
	}
	if err := CheckName(s); err != nil {
		return n.Errorf("segments of a-z, 0-9 and - that begin with a letter, joined by dots", "name: %s", err)
	}
	d.m.Name = s
	return nil
}

// version reads a full semantic version without a leading v and without build
// metadata, which semver does not order.
func version(n *policy.Node, what string) (string, error) {
	s, err := n.Text(what)
	if err != nil {
		return "", err
	}
	if !IsVersion(s) {
		return "", n.Errorf("write it like 2.4.1", "%s: %q is not a semantic version", what, s)
	}
	return s, nil
}

// IsVersion reports whether s is MAJOR.MINOR.PATCH with an optional
// pre-release (semver.org 2.0.0), up to 64 bytes.
func IsVersion(s string) bool {
	return len(s) <= 64 && semver.IsValid("v"+s) && semver.Canonical("v"+s) == "v"+s
}

func (d *decoder) summary(n *policy.Node) error {
	s, err := n.Text("summary")
	if err != nil {
		return err
	}
	if len(s) > maxSummary || strings.ContainsAny(s, "\n\t") || hasControl(s) {
		return n.Errorf("", "summary: want one line of at most %d bytes", maxSummary)
	}
	d.m.Summary = s
	return nil
}

func hasControl(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) >= 0
}

func (d *decoder) exec(n *policy.Node) error {
	d.stated.exec = true
	e := &d.m.Exec
	err := n.Decode("exec", policy.Keys{
		"path": func(n *policy.Node) error {
			d.stated.path = true
			return e.decodePath(n)
		},
		"sha256": func(n *policy.Node) (err error) {
			e.SHA256, err = n.Text("exec.sha256")
			if err == nil && (len(e.SHA256) != 64 || strings.Trim(e.SHA256, "0123456789abcdef") != "") {
				return n.Errorf("the output of sha256sum", "exec.sha256: want 64 lower-case hexadecimal digits")
			}
			return err
		},
		"argv0": func(n *policy.Node) (err error) {
			e.Argv0, err = n.Text("exec.argv0")
			if err == nil && (len(e.Argv0) > 255 || hasControl(e.Argv0)) {
				return n.Errorf("", "exec.argv0: want at most 255 printable bytes")
			}
			return err
		},
		"args": func(n *policy.Node) error {
			s, err := n.Choice("exec.args", "declared", "passthrough")
			if s == "passthrough" {
				e.Args = ArgsPassthrough
			}
			return err
		},
		"argv": func(n *policy.Node) (err error) {
			d.argv = n.Items
			e.Argv, err = arguments(n, "exec.argv")
			return err
		},
	})
	if err == nil && !d.stated.path {
		return n.Errorf("", "exec: path is missing")
	}
	return err
}

func (e *Exec) decodePath(n *policy.Node) error {
	s, err := n.Text("exec.path")
	if err != nil {
		return err
	}
	switch {
	case len(s) > 4095:
		return n.Errorf("", "exec.path: longer than the kernel takes")
	case hasControl(s):
		return n.Errorf("", "exec.path: control character")
	case strings.Contains(s, "{{"):
		return n.Errorf("a relative path means the bundle", "exec.path: no templates")
	case s == "/" || s == "." || strings.HasSuffix(s, "/"):
		return n.Errorf("", "exec.path: %q is a directory", s)
	case s == ".." || strings.HasPrefix(s, "../"):
		return n.Errorf("", "exec.path: %q leaves the bundle", s)
	case path.Clean(s) != s:
		return n.Errorf("write "+path.Clean(s), "exec.path: %q is not a clean path", s)
	}
	e.Path, e.Pos = s, n.Pos
	return nil
}

// arguments reads a list of texts that may be empty and may repeat.
func arguments(n *policy.Node, what string) ([]string, error) {
	out := []string{}
	err := n.List(what, func(item *policy.Node) error {
		if item.Kind != policy.Scalar {
			return item.Errorf("", "%s: want texts, got %s", what, item.Kind)
		}
		if len(item.Value) > maxArgLen || strings.IndexByte(item.Value, 0) >= 0 {
			return item.Errorf("", "%s: NUL byte, or longer than the kernel takes", what)
		}
		if len(out) == maxArgv {
			return item.Errorf("", "%s: more than %d arguments", what, maxArgv)
		}
		out = append(out, item.Value)
		return nil
	})
	return out, err
}
