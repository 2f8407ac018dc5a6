package engine

import (
	"errors"
	"os/user"
	"slices"
	"strconv"

	"github.com/sbx-project/sbx/internal/config"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/policy"
)

// configure takes what the host's configuration says about every run, c, or
// that of [config.Path] as s sees it when c is nil.
func configure(in *Input, c *config.Config, s *Survey) error {
	if c == nil {
		own, err := s.configuration()
		if err != nil {
			e := &Error{Status: StatusSetup, Msg: "read the configuration", Err: err}
			var owner *safefs.OwnerError
			var kind *safefs.KindError
			if errors.As(err, &owner) || errors.As(err, &kind) {
				e.Status = StatusRefused
			}
			return e
		}
		c = &own
	}
	in.Require = slices.Clone(c.Require)
	in.Configured = plan.Host{IDBase: c.IDBase, NeedsDaemon: c.Daemon == config.DaemonRequired}
	if c.Stamp.Path != "" {
		in.Stamps = append(slices.Clone(in.Stamps), c.Stamp)
	}
	if !writes(in) {
		return nil
	}
	// The plan depends on the file also when it has no such user.
	if err := in.Host.stamp(userFile); err != nil {
		return &Error{Status: StatusSetup, Msg: "look at the host", Err: err}
	}
	in.Configured.OwnerName = c.Owner()
	found, err := user.Lookup(c.Owner())
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) && c.SandboxOwner == "" {
		return nil
	}
	if err != nil {
		return &Error{Status: StatusSetup, Msg: "sandbox_owner of " + config.Path, Err: err, Hint: "useradd --system --no-create-home " + c.Owner()}
	}
	uid, err1 := strconv.ParseUint(found.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(found.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return &Error{Status: StatusSetup, Msg: "sandbox_owner of " + config.Path, Err: err}
	}
	if uid == 0 {
		return refuse(policy.Pos{}, "name a user that owns nothing else", "sandbox_owner of %s: %s is uid 0", config.Path, c.Owner())
	}
	if gid == 0 {
		gid = uid // root's group is never given
	}
	in.Configured.OwnerUID, in.Configured.OwnerGID = uint32(uid), uint32(gid)
	return nil
}

// writes tells whether a run of the policy can write to trees of the host.
func writes(in *Input) bool {
	return len(in.Policy.Filesystem.Write) > 0 || slices.ContainsFunc(in.Params, func(p plan.Param) bool {
		return p.Type == plan.ParamPath && p.Access != plan.AccessRead
	})
}
