package ctl

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/runner"
)

// explain says on stderr why a run did not end by itself.
func (v *Invocation) explain(r *runner.Report) {
	say := func(msg string, hints ...string) { Say(v.Quiet, msg, hints...) }
	switch r.Outcome {
	case runner.Refused, runner.SetupError:
		msg := r.Step
		if r.Err != nil {
			if msg != "" {
				msg += ": "
			}
			msg += r.Err.Error()
		}
		if msg != "" { // else sbxd has said it
			say(msg, r.Hint)
		}
	case runner.Violation:
		for i := range r.Violations {
			v.explainCall(r, &r.Violations[i])
		}
	case runner.OOM:
		say("out of memory: the run passed memory_max and was killed")
	case runner.Pids:
		say("the run passed pids_max")
	case runner.Timeout:
		say("timeout: the run was killed after " + r.Usage.Wall.Truncate(1e6).String())
	case runner.OutputLimit:
		say("the run wrote more than output_max and was killed")
	case runner.Canceled:
		say("canceled by " + SignalName(r.Signal))
	}
}

func (v *Invocation) explainCall(r *runner.Report, c *runner.Call) {
	hint := ""
	if c.AllowWith != "" {
		hint = "if the command needs it, its policy says: " + c.AllowWith
	}
	Say(v.Quiet, callText(r, c), hint)
}

// callText describes a refused call. What the workload chose stands in quotes.
func callText(r *runner.Report, c *runner.Call) string {
	msg := "violation: " + c.Syscall + "("
	for i, a := range c.Args {
		if i > 0 {
			msg += ", "
		}
		msg += "0x" + strconv.FormatUint(a, 16)
	}
	msg += ")"
	if c.Path != "" {
		msg += " of " + strconv.Quote(c.Path)
	}
	if c.Address != "" {
		msg += " of " + strconv.Quote(c.Address)
	}
	if c.PID != 0 {
		msg += " by pid " + strconv.Itoa(int(c.PID))
	}
	if c.Comm != "" {
		msg += " (" + strconv.Quote(c.Comm) + ")"
	}
	msg += ", " + c.Arch + ": " + c.Rule
	if r.Command != "" {
		msg += " of " + r.Command + " " + r.Version
	}
	return msg
}

// SignalName is the name of a signal as kill(1) lists it, with SIG.
func SignalName(s syscall.Signal) string {
	if n := unix.SignalName(s); n != "" {
		return n
	}
	return "signal " + strings.TrimSpace(strconv.Itoa(int(s)))
}
