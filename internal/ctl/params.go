package ctl

import (
	"errors"
	"strconv"

	"github.com/sbx-project/sbx/internal/params"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/runner"
)

// helpStep marks the report of a call that only asked for help.
const helpStep = "help"

// arguments makes what follows the plan's Argv: its words with the caller's
// values in place, and with passthrough the caller's arguments behind them.
// Paths are opened, and stay open until the caller closes them. A report means
// that there is nothing to launch.
func (v *Invocation) arguments(p *plan.Plan, cwd string, words []string) ([]string, *paths, *runner.Report) {
	if !p.Declared && len(p.Words) == 0 {
		return words, nil, nil
	}
	var values []params.Value
	if p.Declared {
		var err error
		values, err = params.Parse(p.Params, words)
		if errors.Is(err, params.ErrHelp) {
			if err := writeAll(1, params.Help(p)); err != nil {
				return nil, nil, refused(runner.StatusSetup, "write the help", err, "")
			}
			return nil, nil, &runner.Report{Outcome: runner.OK, Step: helpStep, Command: p.Command, Version: p.Version, Revision: p.Revision, Generation: p.Generation, Via: "direct"}
		}
		if err != nil {
			return nil, nil, Misused(p, err)
		}
	}
	if err := params.Secrets(p.Params, values, v.readSecret); p.Declared && err != nil {
		return nil, nil, Misused(p, err)
	}
	opened, err := v.openPaths(p.Params, values)
	if err != nil {
		var r *pathRefusal
		if errors.As(err, &r) {
			return nil, nil, refused(r.status, "", err, r.hint)
		}
		return nil, nil, Misused(p, err)
	}
	args, err := params.Expand(p.Words, p.Params, values, cwd)
	if err != nil {
		opened.discard()
		return nil, nil, Misused(p, err)
	}
	if !p.Declared {
		args = append(args, words...)
	}
	return args, opened, nil
}

// readSecret reads a descriptor to its end.
func (v *Invocation) readSecret(fd, limit int) (string, error) {
	b, err := v.drain(fd, limit)
	if errors.Is(err, errTooMuch) {
		err = errors.New("more than " + strconv.Itoa(limit-1) + " bytes")
	}
	return string(b), err
}

// Misused is the report of arguments that the command does not take.
func Misused(p *plan.Plan, err error) *runner.Report {
	if !p.Declared {
		return refused(runner.StatusSetup, "", err, "")
	}
	return refused(runner.StatusSetup, "", errors.New(p.Command+": "+err.Error()), "usage: "+params.Usage(p)+"\nsbx run "+p.Command+" --help")
}
