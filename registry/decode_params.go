package registry

import (
	"strconv"
	"strings"

	"github.com/sbx-project/sbx/policy"
)

// paramTypes are the types of parameters.
var paramTypes = []string{"string", "int", "float", "bool", "duration", "size", "path", "enum"}

// reserved names have a meaning of their own in templates or as flags.
var reserved = map[string]bool{"help": true, "bundle": true, "cwd": true}

func (d *decoder) params(n *policy.Node) error {
	d.paramsAt = n
	d.m.Params = []Param{}
	seen := map[string]policy.Pos{}
	return n.List("params", func(item *policy.Node) error {
		if len(d.m.Params) == maxParams {
			return item.Errorf("", "params: more than %d", maxParams)
		}
		p, err := param(item)
		if err != nil {
			return err
		}
		if at, ok := seen[p.Name]; ok {
			return item.Errorf("keep one of them", "params: %q is declared twice, first at %s", p.Name, at)
		}
		seen[p.Name] = p.Pos
		d.m.Params = append(d.m.Params, p)
		d.paramNodes = append(d.paramNodes, item)
		return nil
	})
}

func param(n *policy.Node) (Param, error) {
	p := Param{Max: DefaultParamMax, Pos: n.Pos}
	at := map[string]*policy.Node{}
	remember := func(key string, f func(*policy.Node) error) func(*policy.Node) error {
		return func(n *policy.Node) error { at[key] = n; return f(n) }
	}
	err := n.Decode("params", policy.Keys{
		"name": remember("name", func(n *policy.Node) (err error) {
			p.Name, err = n.Text("params.name")
			if err == nil && !isParamName(p.Name) {
				return n.Errorf("a lower-case letter, then letters, digits, - and _", "params.name: %q is not a name", p.Name)
			}
			if reserved[p.Name] {
				return n.Errorf("", "params.name: %q is reserved", p.Name)
			}
			return err
		}),
		"type": remember("type", func(n *policy.Node) (err error) {
			if n.Kind == policy.Sequence && len(n.Items) == 1 {
				p.List, n = true, n.Items[0]
			}
			p.Type, err = n.Choice("params.type", paramTypes...)
			return err
		}),
		"chars": remember("chars", func(n *policy.Node) (err error) {
			p.Chars, err = n.Text("params.chars")
			if err == nil {
				if _, ok := CharSet(p.Chars); !ok {
					return n.Errorf("write it like a-z0-9_", "params.chars: %q is not a set of characters", p.Chars)
				}
			}
			return err
		}),
		"max": remember("max", func(n *policy.Node) (err error) {
			p.Max, err = count(n, "params.max", 1, maxArgLen)
			return err
		}),
		"values": remember("values", func(n *policy.Node) (err error) {
			p.Values, err = n.Texts("params.values")
			return err
		}),
		"default": remember("default", func(n *policy.Node) error {
			if n.Kind != policy.Scalar {
				return n.Errorf("", "params.default: want a single value, got %s", n.Kind)
			}
			p.Default, p.HasDefault = n.Value, true
			return nil
		}),
		"required": remember("required", func(n *policy.Node) (err error) {
			p.Required, err = n.Bool("params.required")
			return err
		}),
		"secret": remember("secret", func(n *policy.Node) (err error) {
			p.Secret, err = n.Bool("params.secret")
			return err
		}),
		"access": remember("access", func(n *policy.Node) (err error) {
			p.Access, err = n.Choice("params.access", "read", "write", "create")
			return err
		}),
		"position": remember("position", func(n *policy.Node) (err error) {
			p.Position, err = count(n, "params.position", 1, maxParams)
			return err
		}),
		"help": func(n *policy.Node) (err error) {
			p.Help, err = n.Text("params.help")
			if err == nil && hasControl(p.Help) {
				return n.Errorf("", "params.help: want one line")
			}
			return err
		},
	})
	if err != nil {
		return p, err
	}
	return p, p.check(n, at)
}

