package policy

import "strings"

// FromNode decodes a policy mapping strictly: unknown key, wrong kind, key
// or item twice, empty, out of range are an *Error with position and hint.
// What the contract reserves for later is an *Error that matches ErrNotBuilt.
// Syscall names and groups are checked for their spelling only: whoever has
// the tables checks that they exist.
func FromNode(n *Node) (Policy, error) {
	var p Policy
	err := n.Decode("policy", Keys{
		"extends":                   p.decodeExtends,
		"filesystem":                p.Filesystem.decode,
		"syscalls":                  p.Syscalls.decode,
		"network":                   p.Network.decode,
		"sockets":                   p.decodeSockets,
		"limits":                    p.Limits.decode,
		"devices":                   p.decodeDevices,
		"env":                       p.Env.decode,
		"secrets":                   later("secrets"),
		"user":                      p.decodeUser,
		"capabilities":              p.decodeCapabilities,
		"memory_deny_write_execute": p.decodeDenyWriteExecute,
		"require":                   p.decodeRequire,
	})
	if err != nil {
		return Policy{}, err
	}
	p.Places = Places{}
	p.Places.note("", n)
	return p, nil
}

// later decodes a reserved key: an error that matches ErrNotBuilt.
func later(what string) func(*Node) error {
	return func(n *Node) error { return notBuilt(n.Pos, what) }
}

func (p *Policy) decodeExtends(n *Node) error {
	seen := map[string]Pos{}
	p.Extends = []string{}
	return n.List("extends", func(item *Node) error {
		s, err := item.Text("extends")
		if err != nil {
			return err
		}
		if !IsSegment(s) {
			return item.Errorf("a name of a stock policy: a lower-case letter, then letters, digits and -",
				"extends: %q is not a name", s)
		}
		if err := item.once("extends", s, seen); err != nil {
			return err
		}
		p.Extends = append(p.Extends, s)
		return nil
	})
}

// IsSegment reports whether s is [a-z][a-z0-9-]{0,31}: one segment of a
// command's name, or the name of a stock policy.
func IsSegment(s string) bool {
	if s == "" || len(s) > 32 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := 1; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// named decodes a list of different names that known accepts.
func named(n *Node, what string, known func(string) bool, names func() []string) ([]string, error) {
	out := []string{}
	seen := map[string]Pos{}
	err := n.List(what, func(item *Node) error {
		s, err := item.Text(what)
		if err != nil {
			return err
		}
		if !known(s) {
			return item.Errorf(OneOf(s, names()), "%s: unknown name %q", what, s)
		}
		if err := item.once(what, s, seen); err != nil {
			return err
		}
		out = append(out, s)
		return nil
	})
	return out, err
}

func (p *Policy) decodeSockets(n *Node) (err error) {
	p.Sockets, err = named(n, "sockets",
		func(s string) bool { _, ok := Family(s); return ok },
		func() []string { return sortedKeys(families) })
	return err
}

func (p *Policy) decodeCapabilities(n *Node) (err error) {
	p.Capabilities, err = named(n, "capabilities",
		func(s string) bool { _, ok := Capability(s); return ok },
		func() []string { return capabilities })
	return err
}

func (p *Policy) decodeRequire(n *Node) (err error) {
	p.Require, err = named(n, "require",
		func(s string) bool { return contains(layers, s) },
		func() []string { return layers })
	return err
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func (p *Policy) decodeDevices(n *Node) error {
	p.Devices = []string{}
	return n.List("devices", func(item *Node) error {
		if _, err := item.Text("devices"); err != nil {
			return err
		}
		return notBuilt(item.Pos, "devices")
	})
}

func (p *Policy) decodeDenyWriteExecute(n *Node) error {
	deny, err := n.Bool("memory_deny_write_execute")
	p.DenyWriteExecute = &deny
	return err
}

// maxID is the largest uid and gid: 2^32-1 means "no change" to the kernel
// (setresuid(2)).
const maxID = 1<<32 - 2

func (p *Policy) decodeUser(n *Node) error {
	s, err := n.Text("user")
	if err != nil {
		return err
	}
	p.User = s
	if uid, gid, ok := strings.Cut(s, ":"); ok {
		for _, id := range []string{uid, gid} {
			v, err := ParseCount(id)
			if err != nil || v > maxID {
				return n.Errorf("write uid:gid in digits", "user: %q is not uid:gid", s)
			}
			if v == 0 {
				return n.Errorf("", "user: %q: id 0 is never given to a command", s)
			}
		}
		return nil
	}
	if s == "root" {
		return n.Errorf("", "user: root is never given to a command")
	}
	if !IsUserName(s) {
		return n.Errorf("caller, dynamic, a user name or uid:gid", "user: %q is not a user name", s)
	}
	if near := Nearest(s, []string{"caller", "dynamic"}); near != "" && near != s {
		return n.Errorf(`did you mean "`+near+`"?`, "user: %q looks like %q", s, near)
	}
	return nil
}

// IsUserName accepts what useradd(8) does: [a-z_][a-z0-9_-]{0,31}.
func IsUserName(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '-'):
		default:
			return false
		}
	}
	return true
}

