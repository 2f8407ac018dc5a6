package config

import (
	"path"
	"slices"

	"github.com/sbx-project/sbx/policy"
)

// Bounds of id_base. Below the first, ids belong to people and services of the
// host (login.defs(5), systemd's dynamic users end at 65519); from the last on
// the blocks of 4,194,304 pids do not fit below 2^32-2.
const (
	minIDBase = 1 << 16
	maxIDBase = 1<<32 - 2 - 32*(4<<20)
)

func (c *Config) decodeOwner(n *policy.Node) error {
	s, err := n.Text("sandbox_owner")
	if err != nil {
		return err
	}
	switch {
	case s == "root":
		return n.Errorf("name a user that owns nothing else", "sandbox_owner: nothing is written as root")
	case !policy.IsUserName(s):
		return n.Errorf("a name as useradd(8) takes it", "sandbox_owner: %q is not a user name", s)
	}
	c.SandboxOwner = s
	return nil
}

func (c *Config) decodeIDBase(n *policy.Node) error {
	s, err := n.Text("id_base")
	if err != nil {
		return err
	}
	v, err := policy.ParseCount(s)
	if err != nil {
		return n.Errorf("1879048192: digits only", "id_base: %s", err)
	}
	if v < minIDBase || v > maxIDBase {
		return n.Errorf("32 ids for each pid must be nobody's", "id_base: %s is out of range, %d to %d", s, minIDBase, maxIDBase)
	}
	c.IDBase = uint32(v)
	return nil
}

func (c *Config) decodeRequire(n *policy.Node) error {
	names, err := n.Texts("require")
	if err != nil {
		return err
	}
	for i, name := range names {
		if !slices.Contains(policy.Layers(), name) {
			return n.Items[i].Errorf(policy.OneOf(name, policy.Layers()), "require: unknown layer %q", name)
		}
	}
	c.Require = names
	return nil
}

func (c *Config) decodeDaemon(n *policy.Node) error {
	s, err := n.Choice("daemon", "optional", "required")
	if s == "required" {
		c.Daemon = DaemonRequired
	}
	return err
}

func (c *Config) decodeMetrics(n *policy.Node) error {
	return n.Decode("metrics", policy.Keys{"collectors": func(n *policy.Node) error {
		names, err := n.Texts("metrics.collectors")
		if err != nil {
			return err
		}
		for i, name := range names {
			if !policy.IsSegment(name) {
				return n.Items[i].Errorf("lower-case letters, digits and -", "metrics.collectors: %q is not a name", name)
			}
		}
		c.Collectors = names
		return nil
	}})
}

func (c *Config) decodeAudit(n *policy.Node) error {
	return n.Decode("audit", policy.Keys{"file": func(n *policy.Node) error {
		s, err := n.Text("audit.file")
		if err != nil {
			return err
		}
		if s[0] != '/' || path.Clean(s) != s || s == "/" {
			return n.Errorf("an absolute path: /var/log/sbx/audit.log", "audit.file: %q is not an absolute, clean path", s)
		}
		c.AuditFile = s
		return nil
	}})
}
