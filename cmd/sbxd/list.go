package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// listed is one line of `sbx list`. Version, State and Generation are of what
// is in force; of what lies on disk where nothing is.
type listed struct {
	Name       string `json:"name"`
	Version    string `json:"version,omitempty"`
	State      string `json:"state"`
	Generation uint64 `json:"generation"`
	Digest     string `json:"digest,omitempty"`
	Summary    string `json:"summary,omitempty"`
	Registry   string `json:"registry"`
	Shadowed   bool   `json:"shadowed,omitempty"`
	// Error says why what lies on disk is not what is in force.
	Error string `json:"error,omitempty"`
	// allow says who may run it through the daemon, key is its registry's.
	allow registry.Allow
	key   string
	// shadow is the registry whose command of that name comes first.
	shadow string
	// runs: something is in force, or would be at the first run.
	runs bool
}

func listCommand() *cobra.Command {
	var registryDir string
	var all bool
	var out output
	c := &cobra.Command{Use: "list", Short: "List the commands that you may run", Args: cobra.NoArgs,
		Long: "List commands with their version, state and generation.\n\n" + mayRun,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			places, err := loader.Open(registryDir)
			if err != nil {
				return err
			}
			rows, err := visible("list", places, all)
			if err != nil {
				return err
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), rows)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tVERSION\tSTATE\tGENERATION\tSUMMARY")
			for _, r := range rows {
				text := r.Summary
				if r.Error != "" {
					text = firstLine(r.Error)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", plain(r.Name), orDash(r.Version), r.State, r.Generation, plain(text))
			}
			return w.Flush()
		}}
	c.Flags().StringVar(&registryDir, "registry", "", "look in this registry")
	out.flags(c)
	c.Flags().BoolVar(&all, "all", false, allFlag)
	return c
}

// list describes the commands whose names begin with prefix.
func list(places []loader.Place, prefix string) ([]listed, error) {
	rows := []listed{}
	seen := map[string]string{}
	for _, p := range places {
		entries, err := p.Names()
		if err != nil {
			return nil, err
		}
		v, err := loader.Look(p, loaderOptions())
		if err != nil {
			return nil, err
		}
		disk, err := p.Reader()
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Group || !strings.HasPrefix(e.Name, prefix) {
				continue
			}
			r := listed{Name: e.Name, Registry: placeName(p), key: p.Key}
			if r.shadow, r.Shadowed = seen[e.Name]; !r.Shadowed {
				seen[e.Name] = r.Registry
			}
			r.describe(disk, e, v.Snapshot.Commands[e.Name])
			if r.Shadowed {
				r.State = "shadowed"
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// describe fills in what is in force, what lies on disk, and why they differ.
func (r *listed) describe(disk *loader.Reader, e registry.Entry, c life.Command) {
	b, err := disk.Load(e.Name)
	if e.Err != nil {
		err = e.Err
	}
	if err == nil {
		r.Summary, r.allow = b.Manifest.Summary, b.Manifest.Allow
	}
	known, seen := c.Revision(b.Digest)
	if cur, ok := c.Current(); ok {
		r.Version, r.State, r.Generation, r.Digest, r.runs = cur.Version, cur.State.String(), c.Generation, cur.Digest, true
		switch {
		case err != nil:
			r.Error = "on disk: " + err.Error()
		case seen && !known.State.InForce():
			r.Error = "on disk: " + b.Manifest.Version + " is " + known.State.String() + ": " + known.Reason
		case !seen:
			r.Error = "on disk: " + b.Manifest.Version + " is a candidate"
		}
		return
	}
	r.Generation = c.Generation
	switch {
	case err != nil:
		r.State, r.Error = life.Rejected.String(), err.Error()
		return
	case c.Refusal != "":
		r.State, r.Error = life.Quarantined.String(), c.Refusal
	case seen && known.State != life.Retired:
		r.State, r.Error = known.State.String(), known.Reason
	default:
		r.State, r.runs = life.Candidate.String(), true // until its first load
	}
	r.Version, r.Digest = b.Manifest.Version, b.Digest
}
