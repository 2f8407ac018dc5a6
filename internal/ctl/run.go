package ctl

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/early"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/runner"
)

// Run carries out `sbx run` or `sbx exec` and returns the exit status.
func Run(args []string, exec bool) int {
	if len(args) > 0 && (args[0] == "--help" || args[0] == "-h") {
		return Become([]string{verb(exec), "--help"})
	}
	begun, err := early.Taken()
	if err != nil {
		Say(false, err.Error())
		return runner.StatusSetup
	}
	v, err := ParseRun(args, exec)
	if err != nil {
		begun.Abandon()
		var u *UsageError
		if errors.As(err, &u) {
			Say(false, u.Msg, u.Hint)
		}
		return runner.StatusSetup
	}
	if v.DryRun {
		return Become(append([]string{verb(exec)}, args...))
	}
	out, err := openResult(v)
	if err != nil {
		begun.Abandon()
		Say(v.Quiet, err.Error())
		return runner.StatusSetup
	}
	var rep *runner.Report
	var p *plan.Plan
	if begun != nil {
		rep, p = v.adopt(begun, out)
	} else {
		rep, p = v.run(out)
	}
	v.blameBuild(rep)
	v.explain(rep)
	v.Verdict(p, rep)
	KeepReport(rep)
	out.last(rep)
	return rep.ExitCode
}

func verb(exec bool) string {
	if exec {
		return "exec"
	}
	return "run"
}

// refused is the report of a run that did not come to a launch.
func refused(status int, step string, err error, hint string) *runner.Report {
	r := &runner.Report{ExitCode: status, Outcome: runner.Refused, Step: step, Err: err, Hint: hint, Via: "direct"}
	if status == runner.StatusSetup {
		r.Outcome = runner.SetupError
	}
	return r
}

// run finds the plan and carries it out. The plan is nil when it came to none.
func (v *Invocation) run(out *result) (*runner.Report, *plan.Plan) {
	cwd := workingDir()
	if !v.Exec && !v.Direct {
		if rep, ok := v.served(cwd, out); ok {
			return rep, nil
		}
	}
	v.Policy = ResolvePolicy(cwd, v.Policy)
	var p *plan.Plan
	used := 1
	if v.Exec {
		p = v.findExec(cwd, buildinfo.Build)
	} else {
		p, used = v.findRun(cwd, buildinfo.Build)
	}
	for try := 0; ; try++ {
		loaded := p == nil
		if loaded {
			var status int
			var err error
			if p, used, status, err = v.load(); p == nil || err != nil {
				return refused(status, "", err, ""), nil
			}
		}
		if rep := v.Unexpected(p); rep != nil {
			if loaded {
				return rep, p
			}
			p = nil
			continue
		}
		if p.Refusal != "" {
			return Quarantined(p), p
		}
		if loaded {
			v.way = way{}
		}
		r := v.launch(p, cwd, used, out)
		if r.Stale && !loaded && try == 0 {
			p = nil // the program changed since the check: compile once more
			continue
		}
		return r, p
	}
}

// launch carries a plan out with the caller's words behind the name, which took
// the first of them.
func (v *Invocation) launch(p *plan.Plan, cwd string, used int, out *result) *runner.Report {
	draft := v.draft(p)
	if draft != nil {
		defer draft.Close()
	}
	o, rep := v.options(p, cwd)
	if rep != nil {
		return rep
	}
	var opened *paths
	if o.Args, opened, rep = v.arguments(p, cwd, v.Words[used:]); rep != nil {
		return rep
	}
	if opened != nil {
		o.Trees = opened.trees
	}
	o.Started = out.first
	o.Usage = out.wanted()
	if draft != nil {
		o.Lay = draft.Region()
	}
	r := runner.Run(o)
	if r.Laid != nil {
		v.keep(draft, p, used, r.Laid)
	}
	if r.Outcome == runner.Refused || r.Outcome == runner.SetupError {
		opened.discard()
	}
	opened.close()
	return r
}

