package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/state"
)

// listed is one line of `sbx list`.
type listed struct {
	Name       string `json:"name"`
	Version    string `json:"version,omitempty"`
	State      string `json:"state"`
	Generation uint64 `json:"generation"`
	Summary    string `json:"summary,omitempty"`
	Registry   string `json:"registry"`
	Shadowed   bool   `json:"shadowed,omitempty"`
	Error      string `json:"error,omitempty"`
}

func listCommand() *cobra.Command {
	var registryDir, output string
	var asJSON, all bool
	c := &cobra.Command{Use: "list", Short: "List the commands that can be run", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			places, err := loader.Open(registryDir)
			if err != nil {
				return err
			}
			rows, err := list(places)
			if err != nil {
				return err
			}
			if asJSON || output == "json" {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(rows)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tVERSION\tSTATE\tGENERATION\tSUMMARY")
			for _, r := range rows {
				text := r.Summary
				if r.Error != "" {
					text = r.Error
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", r.Name, r.Version, r.State, r.Generation, text)
			}
			return w.Flush()
		}}
	c.Flags().StringVar(&registryDir, "registry", "", "look in this registry")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVarP(&output, "output", "o", "", "json for JSON")
	c.Flags().BoolVar(&all, "all", false, "as root: those of every user (now the same)")
	return c
}

func list(places []loader.Place) ([]listed, error) {
	rows := []listed{}
	seen := map[string]bool{}
	for _, p := range places {
		entries, err := p.Names()
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Group {
				continue
			}
			r := listed{Name: e.Name, State: "active", Registry: p.Path, Shadowed: seen[e.Name]}
			if p.Path == "" {
				r.Registry = "built-in"
			}
			seen[e.Name] = true
			b, err := p.Load(e.Name)
			switch {
			case e.Err != nil:
				r.State, r.Error = "rejected", e.Err.Error()
			case err != nil:
				r.State, r.Error = "rejected", err.Error()
			default:
				r.Version, r.Summary = b.Manifest.Version, b.Manifest.Summary
				r.State = "candidate" // until its first plan is made
				if pl, err := state.Read(state.PlanPath(state.Dir(), p.Key, e.Name)); err == nil && pl.Revision == b.Digest {
					r.State, r.Generation = "active", pl.Generation
				}
			}
			if r.Shadowed {
				r.State = "shadowed"
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}
