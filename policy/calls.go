package policy

import (
	"strconv"
	"strings"
)

// Calls is what [Resolve] and [Compare] have to know of system calls, which a
// policy only names. Nil functions: a group and a number are names like any
// other, and nothing is guarded.
type Calls struct {
	// Group returns every member of a group ("@" included).
	Group func(name string) ([]string, bool)
	// Guarded reports whether only its own name opens a call.
	Guarded func(name string) bool
	// Name returns the name of a call's number.
	Name func(number uint32) (string, bool)
}

func (c Calls) guarded(name string) bool { return c.Guarded != nil && c.Guarded(name) }

// members are the calls of a group, or the name itself.
func (c Calls) members(name string) []string {
	if strings.HasPrefix(name, "@") && c.Group != nil {
		if calls, ok := c.Group(name); ok {
			return calls
		}
	}
	return []string{name}
}

// named is s with the names of calls that are written as numbers, so that what
// is said of a call is said of it in either spelling. The number of a guarded
// call stays where it would open it: only its own name does.
func (c Calls) named(s Syscalls) Syscalls {
	if c.Name == nil {
		return s
	}
	spell := func(opens bool) func(*Name) {
		return func(n *Name) {
			text, ok := strings.CutPrefix(n.Text, "nr:")
			if !ok {
				return
			}
			number, err := strconv.ParseUint(text, 10, 32)
			if err != nil {
				return
			}
			if name, ok := c.Name(uint32(number)); ok && !(opens && c.guarded(name)) {
				n.Text = name
			}
		}
	}
	s.Allow, s.Deny = each(s.Allow, spell(true)), each(s.Deny, spell(false))
	if s.Errno != nil {
		calls := make(map[string][]Name, len(s.Errno))
		for errno, names := range s.Errno {
			calls[errno] = each(names, spell(false))
		}
		s.Errno = calls
	}
	s.Rules = each(s.Rules, func(r *Rule) { r.Names = each(r.Names, spell(r.Action == "allow")) })
	return s
}
