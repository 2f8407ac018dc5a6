package daemon

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/params"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/wire"
	"github.com/sbx-project/sbx/runner"
)

// maxUnfit bounds what a client says against showing his working directory.
const maxUnfit = 8 << 10

// take has the caller open what his call names and puts it into the options:
// the working directory, when the plan shows it or has its name in an
// argument, and the paths of path parameters. values are changed to the real
// paths. A report refuses the call; without a plan in o the caller has gone.
func (c *call) take(o *runner.Options, p *plan.Plan, values []params.Value) *runner.Report {
	need := wire.Need{Access: ctl.ShowsCwd(p)}
	need.Cwd = need.Access != 0
	for i := range values {
		if p.Params[i].Type != plan.ParamPath {
			continue
		}
		for _, value := range values[i].Items {
			need.Paths = append(need.Paths, wire.Path{Param: p.Params[i].Name, Access: p.Params[i].Access, Value: value})
		}
	}
	if len(need.Paths) > wire.MaxPaths {
		return ctl.Misused(p, errors.New("more than "+strconv.Itoa(wire.MaxPaths)+" paths"))
	}
	cwd := c.fds[wire.Descriptors-1]
	if need.Cwd || usesCwd(p) {
		real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(cwd))
		if err != nil || real != c.req.Cwd {
			real = ""
		}
		o.Cwd = real
	}
	if !need.Cwd && len(need.Paths) == 0 {
		return nil
	}
	if err := c.conn.Send(wire.TypeNeed, need.Encode()); err != nil {
		o.Plan = nil
		return nil
	}
	small := wire.Conn{FD: c.conn.FD, Limit: maxUnfit, Until: time.Now().Add(c.s.cfg.Bounds.Patience)}
	t, unfit, fds, err := small.Receive(len(need.Paths))
	c.given = fds
	if errors.Is(err, wire.ErrEnd) {
		// He would not open it, and has said why.
		c.s.cfg.Observer.Refused(Refusal{Caller: c.caller, Command: c.name, Status: runner.StatusRefused, Reason: "the caller opened nothing", Time: c.start})
		o.Plan = nil
		return nil
	}
	if err == nil && (t != wire.TypeGiven || len(fds) != len(need.Paths)) {
		err = wire.ErrMalformed
	}
	if err != nil {
		return refusal(runner.StatusSetup, err, "")
	}
	protected := ctl.ProtectedFor(c.s.cfg.Registries, int(c.caller.UID))
	if need.Cwd {
		o.CwdFD = cwd
		if o.CwdUnfit = string(unfit); o.CwdUnfit == "" {
			o.CwdUnfit = protected.UnfitDir(cwd, o.Cwd, need.Access)
		}
		c.ownCwd(p, cwd)
	}
	next := 0
	for i := range values {
		if p.Params[i].Type != plan.ParamPath {
			continue
		}
		for j := range values[i].Items {
			step, err := protected.Given(fds[next], p.Params[i].Access, c.caller.UID)
			if err != nil {
				return refusal(runner.StatusRefused, errors.New("--"+p.Params[i].Name+" "+strconv.Quote(values[i].Items[j])+": "+err.Error()), "")
			}
			next++
			values[i].Items[j] = step.Path
			o.Trees = append(o.Trees, step)
		}
	}
	return nil
}

// ownCwd takes the map from a working directory that is not the caller's own:
// whoever could have another user's tree mapped by going there could write it
// through the run. Without a map the kernel judges by the run's ids.
func (c *call) ownCwd(p *plan.Plan, cwd int) {
	var st unix.Stat_t
	if c.caller.UID == 0 || unix.Fstat(cwd, &st) == nil && st.Uid == c.caller.UID {
		return
	}
	p.View = slices.Clone(p.View)
	for i := range p.View {
		if p.View[i].Flags&plan.SourceCwd != 0 {
			p.View[i].Flags &^= plan.Mapped
		}
	}
}
