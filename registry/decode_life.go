package registry

import (
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/semver"

	"github.com/sbx-project/sbx/policy"
)

func (r *Requires) decode(n *policy.Node) error {
	return n.Decode("requires", policy.Keys{
		"sbx": func(n *policy.Node) (err error) {
			r.SBX, err = n.Text("requires.sbx")
			if err != nil {
				return err
			}
			v, ok := strings.CutPrefix(r.SBX, ">=")
			if !ok || !semver.IsValid("v"+v) || strings.Contains(v, "+") {
				return n.Errorf(`write it like ">=0.3"`, "requires.sbx: %q is not a constraint", r.SBX)
			}
			return nil
		},
		"commands": func(n *policy.Node) (err error) {
			r.Commands, err = checked(n, "requires.commands", func(s string) bool { return CheckName(s) == nil })
			return err
		},
		"features": func(n *policy.Node) (err error) {
			r.Features, err = checked(n, "requires.features", isFeature)
			for i := range r.Features {
				r.FeaturePos = append(r.FeaturePos, n.Items[i].Pos)
			}
			return err
		},
	})
}

// isFeature checks the spelling of a feature's name; whether it is known is
// for whoever probes features.
func isFeature(s string) bool {
	return len(s) <= 64 && s[0] >= 'a' && s[0] <= 'z' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

// checked reads a list of different texts that ok accepts.
func checked(n *policy.Node, what string, ok func(string) bool) ([]string, error) {
	list, err := n.Texts(what)
	if err != nil {
		return nil, err
	}
	for i, s := range list {
		if !ok(s) {
			return nil, n.Items[i].Errorf("", "%s: %q is not a name", what, s)
		}
	}
	return list, nil
}

func (d *decoder) revision(n *policy.Node) error {
	return n.Decode("revision", policy.Keys{
		"counter": func(n *policy.Node) error {
			d.m.Counter = map[string]uint64{}
			return n.Each("revision.counter", func(key, value *policy.Node) error {
				if !isHost(key.Value) {
					return key.Errorf("letters, digits, - and .", "revision.counter: %q is not a host name", key.Value)
				}
				v, err := count(value, "revision.counter."+key.Value, 0, 1<<62)
				d.m.Counter[key.Value] = v
				return err
			})
		},
	})
}

func isHost(s string) bool {
	return len(s) <= 253 && s[0] != '-' && s[0] != '.' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == ""
}

func (d *decoder) checks(n *policy.Node) error {
	d.m.Checks = []Check{}
	return n.List("checks", func(item *policy.Node) error {
		if len(d.m.Checks) == maxChecks {
			return item.Errorf("", "checks: more than %d", maxChecks)
		}
		check := Check{Argv: []string{}, Pos: item.Pos}
		var expect, exit, violation *policy.Node
		err := item.Decode("checks", policy.Keys{
			"argv": func(n *policy.Node) (err error) {
				check.Argv, err = arguments(n, "checks.argv")
				return err
			},
			"expect": func(n *policy.Node) error {
				expect = n
				return n.Decode("checks.expect", policy.Keys{
					"exit": func(n *policy.Node) error {
						exit = n
						v, err := count(n, "checks.expect.exit", 0, 255)
						check.Exit = int(v)
						return err
					},
					"violation": func(n *policy.Node) (err error) {
						violation, check.ViolationPos = n, n.Pos
						check.Violation, err = n.Text("checks.expect.violation")
						if err == nil && strings.Trim(check.Violation, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
							return n.Errorf("a name like ptrace", "checks.expect.violation: %q is not a syscall", check.Violation)
						}
						return err
					},
				})
			},
		})
		switch {
		case err != nil:
			return err
		case expect == nil:
			return item.Errorf("expect: {exit: 0}", "checks: expect is missing")
		case (exit == nil) == (violation == nil):
			return expect.Errorf("expect: {exit: 0} or {violation: ptrace}", "checks.expect: want exit or violation")
		}
		d.m.Checks = append(d.m.Checks, check)
		return nil
	})
}

func (d *decoder) onViolation(n *policy.Node) error {
	s, err := n.Choice("on_violation", "kill", "quarantine", "revert")
	switch s {
	case "kill":
		d.m.OnViolation = OnViolationKill
	case "quarantine":
		d.m.OnViolation = OnViolationQuarantine
	case "revert":
		d.m.OnViolation = OnViolationRevert
	}
	return err
}

func (d *decoder) probation(n *policy.Node) error {
	p := &d.m.Probation
	return n.Decode("probation", policy.Keys{
		"runs":   func(n *policy.Node) (err error) { p.Runs, err = count(n, "probation.runs", 1, maxRuns); return err },
		"window": window(&p.Window, "probation.window"),
	})
}

func (d *decoder) revertBudget(n *policy.Node) error {
	b := &d.m.RevertBudget
	return n.Decode("revert_budget", policy.Keys{
		"count": func(n *policy.Node) (err error) {
			b.Count, err = count(n, "revert_budget.count", 0, maxRuns)
			return err
		},
		"window": window(&b.Window, "revert_budget.window"),
	})
}

func window(to *time.Duration, what string) func(*policy.Node) error {
	return func(n *policy.Node) (err error) {
		*to, err = policy.DurationOf(n, what)
		return err
	}
}

// isAccount accepts the name of a user or group, or a number as chown(1) takes
// it, for those that have no name on this host.
func isAccount(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return policy.IsUserName(s) || err == nil && strconv.FormatUint(n, 10) == s
}

func (d *decoder) allow(n *policy.Node) error {
	return n.Decode("allow", policy.Keys{
		"users": func(n *policy.Node) (err error) {
			d.m.Allow.Users, err = checked(n, "allow.users", isAccount)
			return err
		},
		"groups": func(n *policy.Node) (err error) {
			d.m.Allow.Groups, err = checked(n, "allow.groups", isAccount)
			return err
		},
	})
}
