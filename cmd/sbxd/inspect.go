package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/loader"
)

// checked is what `sbx check --json` says of one path.
type checked struct {
	Path  string   `json:"path"`
	OK    bool     `json:"ok"`
	Error string   `json:"error,omitempty"`
	Hints []string `json:"hints,omitempty"`
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
				if err := loader.Check(path); err != nil {
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
		text := c.Path + ": ok"
		if !c.OK {
			text = strings.Join(append([]string{c.Error}, c.Hints...), "\n")
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
			return err
		}
	}
	return nil
}

// shown is what `sbx show --json` says: the plan's identity and, in their
// order, the lines that people read.
type shown struct {
	Command    string `json:"command"`
	Version    string `json:"version"`
	Digest     string `json:"digest"`
	Generation uint64 `json:"generation,omitempty"`
	Facts      []fact `json:"facts,omitempty"`
}

type fact struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// factsOf takes the text of engine.Describe apart.
func factsOf(text string) (facts []fact) {
	for line := range strings.Lines(text) {
		key, value := strings.TrimSuffix(line, "\n"), ""
		if len(key) > engine.KeyWidth {
			key, value = key[:engine.KeyWidth], key[engine.KeyWidth+1:]
		}
		facts = append(facts, fact{strings.TrimSpace(key), value})
	}
	return facts
}

func showCommand() *cobra.Command {
	var registryDir string
	var digest, withFilter bool
	var out output
	c := &cobra.Command{Use: "show NAME", Short: "Show what is in force for a command", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, words []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
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
				if asJSON {
					return printJSON(cmd.OutOrStdout(), shown{Command: name, Digest: raw.Digest})
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), raw.Digest)
				return err
			}
			p, _, _, err := loader.Run(registryDir, words, loaderOptions())
			if err != nil {
				return err
			}
			if asJSON && !withFilter {
				return printJSON(cmd.OutOrStdout(), shown{p.Command, p.Version, p.Revision, p.Generation, factsOf(engine.Describe(p))})
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
	out.flags(c)
	return c
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
