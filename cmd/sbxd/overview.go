package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/admin"
)

func statusCommand() *cobra.Command {
	var a asking
	c := &cobra.Command{Use: "status [NAME]", Short: "Show what the daemon has in force, and why",
		Example: "  sbx status\n  sbx status db backup",
		RunE: func(cmd *cobra.Command, words []string) error {
			asJSON, err := a.wantJSON()
			if err != nil {
				return err
			}
			d, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			var s admin.Status
			if err := d.Get(cmd.Context(), "/v1/status", &s); err != nil {
				return refusedByDaemon(err)
			}
			if name := strings.Join(words, "."); name != "" {
				for _, known := range s.Commands {
					if known.Name == name {
						if asJSON {
							return printJSON(cmd.OutOrStdout(), known)
						}
						return printCommand(cmd.OutOrStdout(), &known)
					}
				}
				return &statusError{127, fmt.Errorf("no such command: %s", name), "sbx status"}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			return printStatus(cmd.OutOrStdout(), &s)
		}}
	a.flags(c)
	return c
}

func printStatus(w io.Writer, s *admin.Status) error {
	ready := "ready"
	switch {
	case s.Draining:
		ready = "draining"
	case s.Audit.Error != "":
		ready = "not ready"
	case !s.Ready:
		ready = "starting"
	}
	fmt.Fprintf(w, "daemon %s (%s), pid %d, %s, up %s, generation %d, %d runs\n", clean(s.Version), clean(s.Build), s.PID, ready, ago(s.Started), s.Generation, s.InFlight)
	if r := s.Reload; r != nil {
		switch {
		case r.Error != "":
			fmt.Fprintf(w, "last reload %s ago: nothing was loaded: %s\n", ago(r.Time), clean(r.Error))
		case !r.Loaded:
			fmt.Fprintf(w, "last reload %s ago: %d rejected\n", ago(r.Time), len(r.Rejected))
		default:
			fmt.Fprintf(w, "last reload %s ago: loaded\n", ago(r.Time))
		}
	}
	if s.Audit.Error != "" {
		until := "its cause has gone"
		if s.Audit.Lasting {
			until = "the daemon is started anew"
		}
		fmt.Fprintf(w, "audit log: %s: no run starts until %s\n", clean(s.Audit.Error), until)
	} else {
		fmt.Fprintf(w, "audit log: head %d:%s\n", s.Audit.Sequence, clean(s.Audit.Head))
	}
	for _, weak := range s.Weakened {
		fmt.Fprintf(w, "weakened: %s\n", clean(weak))
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tVERSION\tGENERATION\tCANDIDATE\tPREVIOUS\tFLOOR\tREVERTS LEFT\tREASON")
	for i := range s.Commands {
		c := &s.Commands[i]
		candidate, previous, reason := "-", "-", c.Reason
		if c.Candidate != nil {
			candidate = clean(c.Candidate.Version)
			if reason == "" {
				reason = c.Candidate.Reason
			}
		}
		if c.Previous != nil {
			previous = clean(c.Previous.Version)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%d\t%s\n", clean(c.Name), c.State, dash(c.Version), c.Generation, candidate, previous, dash(c.Floor), c.RevertsLeft, clean(reason))
	}
	return t.Flush()
}

func printCommand(w io.Writer, c *admin.Command) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	line := func(name, value string) { fmt.Fprintf(t, "%s\t%s\n", name, dash(value)) }
	line("name", c.Name)
	line("state", string(c.State))
	line("version", c.Version)
	line("revision", c.Revision)
	line("generation", strconv.FormatUint(c.Generation, 10))
	if c.Since != nil {
		line("since", c.Since.Format(time.RFC3339))
	}
	line("reason", c.Reason)
	other := func(name string, r *admin.Revision) {
		if r == nil {
			return
		}
		line(name, r.Version+" "+string(r.State)+" "+r.Revision)
		if r.Reason != "" {
			line(name+" reason", r.Reason)
		}
	}
	other("candidate", c.Candidate)
	other("previous", c.Previous)
	line("floor", c.Floor)
	line("reverts left", strconv.FormatUint(c.RevertsLeft, 10))
	line("runs", strconv.FormatUint(c.Runs, 10))
	line("violations", strconv.FormatUint(c.Violations, 10))
	line("last violation", c.LastViolation)
	return t.Flush()
}

func psCommand() *cobra.Command {
	var a asking
	c := &cobra.Command{Use: "ps", Short: "List the runs that are going", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := a.wantJSON()
			if err != nil {
				return err
			}
			d, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			var runs admin.Runs
			if err := d.Get(cmd.Context(), "/v1/runs", &runs); err != nil {
				return refusedByDaemon(err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), runs.Runs)
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "RUN\tCOMMAND\tVERSION\tUSER\tPID\tSINCE")
			for _, r := range runs.Runs {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\n", clean(r.Run), clean(r.Command), clean(r.Version), userName(r.UID), r.PID, ago(r.Started))
			}
			return t.Flush()
		}}
	a.flags(c)
	return c
}