// Unexpected is the report of a plan that is not the revision which the caller
// named; nil when it is.
func (v *Invocation) Unexpected(p *plan.Plan) *runner.Report {
	if v.Expect == "" || v.Expect == p.Version || v.Expect == p.Revision || "sha256:"+v.Expect == p.Revision {
		return nil
	}
	return refused(runner.StatusRefused, "expect "+v.Expect, errors.New("in force is "+p.Version+" "+p.Revision), "")
}

// options turns the command line into the options of a run by this process.
func (v *Invocation) options(p *plan.Plan, cwd string) (runner.Options, *runner.Report) {
	extra, err := v.extra()
	if err != nil {
		return runner.Options{}, refused(runner.StatusSetup, "", err, "")
	}
	o, rep := v.Options(p, os.Environ(), extra)
	o.Cwd, o.CwdUnfit, o.Signals = cwd, v.unfitCwd(p, cwd), true
	return o, rep
}

// Options are what the flags, an environment and the variables that were given
// beside it make of a plan. The plan's limits become tighter. A report means
// that the call is refused.
func (v *Invocation) Options(p *plan.Plan, environ, extra []string) (runner.Options, *runner.Report) {
	tight, rlimits, err := tighten(p.Limits, p.Rlimits, v.Limits)
	if err != nil {
		return runner.Options{}, refused(runner.StatusSetup, "", err, "a caller can only tighten what the policy allows")
	}
	if v.Timeout > 0 && tight.Timeout > 0 && v.Timeout > tight.Timeout {
		return runner.Options{}, refused(runner.StatusSetup, "", errors.New("--timeout "+v.Timeout.String()+" is more than the policy's "+tight.Timeout.String()), "a caller can only tighten what the policy allows")
	}
	p.Limits = tight
	if v.Exec {
		p.Revision = "" // there it only said what the plan was made for
	}
	environ, err = mergeEnv(p, environ, extra)
	if err != nil {
		hint := ""
		if u := (*UsageError)(nil); errors.As(err, &u) {
			hint = u.Hint
		}
		return runner.Options{}, refused(runner.StatusSetup, "", err, hint)
	}
	return runner.Options{Plan: p, Environ: environ, Chdir: v.Chdir, Timeout: v.Timeout, Rlimits: rlimits}, nil
}

// extra are the variables of --env and --env-file.
func (v *Invocation) extra() ([]string, error) {
	var extra []string
	for _, e := range v.Env {
		name, _, has := strings.Cut(e, "=")
		if !has {
			value, ok := syscall.Getenv(name)
			if !ok {
				return nil, errors.New("--env " + strconv.Quote(name) + ": not set")
			}
			e = name + "=" + value
		}
		extra = append(extra, e)
	}
	if v.EnvFile >= 0 {
		sep := "\n"
		text, err := v.drain(v.EnvFile, maxEnvFile)
		if errors.Is(err, errTooMuch) {
			err = errors.New("larger than 1 MiB")
		}
		if err != nil {
			return nil, errors.New("--env-file " + strconv.Itoa(v.EnvFile) + ": " + err.Error())
		}
		b := string(text)
		if strings.Contains(b, "\x00") {
			sep = "\x00"
		}
		for e := range strings.SplitSeq(strings.TrimSuffix(b, sep), sep) {
			if e != "" {
				extra = append(extra, e)
			}
		}
	}
	return extra, nil
}

// mergeEnv is an environment with the extra variables. Only names that the
// policy passes can be given.
func mergeEnv(p *plan.Plan, env, extra []string) ([]string, error) {
	for _, e := range extra {
		name, _, has := strings.Cut(e, "=")
		if !has || !passes(p.Env.Pass, name) {
			return nil, &UsageError{"the policy does not pass the variable " + strconv.Quote(name), "list it under env.pass of the policy"}
		}
		env = append(without(env, name), e)
	}
	return env, nil
}

// maxEnvFile bounds the text of --env-file, in bytes: half of what the kernel
// takes as arguments and environment together (execve(2), ARG_MAX by default).
const maxEnvFile = 1 << 20

func passes(patterns []string, name string) bool {
	for _, pattern := range patterns {
		prefix, wild := strings.CutSuffix(pattern, "*")
		if name == pattern || wild && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func without(env []string, name string) []string {
	out := env[:0:0]
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			out = append(out, e)
		}
	}
	return out
}
