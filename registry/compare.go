package registry

import (
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/sbx-project/sbx/policy"
)

// Compare says what changes from manifest a to manifest b besides the policy,
// for which policy.Compare is. It is sorted as policy.SortChanges does.
func Compare(a, b Manifest) []policy.Change {
	c := &manifestComparer{}
	c.versions(a, b)
	c.exec(a.Exec, b.Exec)
	c.params(a.Params, b.Params)
	c.requires(a.Requires, b.Requires)
	c.checks(a.Checks, b.Checks)
	c.reactions(a, b)
	c.allow("allow.users", "user", a.Allow, b.Allow, a.Allow.Users, b.Allow.Users)
	c.allow("allow.groups", "group", a.Allow, b.Allow, a.Allow.Groups, b.Allow.Groups)
	everybody := func(m Manifest) bool { return len(m.Allow.Users)+len(m.Allow.Groups) == 0 }
	switch was, is := everybody(a), everybody(b); {
	case is && !was:
		c.add(policy.Dangerous, "allow", "lets everybody run it who may reach the daemon's socket")
	case was && !is:
		c.add(policy.Narrower, "allow", "lets only those run it who are named")
	}
	if a.Summary != b.Summary {
		c.add(policy.Neutral, "summary", "changes the summary")
	}
	policy.SortChanges(c.out)
	return c.out
}

// CompareFiles says which shipped files differ. They are code and data: what
// they may do is the policy's, so no change of theirs is wider.
func CompareFiles(a, b []ShippedFile) []policy.Change {
	c := &manifestComparer{}
	old := map[string]ShippedFile{}
	for _, f := range a {
		old[f.Name] = f
	}
	for _, f := range b {
		was, ok := old[f.Name]
		delete(old, f.Name)
		switch {
		case !ok:
			c.add(policy.Neutral, "files", "ships %q", f.Name)
		case was.SHA256 != f.SHA256:
			c.add(policy.Neutral, "files", "changes %q", f.Name)
		case was.Executable != f.Executable:
			c.add(policy.Neutral, "files", "changes the executable bit of %q", f.Name)
		}
	}
	for name := range old {
		c.add(policy.Neutral, "files", "no longer ships %q", name)
	}
	policy.SortChanges(c.out)
	return c.out
}

type manifestComparer struct{ out []policy.Change }

func (c *manifestComparer) add(risk policy.Risk, key, format string, args ...any) {
	c.out = append(c.out, policy.Change{Risk: risk, Key: key, Text: fmt.Sprintf(format, args...)})
}

func (c *manifestComparer) versions(a, b Manifest) {
	if a.Name != b.Name {
		c.add(policy.Neutral, "name", "is %s, not %s", b.Name, a.Name)
	}
	switch order := semver.Compare("v"+b.Version, "v"+a.Version); {
	case order < 0:
		c.add(policy.Wider, "version", "goes back from version %s to %s", a.Version, b.Version)
	case order > 0:
		c.add(policy.Neutral, "version", "goes from version %s to %s", a.Version, b.Version)
	}
	switch {
	case a.Floor == b.Floor:
	case b.Floor == "":
		c.add(policy.Wider, "floor", "removes the floor %s", a.Floor)
	case a.Floor == "" || semver.Compare("v"+b.Floor, "v"+a.Floor) > 0:
		c.add(policy.Narrower, "floor", "raises the floor to %s", b.Floor)
	default:
		c.add(policy.Wider, "floor", "lowers the floor from %s to %s", a.Floor, b.Floor)
	}
}

func (c *manifestComparer) exec(a, b Exec) {
	if a.Path != b.Path {
		c.add(policy.Wider, "exec.path", "executes %s, not %s", b.Path, a.Path)
	}
	switch {
	case a.SHA256 == b.SHA256:
	case b.SHA256 == "":
		c.add(policy.Wider, "exec.sha256", "takes whatever the program's content is")
	case a.SHA256 == "":
		c.add(policy.Narrower, "exec.sha256", "wants one content of the program")
	default:
		c.add(policy.Neutral, "exec.sha256", "wants another content of the program")
	}
	if a.Argv0 != b.Argv0 {
		c.add(policy.Neutral, "exec.argv0", "calls the program %q", b.Argv0)
	}
	if a.Args != b.Args {
		if b.Args == ArgsPassthrough {
			c.add(policy.Dangerous, "exec.args", "hands every argument of the caller over")
		} else {
			c.add(policy.Narrower, "exec.args", "takes declared parameters only")
		}
	}
	if !slices.Equal(a.Argv, b.Argv) {
		c.add(policy.Wider, "exec.argv", "gives the program other arguments: %q, not %q", b.Argv, a.Argv)
	}
}

