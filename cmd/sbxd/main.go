// Command sbxd is the other executable of sbx: every verb but run, exec and
// version, and the loading of bundles. People type sbx, which executes this
// one from beside itself.
package main

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/ctl"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

// run carries out one verb and returns the exit status.
func run(args []string, stdout io.Writer) int {
	root := &cobra.Command{
		Use: "sbx", Short: "Run " + buildinfo.Project, Version: buildinfo.Version + " (" + buildinfo.Build + ")",
		SilenceUsage: true, SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &statusError{125, errors.New("no such verb: " + args[0]), "sbx --help"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetOut(stdout)
	root.SetErr(os.Stderr)
	root.SetArgs(args)
	root.AddCommand(
		planCommand(),
		settleCommand(),
		proveCommand(),
		runCommand(false),
		runCommand(true),
		listCommand(),
		showCommand(),
		checkCommand(),
		historyCommand(),
		rollbackCommand(),
		keygenCommand(),
		signCommand(),
		verifyCommand(),
		installCommand(),
		removeCommand(),
		treeCommand(),
		diffCommand(),
		auditCommand(),
		statusCommand(),
		psCommand(),
		killCommand(),
		eventsCommand(),
		reloadCommand(),
		doctorCommand(),
		serveCommand(),
		versionCommand(),
		manCommand(),
	)
	for _, name := range notBuilt {
		root.AddCommand(laterCommand(name))
	}
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		c.Args = func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &statusError{125, errors.New("completion: no such shell: " + args[0]), "sbx completion --help"}
			}
			return nil
		}
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	err := root.Execute()
	if err == nil {
		return 0
	}
	status, hints := statusOf(err)
	if msg := err.Error(); msg != "" {
		ctl.Say(quiet, msg, hints...)
	}
	return status
}

// quiet silences hints.
var quiet bool

// notBuilt are the verbs of later issues: they answer 125, never less.
var notBuilt = []string{
	"pull",
	"push",
	"learn",
	"why",
	"analyze",
}

func laterCommand(name string) *cobra.Command {
	return &cobra.Command{
		Use: name, Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return &statusError{125, errors.New(name + ": not built yet"), ""}
		},
	}
}

// versionCommand stands for `version` in the help: sbx answers it itself.
func versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version [--json]", Short: "Say which sbx this is (--json)", DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && (args[0] == "--help" || args[0] == "-h") {
				return cmd.Help()
			}
			return &statusError{125, errors.New("version: unknown argument " + strings.Join(args, " ")), "sbx version [--json]"}
		}}
}
