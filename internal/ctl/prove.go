package ctl

import (
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/params"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/runner"
)

// ProveVerb is the verb of sbxd that carries out one check of a bundle. It is
// not for people: the loader starts it.
const ProveVerb = "internal-prove"

// proofTimeout bounds one check, whatever the policy grants: a bundle whose
// check hangs must not hold up the loading of others for long.
const proofTimeout = time.Minute

// Prove reads an encoded plan from descriptor 0, runs it with words behind
// the name, with nothing to read and with its output dropped, and writes the
// report as a line of JSON to what was descriptor 1. Descriptor 2 is the
// workload's. It returns the exit status: 0 when there is a report.
//
// Trust boundary. Who controls the input: the loader, which made the plan; a
// person who types the verb has the same rights as with `sbx exec`. What
// privilege is held: the caller's. What has been checked: the plan's
// checksum and bounds. What fails closed: what does not decode runs nothing.
func Prove(words []string) int {
	if err := prove(words); err != nil {
		Say(true, ProveVerb+": "+err.Error())
		return runner.StatusSetup
	}
	return 0
}

func prove(words []string) error {
	b, err := readAll(0, plan.MaxSize+1, nil)
	if err != nil {
		return err
	}
	p, err := plan.Decode(b)
	if err != nil {
		return err
	}
	report, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return errors.New("duplicate descriptor 1: " + err.Error())
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.New(`open "/dev/null": ` + err.Error())
	}
	for fd := range 2 {
		if err := unix.Dup3(null, fd, 0); err != nil {
			return errors.New("set descriptor " + strconv.Itoa(fd) + ": " + err.Error())
		}
	}
	ownWords(p, words)
	cwd := workingDir()
	v := &Invocation{EnvFile: -1, StatusFD: -1, Quiet: true, Words: append([]string{p.Command}, words...)}
	if p.Limits.Timeout == 0 || p.Limits.Timeout > proofTimeout {
		v.Timeout = proofTimeout
	}
	out := &result{fds: []int{report}}
	r := v.launch(p, cwd, 1, &result{})
	if r.Err != nil {
		r.Step = joined(r.Step, r.Err)
	}
	out.last(r)
	return nil
}

// ownWords makes the plan hand words over untouched when they are no call of
// its declared parameters: a check such as ["--version"] then asks the program
// itself, which has no parameter of that name and need not have one.
func ownWords(p *plan.Plan, words []string) {
	if !p.Declared {
		return
	}
	if _, err := params.Parse(p.Params, words); err != nil {
		p.Declared, p.Params, p.Words = false, nil, nil
	}
}

func joined(step string, err error) string {
	if step == "" {
		return err.Error()
	}
	return step + ": " + err.Error()
}
