package engine

import (
	"errors"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/syscalls"
	"github.com/sbx-project/sbx/policy"
)

// userFile is where the plan's idea of a user's ids comes from first; that other
// services know him better is not seen until the plan is stale for another
// reason.
const userFile = "/etc/passwd"

// identity finds whose host ids the policy asks for.
//
// Trust boundary: a policy names a user, and root's runs become that user.
// Privilege here: none; the plan is carried out later with root's. Checked
// before: the loader knows that the registry is root's (Request.NamesUsers).
// Fails closed: an unknown user, id 0, or a policy of anybody else's is
// refused.
func identity(r *Request, stamp func(string) error) (plan.User, error) {
	name := r.Policy.User
	u := plan.User{Name: name}
	if name == "" || name == "caller" || name == plan.UserDynamic {
		return u, nil
	}
	no := func(hint, why string) (plan.User, error) {
		e := refuse(r.Policy.Places.Of("user"), hint, "user: %s: %s", name, why)
		e.Status = StatusRefused
		return u, e
	}
	if !r.NamesUsers {
		return no("register the command there, or take user out", "only a registry that belongs to root names a user")
	}
	uid, gid, numbers := strings.Cut(name, ":")
	if !numbers {
		found, err := user.Lookup(name)
		var unknown user.UnknownUserError
		if errors.As(err, &unknown) {
			return no("useradd --system "+name+", or name another one", "this host has no such user")
		}
		if err != nil {
			return u, &Error{Status: StatusSetup, Pos: r.Policy.Places.Of("user"), Msg: "user: " + name, Err: err}
		}
		if err := stamp(userFile); err != nil {
			return u, &Error{Status: StatusSetup, Msg: "look at the host", Err: err}
		}
		uid, gid = found.Uid, found.Gid
	}
	for _, id := range []struct {
		text string
		to   *uint32
	}{{uid, &u.UID}, {gid, &u.GID}} {
		n, err := strconv.ParseUint(id.text, 10, 32)
		if err != nil || n == 1<<32-1 {
			return no("", "its ids are no numbers")
		}
		*id.to = uint32(n)
	}
	if u.UID == 0 {
		return no("", "id 0 is never given to a command")
	}
	return u, nil
}

// capabilities returns the bits of those that the policy lists. rules are what
// the policy's ruleset is made of.
func capabilities(in *Input, rules rulesetInput) (uint64, error) {
	var bits uint64
	p := &in.Policy
	for _, name := range p.Capabilities {
		n, ok := policy.Capability(name)
		if !ok {
			return 0, refuse(p.Places.Of("capabilities "+name), policy.OneOf(name, policy.CapabilityNames()), "capabilities: unknown name %q", name)
		}
		if !in.Features.Has("userns") {
			return 0, lacking(p.Places.Of("capabilities "+name), in.Features, "userns", "capabilities: "+name)
		}
		bits |= 1 << n
	}
	if !slices.Contains(p.Capabilities, "CAP_SYS_ADMIN") {
		return bits, nil
	}
	rs, _, err := ruleset(rules)
	if err != nil {
		return 0, err
	}
	// An ordinary user's run owns its mount namespace through its user
	// namespace: it could make writable what is shown read-only, and uncover
	// what is masked.
	mounts, _ := syscalls.GroupAll("@mount")
	for _, call := range mounts {
		nr, ok := syscalls.Number(in.Arch, call)
		if !ok || call == "chroot" {
			continue
		}
		open := func(r filter.Rule) bool { return r.Verdict.Kind == filter.Allow }
		if c := rs.Calls[nr]; c.Default.Kind == filter.Allow || slices.ContainsFunc(c.Rules, open) {
			return 0, refuse(p.Places.Of("capabilities CAP_SYS_ADMIN"), "take one of them out",
				"capabilities: CAP_SYS_ADMIN together with the call %s would undo the view", call)
		}
	}
	return bits, nil
}

// place is where the policy states a value.
func (in *Input) place(key string) policy.Pos { return in.Policy.Places.Of(key) }
