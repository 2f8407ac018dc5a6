package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/loader"
)

// checked is what `sbx check --json` says of one path.
type checked struct {
	Path  string   `json:"path"`
	OK    bool     `json:"ok"`
	Error string   `json:"error,omitempty"`
	Hints []string `json:"hints,omitempty"`
	// Notes point at what is good and should be looked at; Guarded are the
	// guarded calls among it.
	Notes   []string `json:"notes,omitempty"`
	Guarded []string `json:"guarded,omitempty"`
}

func checkCommand() *cobra.Command {
	var out output
	c := &cobra.Command{Use: "check PATH...", Short: "Check bundles and policies; exit 1 when one is bad", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			all, bad := []checked{}, false
			for _, path := range paths {
				c := checked{Path: path, OK: true}
				notes, err := loader.Check(path)
				for _, n := range notes {
					c.Notes, c.Guarded = append(c.Notes, n.Text), append(c.Guarded, n.Call)
				}
				if err != nil {
					_, hints := statusOf(err)
					hints = slices.DeleteFunc(hints, func(h string) bool { return h == "" })
					c, bad = checked{Path: path, Error: err.Error(), Hints: hints}, true
				}
				all = append(all, c)
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), all)
			} else {
				err = printChecked(cmd, all)
			}
			if err == nil && bad {
				return &statusError{1, nil, ""}
			}
			return err
		}}
	out.flags(c)
	return c
}

func printChecked(cmd *cobra.Command, all []checked) error {
	for _, c := range all {
		text := strings.Join(append([]string{c.Path + ": ok"}, c.Notes...), "\n")
		if !c.OK {
			text = strings.Join(append([]string{c.Error}, c.Hints...), "\n")
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
			return err
		}
	}
	return nil
}

func doctorCommand() *cobra.Command {
	var out output
	c := &cobra.Command{Use: "doctor", Short: "Say what this host can hold, and how to mend what it cannot", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			all := feature.Probe().All()
			if asJSON {
				return printJSON(cmd.OutOrStdout(), all)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for _, f := range all {
				state := "present"
				if !f.Present {
					state = "missing"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", f.Name, state, f.Detail)
				if !f.Present {
					fmt.Fprintf(w, "\t\twithout it: %s\n\t\tfix: %s\n", f.Cost, f.Fix)
				}
			}
			return w.Flush()
		}}
	out.flags(c)
	return c
}
