package sign

import (
	"strings"

	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/policy"
)

// Publishers is one publishers file, decoded.
type Publishers struct {
	// File names it in messages.
	File string
	// List says who may publish what. nil: not stated, which leaves it to
	// the other file; empty: nobody.
	List []Publisher
	// RequireSignature refuses what is not signed.
	RequireSignature bool

	digests map[string]bool
	keys    []PublicKey     // revoked, by what they are
	ids     map[string]bool // revoked, by what they are called
}

// Publisher is somebody who may publish.
type Publisher struct {
	// Name is for people.
	Name string
	Keys []PublicKey
	// Commands are names, "GROUP.*" for all below a group, or "*".
	Commands []string
}

// ParsePublishers parses and decodes a publishers file:
//
//	publishers:
//	  - {name: ops, keys: [RWQ...], commands: ["db.*"]}
//	revoked:
//	  digests: ["sha256:..."]
//	  keys: [RWQ..., E7620F1842B4E81F]     # keys, or ids of keys
//	require_signature: true
//
// file names it in messages. The error is a *yamlnode.Error with position.
//
// Trust boundary. Who may write the file was checked by whoever read it: uid 0
// or the registry's owner. The loader may hold root's rights. What is not
// understood is an error, and without the file nothing of the registry loads:
// a misspelt revocation must not revoke nothing.
func ParsePublishers(file string, src []byte) (*Publishers, error) {
	n, err := yamlnode.Parse(file, src)
	if err != nil {
		return nil, err
	}
	p := &Publishers{File: file, digests: map[string]bool{}, ids: map[string]bool{}}
	err = n.Decode("publishers file", policy.Keys{
		"publishers":        p.decodeList,
		"revoked":           p.decodeRevoked,
		"require_signature": func(n *policy.Node) (err error) { p.RequireSignature, err = n.Bool("require_signature"); return err },
	})
	if err != nil {
		return nil, yamlnode.Locate(file, src, err)
	}
	return p, nil
}

func (p *Publishers) decodeList(n *policy.Node) error {
	p.List = []Publisher{}
	seen := map[string]policy.Pos{}
	return n.List("publishers", func(item *policy.Node) error {
		var who Publisher
		err := item.Decode("publishers", policy.Keys{
			"name":     func(n *policy.Node) error { return decodeName(n, &who, seen) },
			"keys":     func(n *policy.Node) error { return decodeKeys(n, &who) },
			"commands": func(n *policy.Node) error { return decodeCommands(n, &who) },
		})
		switch {
		case err != nil:
			return err
		case who.Name == "":
			return item.Errorf("", "publishers: name is missing")
		case who.Keys == nil:
			return item.Errorf("the second line of a public key file, as sbx keygen prints it", "publishers: keys are missing")
		case who.Commands == nil:
			return item.Errorf(`write commands: ["*"] for every name`, "publishers: commands are missing")
		}
		p.List = append(p.List, who)
		return nil
	})
}

func decodeName(n *policy.Node, who *Publisher, seen map[string]policy.Pos) (err error) {
	if who.Name, err = n.Text("publishers.name"); err != nil {
		return err
	}
	if len(who.Name) > 100 || hasControl(who.Name) {
		return n.Errorf("", "publishers.name: want at most 100 printable bytes")
	}
	if at, ok := seen[who.Name]; ok {
		return n.Errorf("put the keys into one list", "publishers.name: %q is here twice, first at %s", who.Name, at)
	}
	seen[who.Name] = n.Pos
	return nil
}

func decodeKeys(n *policy.Node, who *Publisher) error {
	texts, err := n.Texts("publishers.keys")
	if err != nil {
		return err
	}
	who.Keys = []PublicKey{}
	for i, text := range texts {
		k, err := ParsePublicKey([]byte(text))
		if err != nil {
			return n.Items[i].Errorf("the second line of a public key file", "publishers.keys: %s", err)
		}
		who.Keys = append(who.Keys, k)
	}
	return nil
}

func decodeCommands(n *policy.Node, who *Publisher) (err error) {
	if who.Commands, err = n.Texts("publishers.commands"); err != nil {
		return err
	}
	for i, pattern := range who.Commands {
		if pattern != "*" && !isName(strings.TrimSuffix(pattern, ".*")) {
			return n.Items[i].Errorf(`a name, "group.*" or "*"`, "publishers.commands: %q is not a pattern", pattern)
		}
	}
	return nil
}

func (p *Publishers) decodeRevoked(n *policy.Node) error {
	return n.Decode("revoked", policy.Keys{
		"digests": func(n *policy.Node) error {
			texts, err := n.Texts("revoked.digests")
			for i, text := range texts {
				if !isDigest(text) {
					return n.Items[i].Errorf("sbx show --digest NAME prints one", "revoked.digests: %q is not a digest", text)
				}
				p.digests[text] = true
			}
			return err
		},
		"keys": func(n *policy.Node) error {
			texts, err := n.Texts("revoked.keys")
			for i, text := range texts {
				if isKeyID(text) {
					p.ids[text] = true
					continue
				}
				k, err := ParsePublicKey([]byte(text))
				if err != nil {
					return n.Items[i].Errorf("a key, or the 16 upper-case hexadecimal digits of its id", "revoked.keys: %q is not a key", text)
				}
				p.keys = append(p.keys, k)
			}
			return err
		},
	})
}

func isKeyID(s string) bool {
	return len(s) == 16 && strings.Trim(s, "0123456789ABCDEF") == ""
}

// allows tells whether a publisher may publish a name.
func (w *Publisher) allows(name string) bool {
	for _, pattern := range w.Commands {
		group, below := strings.CutSuffix(pattern, ".*")
		if pattern == "*" || pattern == name || below && strings.HasPrefix(name, group+".") {
			return true
		}
	}
	return false
}

// revokes tells whether a key was taken back, by its id or by itself: the
// same key under another id is the same key.
func (p *Publishers) revokes(k PublicKey) bool {
	if p.ids[k.ID()] {
		return true
	}
	for _, revoked := range p.keys {
		if revoked.same(k) {
			return true
		}
	}
	return false
}
