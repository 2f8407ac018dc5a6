package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/loader"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{Use: "check PATH...", Short: "Check bundles and policies; exit 1 when one is bad", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			bad := 0
			for _, path := range paths {
				if err := loader.Check(path); err != nil {
					bad++
					fmt.Fprintln(cmd.OutOrStdout(), err)
					_, hints := statusOf(err)
					for _, h := range hints {
						if h != "" {
							fmt.Fprintln(cmd.OutOrStdout(), h)
						}
					}
				} else {
					fmt.Fprintln(cmd.OutOrStdout(), path+": ok")
				}
			}
			if bad > 0 {
				return &statusError{1, nil, ""}
			}
			return nil
		}}
}

func showCommand() *cobra.Command {
	var registryDir string
	var digest, withFilter bool
	c := &cobra.Command{Use: "show NAME", Short: "Show what is in force for a command", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, words []string) error {
			places, err := loader.Open(registryDir)
			if err != nil {
				return err
			}
			if digest {
				name, place, _, err := loader.Find(places, words)
				if err != nil {
					return err
				}
				raw, err := place.Read(name)
				if err != nil {
					return &loader.RejectedError{Err: err}
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), raw.Digest)
				return err
			}
			p, _, _, err := loader.Run(registryDir, words, loaderOptions())
			if err != nil {
				return err
			}
			if withFilter {
				_, err = fmt.Fprint(cmd.OutOrStdout(), filter.Dump(p.Filter.Insns))
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), engine.Describe(p))
			return err
		}}
	c.Flags().StringVar(&registryDir, "registry", "", "look in this registry")
	c.Flags().BoolVar(&digest, "digest", false, "print the bundle's digest only")
	c.Flags().BoolVar(&withFilter, "filter", false, "dump the filter")
	return c
}

func doctorCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "doctor", Short: "Say what this host can hold, and how to mend what it cannot", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := feature.Probe().All()
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(all)
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
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
