package policy

import (
	"path"
	"strings"
)

// View is the path rule of `exec: [view]`: everything that the view shows
// and that is executable there.
const View = "view"

// Cwd and BundleDir are the templates that a path may be or start with.
const (
	Cwd       = "{{cwd}}"
	BundleDir = "{{bundle}}"
)

// Defaults of a tmpfs for which size or files is not stated. Twice the size
// lets two mounts pass the default memory bound; half of it is too small for
// the spill files of sort(1) and git(1).
const (
	DefaultTmpfsSize  Bytes  = 64 << 20
	DefaultTmpfsFiles uint64 = 10_000
)

// Bounds of a tmpfs: a page, and what no host of 2026 has.
const (
	minTmpfsSize  Bytes  = 4096
	maxTmpfsSize  Bytes  = 16 << 40
	maxTmpfsFiles uint64 = 1 << 31
)

func (f *Filesystem) decode(n *Node) error {
	return n.Decode("filesystem", Keys{
		"proc": func(n *Node) (err error) {
			f.Proc, err = n.Choice("filesystem.proc", "subset", "full")
			return err
		},
		"view": func(n *Node) (err error) {
			f.View, err = n.Choice("filesystem.view", "none", "minimal")
			return err
		},
		"read": func(n *Node) (err error) {
			f.Read, err = pathRules(n, "filesystem.read", checkRead)
			return err
		},
		"write": func(n *Node) (err error) {
			f.Write, err = pathRules(n, "filesystem.write", checkWrite)
			return err
		},
		"exec": func(n *Node) (err error) {
			f.Exec, err = pathRules(n, "filesystem.exec", checkExec)
			return err
		},
		"mask": func(n *Node) (err error) {
			f.Mask, err = pathRules(n, "filesystem.mask", checkMask)
			return err
		},
		"tmpfs":     f.decodeTmpfs,
		"workspace": later("filesystem.workspace"),
	})
}

// pathRules decodes a list of paths, plain or as a mapping with path and as.
func pathRules(n *Node, what string, check func(*Node, string, PathRule) error) ([]PathRule, error) {
	out := []PathRule{}
	seen := map[string]Pos{}
	err := n.List(what, func(item *Node) error {
		rule := PathRule{Pos: item.Pos}
		at := item
		if item.Kind == Mapping {
			if what != "filesystem.read" {
				return item.Errorf("write the path alone", "%s: a mapping is for filesystem.read only", what)
			}
			var stated bool
			err := item.Decode(what, Keys{
				"path": func(n *Node) error { at, stated = n, true; return nil },
				"as": func(n *Node) error {
					_, err := n.Choice(what+".as", "owner")
					rule.AsOwner = true
					return err
				},
			})
			if err != nil {
				return err
			}
			if !stated {
				return item.Errorf("write {path: /..., as: owner}", "%s: path is missing", what)
			}
		}
		s, err := at.Text(what)
		if err != nil {
			return err
		}
		rule.Path, rule.Optional = strings.CutPrefix(s, "-")
		if err := check(at, what, rule); err != nil {
			return err
		}
		if err := at.once(what, rule.Path, seen); err != nil {
			return err
		}
		out = append(out, rule)
		return nil
	})
	return out, err
}

// checkPath accepts an absolute clean path and, where template is set,
// {{cwd}} and {{bundle}} with what is below it.
func checkPath(n *Node, what, p string, template bool) error {
	if !template {
		return checkRest(n, what, p, p, "write an absolute path")
	}
	if p == Cwd || p == BundleDir {
		return nil
	}
	rest, _ := strings.CutPrefix(p, BundleDir)
	hint := "only " + Cwd + " and " + BundleDir + " are known here"
	if strings.HasPrefix(p, Cwd) {
		hint = Cwd + " stands alone"
	}
	return checkRest(n, what, p, rest, hint)
}

// checkRest judges what follows a template in p, or all of it. hint is for a
// template that is not known there.
func checkRest(n *Node, what, p, rest, hint string) error {
	switch {
	case strings.Contains(rest, "{{"):
		return n.Errorf(hint, "%s: template in %q", what, p)
	case rest == "":
		return n.Errorf("", "%s: empty path", what)
	case len(rest) > 4095:
		return n.Errorf("", "%s: path of %d bytes is longer than the kernel takes", what, len(rest))
	case rest[0] != '/':
		hint := Suggest(p, []string{View, Cwd, BundleDir})
		if hint == "" {
			hint = "a path begins with /"
		}
		return n.Errorf(hint, "%s: %q is not an absolute path", what, p)
	case path.Clean(rest) != rest:
		return n.Errorf("write "+strings.TrimSuffix(p, rest)+path.Clean(rest), "%s: %q is not a clean path", what, p)
	case rest == "/" && rest == p:
		return n.Errorf("name the trees that the command needs", `%s: "/" is the whole host`, what)
	}
	return nil
}

