package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/cgroup"
	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/params"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/runner"
)

// planCommand answers sbx's question for a plan on standard output.
func planCommand() *cobra.Command {
	var exec bool
	var policyName, registry string
	c := &cobra.Command{Use: ctl.PlanVerb, Hidden: true, Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, words []string) error {
			_, encoded, used, err := load(exec, registry, policyName, words)
			if err != nil {
				return err
			}
			_, err = os.Stdout.Write(ctl.Answer(used, encoded))
			return err
		}}
	c.Flags().SetInterspersed(false)
	c.Flags().BoolVar(&exec, "exec", false, "")
	c.Flags().StringVar(&policyName, "policy", "base", "")
	c.Flags().StringVar(&registry, "registry", "", "")
	c.Flags().BoolVar(&quiet, "quiet", false, "")
	return c
}

func load(exec bool, registry, policyName string, words []string) (*plan.Plan, []byte, int, error) {
	if exec {
		p, encoded, err := loader.Exec(policyName, words)
		return p, encoded, 1, err
	}
	p, encoded, used, err := loader.Run(registry, words, loaderOptions())
	return p, encoded, used, pruned(registry, err)
}

// loaderOptions are those of a load for one caller, who reads what happens on
// stderr.
func loaderOptions() loader.Options {
	return loader.Options{Prover: loader.Subprocess{}, Notify: sayEvents}
}

// sayEvent tells the caller what a load changed, or did not let change.
func sayEvents(events []loader.Event) {
	for _, e := range events {
		sayEvent(e)
	}
}

func sayEvent(e loader.Event) {
	text := e.Name
	if e.Version != "" {
		text += " " + e.Version
	}
	now := "nothing is in force"
	if e.InForce != "" {
		now = e.InForce + " is in force (generation " + strconv.FormatUint(e.Generation, 10) + ")"
	}
	switch e.Kind {
	case loader.Rejected:
		if e.InForce == "" {
			return // the error of the run says it
		}
		_, hints := statusOf(e.Err)
		ctl.Say(quiet, text+" is rejected, "+now+": "+e.Reason, hints...)
	case loader.Reverted:
		what := " is quarantined, "
		switch {
		case e.Operator && e.Version == "":
			what = ": " // nothing was
		case e.Operator:
			what = " is held, "
		}
		ctl.Say(quiet, text+what+now+" again: "+e.Reason, "sbx history "+e.Name)
	case loader.Quarantined:
		ctl.Say(quiet, text+" is quarantined, and the name refuses: "+e.Reason, ctl.HintQuarantined(e.Name))
	case loader.Damaged:
		ctl.Say(quiet, e.Reason)
	}
}

// settleCommand acts on what runs have put down in the journal, and answers
// with the version that the command is back on.
func settleCommand() *cobra.Command {
	var registry, key string
	c := &cobra.Command{Use: ctl.SettleVerb, Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			version, err := loader.Settle(registry, key, args[0], loaderOptions())
			if err == nil && version != "" {
				_, err = os.Stdout.WriteString(ctl.SettledHead + version + "\n")
			}
			return err
		}}
	c.Flags().StringVar(&registry, "registry", "", "")
	c.Flags().StringVar(&key, "key", "", "")
	c.Flags().BoolVar(&quiet, "quiet", false, "")
	return c
}

// proveCommand carries out one check of a bundle, see ctl.Prove.
func proveCommand() *cobra.Command {
	return &cobra.Command{Use: ctl.ProveVerb, Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 && args[0] == "--" {
				args = args[1:]
			}
			// As the daemon whose check it is. Where nothing is delegated, or
			// others are in the group, the usual place is as good.
			_ = cgroup.Stay()
			if status := ctl.Prove(args); status != 0 {
				return &statusError{status, nil, ""}
			}
			return nil
		}}
}

// runCommand stands for `run` and `exec` in the help, and carries out their
// --dry-run; sbx itself does the rest.
func runCommand(exec bool) *cobra.Command {
	use, short := "run [flags] NAME [ARG...]", "Run a registered command"
	if exec {
		use, short = "exec --policy FILE|NAME [flags] -- CMD [ARG...]", "Run an unregistered program under a policy"
	}
	return &cobra.Command{Use: use, Short: short, DisableFlagParsing: true, Long: short + ".\n\n" + runFlags,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && (args[0] == "--help" || args[0] == "-h") {
				return cmd.Help()
			}
			v, err := ctl.ParseRun(args, exec)
			if err != nil {
				var u *ctl.UsageError
				if errors.As(err, &u) {
					return &statusError{125, err, u.Hint}
				}
				return err
			}
			quiet = v.Quiet
			if !v.DryRun {
				return &statusError{125, errors.New("run sbx, not sbxd"), ""}
			}
			cwd, _ := os.Getwd()
			p, _, used, err := load(exec, v.Registry, ctl.ResolvePolicy(cwd, v.Policy), v.Words)
			if err != nil {
				return err
			}
			text := ""
			if r, err := v.Rehearse(p, used); r != nil {
				return refusedRun(r)
			} else if err != nil {
				text = params.Help(p)
			} else {
				text = engine.Describe(p)
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		}}
}

// refusedRun is the error of a run that would be refused.
func refusedRun(r *runner.Report) error {
	err := r.Err
	if r.Step != "" {
		err = fmt.Errorf("%s: %w", r.Step, err)
	}
	return &statusError{r.ExitCode, err, r.Hint}
}

const runFlags = `Flags stand before the name; everything after it belongs to the command.

  --registry DIR        look for commands in DIR
  --policy FILE|NAME    the policy of an unregistered program (exec only)
  --expect VERSION      refuse when another version or digest is in force
  --timeout D           end the run after D (30s); only tighter than the policy
  --limit KEY=VALUE     memory_max, memory_swap_max, pids_max, cpu_max, cpu_weight, timeout,
                        output_max or rlimit_NAME; only tighter
  --env NAME[=VALUE]    a variable that the policy passes
  --env-file FD         such variables from a descriptor, one a line or NUL-separated
  --chdir DIR           start in DIR, a path inside the view
  --result FILE         write the report as JSON lines
  --status-fd N         the same to a descriptor
  --dry-run             show the plan and run nothing
  --direct              without the daemon
  -q                    no hints

Exit status: the command's own; 128+n killed by signal n; 159 violation;
137 out of memory; 124 timeout; 153 too much output; 125 sbx could not run it;
126 refused; 127 no such command.`
