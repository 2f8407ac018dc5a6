package policy

import (
	"fmt"
	"slices"
	"strings"
)

// defaultGroup is always allowed.
const defaultGroup = "@default"

// What becomes of a call, strictest first.
const (
	killed = iota
	answered
	allowed
)

// maxNamed is how many calls a change names before it counts.
const maxNamed = 8

func (c *comparer) syscalls(a, b Syscalls) {
	if was, is := a.Default == "errno", b.Default == "errno"; was != is {
		c.either(is, Wider, "syscalls.default", "answers what it does not allow with an errno: no violation is seen", "kills at what it does not allow")
	}
	was, is := c.stances(a), c.stances(b)
	names := map[string]bool{}
	for name := range was {
		names[name] = true
	}
	for name := range is {
		names[name] = true
	}
	var opened, closed, silenced, sharpened []string
	for _, name := range sortedKeys(names) {
		from, to := was[name], is[name]
		switch {
		case to == allowed && from != allowed:
			if c.calls.guarded(name) {
				c.add(Dangerous, "syscalls.allow", "opens %s, a guarded call", name)
			} else {
				opened = append(opened, name)
			}
		case from == allowed && to != allowed:
			closed = append(closed, name)
		case to > from && b.Default != "errno":
			silenced = append(silenced, name)
		case to < from && a.Default != "errno":
			sharpened = append(sharpened, name)
		}
	}
	c.several(Wider, "syscalls.allow", "allows", opened)
	c.several(Narrower, "syscalls.allow", "no longer allows", closed)
	c.several(Wider, "syscalls.errno", "answers with an errno, no longer as violations:", silenced)
	c.several(Narrower, "syscalls.errno", "takes as violations:", sharpened)
	c.rules(a.Rules, b.Rules)
}

func (c *comparer) several(risk Risk, key, what string, names []string) {
	if len(names) == 0 {
		return
	}
	text := what + " " + strings.Join(names[:min(len(names), maxNamed)], ", ")
	if more := len(names) - maxNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	c.add(risk, key, "%s", text)
}

// stances says what becomes of each call that a policy names, in the order of
// the engine's ruleset: deny, errno of the own name, allow of the own name,
// errno of a group, allow of a group. A call that is not there is refused.
func (c *comparer) stances(s Syscalls) map[string]int {
	out := map[string]int{}
	set := func(list []Name, groups bool, stance int) {
		for _, n := range list {
			if strings.HasPrefix(n.Text, "@") != groups {
				continue
			}
			for _, call := range c.calls.members(n.Text) {
				if !groups || stance != allowed || !c.calls.guarded(call) {
					out[call] = stance
				}
			}
		}
	}
	var errno []Name
	for _, names := range s.Errno {
		errno = append(errno, names...)
	}
	set([]Name{{Text: defaultGroup}}, true, allowed)
	set(s.Allow, true, allowed)
	set(errno, true, answered)
	set(s.Allow, false, allowed)
	set(errno, false, answered)
	set(s.Deny, true, killed)
	set(s.Deny, false, killed)
	return out
}

// rules compares argument rules as they are spelt.
func (c *comparer) rules(a, b []Rule) {
	spell := func(rules []Rule) map[string]Rule {
		out := map[string]Rule{}
		for _, r := range rules {
			out[ruleItem(r)] = r
		}
		return out
	}
	was, is := spell(a), spell(b)
	risk := func(r Rule, added bool) Risk {
		switch {
		case (r.Action == "allow") != added:
			return Narrower
		case r.Action == "allow" && slices.ContainsFunc(r.Names, func(n Name) bool { return c.calls.guarded(n.Text) }):
			return Dangerous
		}
		return Wider
	}
	const key = "syscalls.rules"
	for _, text := range minus(sortedKeys(is), sortedKeys(was)) {
		c.add(risk(is[text], true), key, "adds the rule %s", text)
	}
	for _, text := range minus(sortedKeys(was), sortedKeys(is)) {
		c.add(risk(was[text], false), key, "removes the rule %s", text)
	}
}