// within reports whether p is dir or below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, dir+"/")
}

// checkShown refuses host trees that a sandbox must never show: its own proc
// and dev are made anew.
func checkShown(n *Node, what, p string) error {
	for _, dir := range []string{"/proc", "/dev"} {
		if within(p, dir) {
			return n.Errorf("the sandbox has its own "+dir, "%s: the host's %s is never shown", what, p)
		}
	}
	for _, dir := range []string{
		"/sys/firmware", "/sys/block", "/sys/fs", "/sys/kernel/security",
		"/sys/kernel/debug", "/sys/kernel/tracing",
	} {
		if within(p, dir) || within(dir, p) {
			return n.Errorf("name the part of /sys that the command needs",
				"%s: %s would show %s", what, p, dir)
		}
	}
	return nil
}

func checkRead(n *Node, what string, rule PathRule) error {
	if err := checkPath(n, what, rule.Path, true); err != nil {
		return err
	}
	return checkShown(n, what, rule.Path)
}

func checkWrite(n *Node, what string, rule PathRule) error {
	if strings.HasPrefix(rule.Path, BundleDir) {
		return n.Errorf("the bundle is read-only", "%s: %q cannot be written", what, rule.Path)
	}
	if err := checkPath(n, what, rule.Path, true); err != nil {
		return err
	}
	if within(rule.Path, "/sys") {
		return n.Errorf("", "%s: %s is never writable", what, rule.Path)
	}
	return checkShown(n, what, rule.Path)
}

func checkExec(n *Node, what string, rule PathRule) error {
	if rule.Path == View && !rule.Optional {
		return nil
	}
	if rule.Path == Cwd {
		return n.Errorf("name the programs", "%s: %s would let the caller choose the code", what, Cwd)
	}
	if err := checkPath(n, what, rule.Path, true); err != nil {
		return err
	}
	return checkShown(n, what, rule.Path)
}

// checkMask takes, besides an absolute path, one below {{cwd}}.
func checkMask(n *Node, what string, rule PathRule) error {
	rest := rule.Path
	if after, ok := strings.CutPrefix(rest, Cwd); ok {
		if after == "" || after == "/" {
			return n.Errorf("name what is in it: "+Cwd+"/NAME", "%s: %s would hide the caller's directory itself", what, Cwd)
		}
		if after[0] == '/' {
			rest = after
		}
	}
	return checkRest(n, what, rule.Path, rest, "write an absolute path, or "+Cwd+"/NAME")
}

func (f *Filesystem) decodeTmpfs(n *Node) error {
	const what = "filesystem.tmpfs"
	f.Tmpfs = []Tmpfs{}
	seen := map[string]Pos{}
	return n.List(what, func(item *Node) error {
		t := Tmpfs{Size: DefaultTmpfsSize, Files: DefaultTmpfsFiles, Pos: item.Pos}
		var at *Node
		err := item.Decode(what, Keys{
			"path": func(n *Node) (err error) {
				at = n
				if t.Path, err = n.Text(what + ".path"); err != nil {
					return err
				}
				if err := checkPath(n, what+".path", t.Path, false); err != nil {
					return err
				}
				if within(t.Path, "/proc") || within(t.Path, "/sys") || within(t.Path, "/dev") && t.Path != "/dev/shm" {
					return n.Errorf("", "%s.path: no tmpfs at %s", what, t.Path)
				}
				return nil
			},
			"size": func(n *Node) (err error) {
				t.Size, err = bytesIn(n, what+".size", minTmpfsSize, maxTmpfsSize)
				return err
			},
			"files": func(n *Node) (err error) {
				t.Files, err = countIn(n, what+".files", 1, maxTmpfsFiles)
				return err
			},
		})
		if err != nil {
			return err
		}
		if at == nil {
			return item.Errorf("write {path: /tmp, size: 64M}", "%s: path is missing", what)
		}
		if err := at.once(what, t.Path, seen); err != nil {
			return err
		}
		f.Tmpfs = append(f.Tmpfs, t)
		return nil
	})
}