// params compares parameters as a caller's reach: what one may say more.
func (c *manifestComparer) params(a, b []Param) {
	at := func(list []Param, name string) *Param {
		i := slices.IndexFunc(list, func(p Param) bool { return p.Name == name })
		if i < 0 {
			return nil
		}
		return &list[i]
	}
	for _, p := range b {
		key := "params." + p.Name
		old := at(a, p.Name)
		if old == nil {
			risk := policy.Wider
			if p.Access == "write" || p.Access == "create" {
				risk = policy.Dangerous
			}
			c.add(risk, key, "adds the parameter %s%s", p.Name, access(p))
			continue
		}
		if old.Access != p.Access {
			risk := policy.Wider
			if rank := []string{"read", "create", "write"}; slices.Index(rank, p.Access) < slices.Index(rank, old.Access) {
				risk = policy.Narrower
			} else if p.Access == "write" || p.Access == "create" {
				risk = policy.Dangerous
			}
			c.add(risk, key, "opens what %s names for %q, not %q", p.Name, p.Access, old.Access)
		}
		if old.Secret != p.Secret {
			c.either(!p.Secret, key, "lets the value of "+p.Name+" be logged", "keeps the value of "+p.Name+" secret")
		}
		was, is := *old, p
		was.Pos, was.Help, was.Access, was.Secret, was.Position = is.Pos, is.Help, is.Access, is.Secret, is.Position
		if !reflect.DeepEqual(was, is) {
			c.add(policy.Wider, key, "takes other values for %s", p.Name)
		}
	}
	for _, p := range a {
		if at(b, p.Name) == nil {
			c.add(policy.Narrower, "params."+p.Name, "drops the parameter %s", p.Name)
		}
	}
}

func access(p Param) string {
	if p.Access == "" {
		return ""
	}
	return ", a path to " + p.Access
}

func (c *manifestComparer) either(wider bool, key, yes, no string) {
	if wider {
		c.add(policy.Wider, key, "%s", yes)
	} else {
		c.add(policy.Narrower, key, "%s", no)
	}
}

func (c *manifestComparer) requires(a, b Requires) {
	if a.SBX != b.SBX {
		c.add(policy.Neutral, "requires.sbx", "wants sbx %q, not %q", b.SBX, a.SBX)
	}
	for _, s := range without(a.Features, b.Features) {
		c.add(policy.Wider, "requires.features", "no longer requires %s of the host", s)
	}
	for _, s := range without(b.Features, a.Features) {
		c.add(policy.Narrower, "requires.features", "requires %s of the host", s)
	}
	for _, s := range without(a.Commands, b.Commands) {
		c.add(policy.Neutral, "requires.commands", "no longer requires the command %s", s)
	}
	for _, s := range without(b.Commands, a.Commands) {
		c.add(policy.Neutral, "requires.commands", "requires the command %s", s)
	}
}

// without is what a has and b has not, sorted.
func without(a, b []string) []string {
	var out []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	sort.Strings(out)
	return out
}

func (c *manifestComparer) checks(a, b []Check) {
	spell := func(list []Check) (out []string) {
		for _, check := range list {
			want := fmt.Sprintf("exit %d", check.Exit)
			if check.Violation != "" {
				want = "violation " + check.Violation
			}
			out = append(out, fmt.Sprintf("%q: %s", strings.Join(check.Argv, " "), want))
		}
		return out
	}
	was, is := spell(a), spell(b)
	for _, s := range without(was, is) {
		c.add(policy.Wider, "checks", "removes the check %s", s)
	}
	for _, s := range without(is, was) {
		c.add(policy.Narrower, "checks", "adds the check %s", s)
	}
}

// reactions compares what follows a violation.
func (c *manifestComparer) reactions(a, b Manifest) {
	// From weak to strong: kill changes nothing, revert takes the revision
	// back, quarantine takes the command away.
	rank := map[OnViolation]int{OnViolationKill: 0, OnViolationRevert: 1, OnViolationQuarantine: 2}
	text := map[OnViolation]string{
		OnViolationKill: "only kills the run that violates its policy", OnViolationRevert: "returns to the last good after a violation in probation",
		OnViolationQuarantine: "refuses the command after a violation in probation",
	}
	if a.OnViolation != b.OnViolation {
		c.either(rank[b.OnViolation] < rank[a.OnViolation], "on_violation", text[b.OnViolation], text[b.OnViolation])
	}
	if p, q := a.Probation, b.Probation; p != q {
		c.either(q.Runs < p.Runs || q.Window < p.Window, "probation",
			fmt.Sprintf("shortens probation from %d runs, %s to %d runs, %s", p.Runs, policy.FormatDuration(p.Window), q.Runs, policy.FormatDuration(q.Window)),
			fmt.Sprintf("lengthens probation from %d runs, %s to %d runs, %s", p.Runs, policy.FormatDuration(p.Window), q.Runs, policy.FormatDuration(q.Window)))
	}
	if p, q := a.RevertBudget, b.RevertBudget; p != q {
		c.either(q.Count > p.Count || q.Window < p.Window, "revert_budget",
			fmt.Sprintf("returns by itself more often: %d times in %s, not %d in %s", q.Count, policy.FormatDuration(q.Window), p.Count, policy.FormatDuration(p.Window)),
			fmt.Sprintf("returns by itself less often: %d times in %s, not %d in %s", q.Count, policy.FormatDuration(q.Window), p.Count, policy.FormatDuration(p.Window)))
	}
}

// allow compares who may run it. No one at all means everybody, which the
// caller says.
func (c *manifestComparer) allow(key, kind string, a, b Allow, was, is []string) {
	none := func(w Allow) bool { return len(w.Users)+len(w.Groups) == 0 }
	if none(a) || none(b) {
		return
	}
	for _, s := range without(is, was) {
		c.add(policy.Wider, key, "lets the %s %s run it", kind, s)
	}
	for _, s := range without(was, is) {
		c.add(policy.Narrower, key, "no longer lets the %s %s run it", kind, s)
	}
}