// check looks at what concerns several keys of one parameter.
func (p *Param) check(n *policy.Node, at map[string]*policy.Node) error {
	switch {
	case p.Name == "":
		return n.Errorf("", "params: name is missing")
	case p.Type == "":
		return n.Errorf("one of: "+strings.Join(paramTypes, ", "), "params: type of %q is missing", p.Name)
	case p.Type == "enum" && len(p.Values) == 0:
		return n.Errorf("values: [a, b]", "params: enum %q has no values", p.Name)
	case p.Type != "enum" && at["values"] != nil:
		return at["values"].Errorf("", "params: values is for type enum only")
	case p.Type == "path" && p.Access == "":
		return n.Errorf("access: read, write or create", "params: access of path %q is missing", p.Name)
	case p.Type != "path" && at["access"] != nil:
		return at["access"].Errorf("", "params: access is for type path only")
	case p.Type != "string" && at["chars"] != nil:
		return at["chars"].Errorf("", "params: chars is for type string only")
	case p.Required && p.HasDefault:
		return at["default"].Errorf("keep one of them", "params: %q is required and has a default", p.Name)
	case p.Type == "bool" && p.Position != 0:
		return at["position"].Errorf("", "params: a bool has no position")
	case p.Type == "bool" && p.List:
		return at["type"].Errorf("", "params: no list of bool")
	case p.Secret && (p.HasDefault || p.Position != 0):
		return n.Errorf("", "params: secret %q is given as --%s @FD only", p.Name, p.Name)
	case p.Type == "enum" && p.HasDefault && !member(p.Values, p.Default):
		return at["default"].Errorf(policy.OneOf(p.Default, p.Values), "params: default %q is not one of values", p.Default)
	}
	return nil
}

func member(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func isParamName(s string) bool {
	return policy.IsSegment(strings.ReplaceAll(s, "_", "-"))
}

// CharSet expands a set like a-z0-9_ into a table of bytes. A '-' that is
// first or last stands for itself. Only printable ASCII is accepted; a range
// that goes down, or an empty set, is not.
func CharSet(s string) (set [256]bool, ok bool) {
	if s == "" {
		return set, false
	}
	for i := 0; i < len(s); i++ {
		low, high := s[i], s[i]
		if i+2 < len(s) && s[i+1] == '-' {
			high = s[i+2]
			i += 2
		}
		if low < 0x20 || high > 0x7e || low > high {
			return set, false
		}
		for c := int(low); c <= int(high); c++ {
			set[c] = true
		}
	}
	return set, true
}

// count reads a count from lowest to highest.
func count(n *policy.Node, what string, lowest, highest uint64) (uint64, error) {
	s, err := n.Text(what)
	if err != nil {
		return 0, err
	}
	v, err := policy.ParseCount(s)
	if err != nil || v < lowest || v > highest {
		return 0, n.Errorf("", "%s: %q is not a count from %s to %s", what, s,
			strconv.FormatUint(lowest, 10), strconv.FormatUint(highest, 10))
	}
	return v, nil
}

// templates checks positions of parameters and every template of exec.argv.
func (d *decoder) templates() error {
	byName := map[string]Param{}
	positions := map[uint64]string{}
	for i, p := range d.m.Params {
		byName[p.Name] = p
		if p.Position == 0 {
			continue
		}
		if other, ok := positions[p.Position]; ok {
			return d.paramNodes[i].Errorf("", "params: %q and %q have the same position %d", other, p.Name, p.Position)
		}
		positions[p.Position] = p.Name
	}
	for i, p := range d.m.Params {
		if p.Position > 1 && positions[p.Position-1] == "" {
			return d.paramNodes[i].Errorf("", "params: %q has position %d, nothing has %d", p.Name, p.Position, p.Position-1)
		}
		if p.Position != 0 && p.List && p.Position != uint64(len(positions)) {
			return d.paramNodes[i].Errorf("", "params: list %q must have the last position", p.Name)
		}
	}
	for _, n := range d.argv {
		if err := checkTemplates(n, byName); err != nil {
			return err
		}
	}
	return nil
}

// checkTemplates accepts {{NAME}} anywhere in an argument, {{NAME?TEXT}} for
// a bool, and a list or a secret only as the whole argument.
func checkTemplates(n *policy.Node, params map[string]Param) error {
	rest := n.Value
	for {
		_, after, ok := strings.Cut(rest, "{{")
		if !ok {
			return nil
		}
		body, after, ok := strings.Cut(after, "}}")
		if !ok {
			return n.Errorf("", "exec.argv: template in %q has no end", n.Value)
		}
		rest = after
		if body == "cwd" || body == "bundle" {
			continue
		}
		name, flag, conditional := strings.Cut(body, "?")
		p, ok := params[name]
		switch {
		case !ok:
			names := []string{"cwd", "bundle"}
			for name := range params {
				names = append(names, name)
			}
			return n.Errorf(policy.OneOf(name, names), "exec.argv: %q is not a parameter", name)
		case conditional && (p.Type != "bool" || flag == ""):
			return n.Errorf("write {{"+name+"}}", "exec.argv: {{%s}} is for a bool and needs a text", body)
		case !conditional && p.Type == "bool":
			return n.Errorf("write {{"+name+"?--"+name+"}}", "exec.argv: bool %q has no text of its own", name)
		case (p.List || conditional) && n.Value != "{{"+body+"}}":
			return n.Errorf("make it an argument of its own", "exec.argv: {{%s}} must be the whole argument", body)
		}
	}
}