func (e *Env) decode(n *Node) error {
	return n.Decode("env", Keys{
		"pass": e.decodePass,
		"set":  e.decodeSet,
	})
}

func (e *Env) decodePass(n *Node) error {
	seen := map[string]Pos{}
	e.Pass = []string{}
	return n.List("env.pass", func(item *Node) error {
		s, err := item.Text("env.pass")
		if err != nil {
			return err
		}
		if s == "*" {
			return item.Errorf("name what the command needs", `env.pass: "*" would pass everything`)
		}
		name, prefix := strings.CutSuffix(s, "*")
		if !IsEnvName(name) {
			return item.Errorf("a letter or _, then letters, digits and _; * only at the end",
				"env.pass: %q is not a name", s)
		}
		if steersLoader(name, prefix) {
			return item.Errorf("put a fixed value into env.set if the command needs it",
				"env.pass: %q would let the caller choose what code is loaded", s)
		}
		if err := item.once("env.pass", s, seen); err != nil {
			return err
		}
		e.Pass = append(e.Pass, s)
		return nil
	})
}

// steersLoader reports whether a name or prefix lets a variable of ld.so(8)
// or of iconv's modules through.
func steersLoader(name string, prefix bool) bool {
	if strings.HasPrefix(name, "LD_") {
		return true
	}
	for _, v := range []string{"GCONV_PATH", "GLIBC_TUNABLES", "LD_"} {
		if name == v || prefix && strings.HasPrefix(v, name) {
			return true
		}
	}
	return false
}

func (e *Env) decodeSet(n *Node) error {
	e.Set = map[string]string{}
	return n.Each("env.set", func(key, value *Node) error {
		if !IsEnvName(key.Value) {
			return key.Errorf("a letter or _, then letters, digits and _",
				"env.set: %q is not a name", key.Value)
		}
		if err := value.want("env.set."+key.Value, Scalar); err != nil {
			return err
		}
		if strings.IndexByte(value.Value, 0) >= 0 {
			return value.Errorf("", "env.set.%s: NUL byte in value", key.Value)
		}
		if strings.Contains(value.Value, "{{") {
			return value.Errorf("", "env.set.%s: no templates in the environment", key.Value)
		}
		e.Set[key.Value] = value.Value
		return nil
	})
}

// IsEnvName reports whether s is [A-Za-z_][A-Za-z0-9_]*, up to 255 bytes.
func IsEnvName(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c == '_':
		case i > 0 && c >= '0' && c <= '9':
		default:
			return false
		}
	}
	return true
}

func (w *Network) decode(n *Node) error {
	return n.Decode("network", Keys{
		"mode": func(n *Node) error {
			mode, err := n.Choice("network.mode", "none", "loopback", "egress")
			if err != nil {
				return err
			}
			if mode == "egress" {
				return notBuilt(n.Pos, "network.mode egress")
			}
			w.Mode = mode
			return nil
		},
		"allow": func(n *Node) error {
			return n.List("network.allow", func(item *Node) error {
				return notBuilt(item.Pos, "network.allow")
			})
		},
	})
}
