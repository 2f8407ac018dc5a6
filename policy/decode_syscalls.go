package policy

import (
	"errors"
	"fmt"
	"strings"
)

// maxSyscall bounds "nr:NUMBER": the x32 bit and above are never a number of
// the native ABI (seccomp(2), "Architecture support").
const maxSyscall = 1<<30 - 1

func (s *Syscalls) decode(n *Node) error {
	err := n.Decode("syscalls", Keys{
		"allow": func(n *Node) (err error) {
			s.Allow, err = names(n, "syscalls.allow", map[string]Pos{})
			return err
		},
		"deny": func(n *Node) (err error) {
			s.Deny, err = names(n, "syscalls.deny", map[string]Pos{})
			return err
		},
		"errno": s.decodeErrno,
		"rules": s.decodeRules,
		"default": func(n *Node) (err error) {
			s.Default, err = n.Choice("syscalls.default", "kill", "errno")
			return err
		},
	})
	if err != nil {
		return err
	}
	return s.contradiction()
}

// contradiction refuses a name that one mapping both allows and answers with
// an errno: deny beats allow is a rule about groups, this is a slip.
func (s *Syscalls) contradiction() error {
	allowed := make(map[string]Pos, len(s.Allow))
	for _, name := range s.Allow {
		allowed[name.Text] = name.Pos
	}
	for _, errno := range sortedKeys(s.Errno) {
		for _, name := range s.Errno[errno] {
			if at, ok := allowed[name.Text]; ok {
				return &Error{
					Pos:  name.Pos,
					Msg:  fmt.Sprintf("syscalls.errno.%s: %q is in syscalls.allow as well, at %s", errno, name.Text, at),
					Hint: "keep one of them",
				}
			}
		}
	}
	return nil
}

// names decodes a list of syscalls, groups and numbers. seen is shared by
// lists that must not name the same call.
func names(n *Node, what string, seen map[string]Pos) ([]Name, error) {
	out := []Name{}
	err := n.List(what, func(item *Node) error {
		s, err := item.Text(what)
		if err != nil {
			return err
		}
		if err := checkSyscall(item, what, s); err != nil {
			return err
		}
		if err := item.once(what, s, seen); err != nil {
			return err
		}
		out = append(out, Name{Text: s, Pos: item.Pos})
		return nil
	})
	return out, err
}

func checkSyscall(n *Node, what, s string) error {
	if number, ok := strings.CutPrefix(s, "nr:"); ok {
		v, err := ParseCount(number)
		if err != nil || v > maxSyscall {
			return n.Errorf("write nr:462", "%s: %q is not a syscall number", what, s)
		}
		return nil
	}
	name, group := strings.CutPrefix(s, "@")
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z':
		case !group && c == '_':
		case i > 0 && c >= '0' && c <= '9':
		case i > 0 && group && c == '-':
		default:
			return n.Errorf("a name like openat, a group like @file-system or nr:NUMBER",
				"%s: %q is not a syscall", what, s)
		}
	}
	if name == "" {
		return n.Errorf("write a group like @file-system", "%s: %q is not a syscall", what, s)
	}
	return nil
}

func (s *Syscalls) decodeErrno(n *Node) error {
	s.Errno = map[string][]Name{}
	seen := map[string]Pos{}
	return n.Each("syscalls.errno", func(key, value *Node) error {
		if _, ok := Errno(key.Value); !ok {
			hint := Suggest(key.Value, sortedKeys(errnos))
			if hint == "" {
				hint = "a name of errno(3): EPERM"
			}
			return key.Errorf(hint, "syscalls.errno: unknown errno %q", key.Value)
		}
		list, err := names(value, "syscalls.errno."+key.Value, seen)
		s.Errno[key.Value] = list
		return err
	})
}

func (s *Syscalls) decodeRules(n *Node) error {
	s.Rules = []Rule{}
	return n.List("syscalls.rules", func(item *Node) error {
		rule := Rule{Pos: item.Pos}
		var errnoAt *Node
		err := item.Decode("syscalls.rules", Keys{
			"names": func(n *Node) (err error) {
				rule.Names, err = names(n, "syscalls.rules.names", map[string]Pos{})
				return err
			},
			"args": func(n *Node) (err error) {
				return n.List("syscalls.rules.args", func(item *Node) error {
					arg, err := decodeArg(item)
					rule.Args = append(rule.Args, arg)
					return err
				})
			},
			"action": func(n *Node) (err error) {
				rule.Action, err = n.Choice("syscalls.rules.action", "allow", "errno", "kill")
				return err
			},
			"errno": func(n *Node) (err error) {
				errnoAt = n
				rule.Errno, err = n.Choice("syscalls.rules.errno", sortedKeys(errnos)...)
				return err
			},
		})
		switch {
		case err != nil:
			return err
		case len(rule.Names) == 0:
			return item.Errorf("", "syscalls.rules: names is missing or empty")
		case len(rule.Args) == 0:
			return item.Errorf("without arguments, use allow, deny or errno", "syscalls.rules: args is missing or empty")
		case rule.Action == "":
			return item.Errorf("action: allow, errno or kill", "syscalls.rules: action is missing")
		case rule.Action == "errno" && errnoAt == nil:
			return item.Errorf("errno: EPERM", "syscalls.rules: errno is missing")
		case rule.Action != "errno" && errnoAt != nil:
			return errnoAt.Errorf("", "syscalls.rules: errno is for action errno only")
		}
		s.Rules = append(s.Rules, rule)
		return nil
	})
}

// decodeArg decodes one argument test, with OCI's field names
// (runtime-spec, config-linux.md, seccomp).
func decodeArg(n *Node) (Arg, error) {
	const what = "syscalls.rules.args"
	var arg Arg
	var index, value, mask *Node
	err := n.Decode(what, Keys{
		"index": func(n *Node) error {
			index = n
			v, err := countIn(n, what+".index", 0, 5)
			arg.Index = uint32(v)
			return err
		},
		"op": func(n *Node) (err error) {
			arg.Op, err = n.Choice(what+".op", "eq", "ne", "lt", "le", "gt", "ge", "masked_eq")
			return err
		},
		"value": func(n *Node) (err error) {
			value = n
			arg.Value, err = number(n, what+".value")
			return err
		},
		"mask": func(n *Node) (err error) {
			mask = n
			arg.Mask, err = number(n, what+".mask")
			return err
		},
	})
	switch {
	case err != nil:
		return arg, err
	case index == nil:
		return arg, n.Errorf("", "%s: index is missing", what)
	case arg.Op == "":
		return arg, n.Errorf("", "%s: op is missing", what)
	case value == nil:
		return arg, n.Errorf("", "%s: value is missing", what)
	case arg.Op == "masked_eq" && mask == nil:
		return arg, n.Errorf("", "%s: mask is missing", what)
	case arg.Op != "masked_eq" && mask != nil:
		return arg, mask.Errorf("", "%s: mask is for op masked_eq only", what)
	case arg.Op == "masked_eq" && arg.Value&^arg.Mask != 0:
		return arg, value.Errorf("", "%s: value has bits outside the mask and never matches", what)
	}
	return arg, nil
}

func number(n *Node, what string) (uint64, error) {
	s, err := n.Text(what)
	if err != nil {
		return 0, err
	}
	v, err := ParseNumber(s)
	if errors.Is(err, ErrOverflow) {
		return 0, n.Errorf("", "%s: %s", what, err)
	}
	if err != nil {
		return 0, n.Errorf("decimal or 0x and hexadecimal digits", "%s: %q is not a number", what, s)
	}
	return v, nil
}
