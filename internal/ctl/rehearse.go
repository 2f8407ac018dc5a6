package ctl

import (
	"errors"
	"os"

	"github.com/sbx-project/sbx/internal/params"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/runner"
)

// Rehearse does with a plan what a run by this process does before it launches,
// and opens no path for it: p becomes the plan that would be carried out. used is
// how many of the words name the command. A report means that the run would be
// refused; the error is params.ErrHelp for a call that only asks for help.
func (v *Invocation) Rehearse(p *plan.Plan, used int) (*runner.Report, error) {
	if rep := v.Unexpected(p); rep != nil {
		return rep, nil
	}
	if p.Refusal != "" {
		return Quarantined(p), nil
	}
	extra, err := v.extra()
	if err != nil {
		return refused(runner.StatusSetup, "", err, ""), nil
	}
	o, rep := v.Options(p, os.Environ(), extra)
	if rep != nil {
		return rep, nil
	}
	if p.Declared {
		if _, err := params.Parse(p.Params, v.Words[used:]); errors.Is(err, params.ErrHelp) {
			return nil, err
		} else if err != nil {
			return Misused(p, err), nil
		}
	}
	p.Rlimits = append(p.Rlimits, o.Rlimits...)
	if o.Timeout > 0 {
		p.Limits.Timeout = o.Timeout
	}
	if o.Chdir != "" {
		p.Chdir = o.Chdir
	}
	return nil, nil
}
