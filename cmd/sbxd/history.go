package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// generationJSON is one generation as `sbx history --json` gives it.
type generationJSON struct {
	Registry   string    `json:"registry"`
	Generation uint64    `json:"generation"`
	Time       time.Time `json:"time"`
	By         string    `json:"by"`
	Why        string    `json:"why"`
	Changed    []string  `json:"changed"`
	Error      string    `json:"error,omitempty"`
}

// historyJSON is the whole answer. Command is only there for one NAME.
type historyJSON struct {
	Generations []generationJSON `json:"generations"`
	Command     *life.Command    `json:"command,omitempty"`
}

func historyCommand() *cobra.Command {
	var registryDir string
	var out output
	c := &cobra.Command{Use: "history [NAME]", Short: "Show the generations: what changed, when, by whom and why",
		Long: "Show the generations that are kept, newest first; with NAME those that changed it,\nand what is known of its revisions.",
		RunE: func(cmd *cobra.Command, words []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			places, err := loader.Open(registryDir)
			if err != nil {
				return err
			}
			h, err := history(places, words)
			if err != nil {
				return err
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), h)
			}
			return h.print(cmd.OutOrStdout())
		}}
	c.Flags().StringVar(&registryDir, "registry", "", "look in this registry")
	out.flags(c)
	return c
}

func history(places []loader.Place, words []string) (historyJSON, error) {
	h := historyJSON{Generations: []generationJSON{}}
	name := strings.Join(words, ".")
	if name != "" && registry.CheckName(name) != nil {
		return h, &statusError{127, fmt.Errorf("no such command: %q", name), "sbx list"}
	}
	for _, p := range places {
		v, err := loader.Look(p, loaderOptions())
		if err != nil {
			return h, err
		}
		if name != "" {
			c, ok := v.Snapshot.Commands[name]
			if !ok {
				continue
			}
			h.Command = &c
		}
		for _, g := range v.History {
			if name != "" && g.Err == nil && !slices.Contains(g.Changed, name) {
				continue
			}
			row := generationJSON{Registry: placeName(p), Generation: g.Generation, Time: g.Time, By: g.By, Why: g.Why, Changed: g.Changed}
			if g.Err != nil {
				row.Error = g.Err.Error()
			}
			h.Generations = append(h.Generations, row)
		}
		if h.Command != nil {
			return h, nil // the earlier registry wins
		}
	}
	if name != "" {
		return h, &statusError{127, fmt.Errorf("%s was never loaded", name), "sbx list shows what is there; the first run loads it"}
	}
	return h, nil
}

func placeName(p loader.Place) string {
	if p.Path == "" {
		return "built-in"
	}
	return p.Path
}

func (h *historyJSON) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	if c := h.Command; c != nil {
		fmt.Fprintln(w, "VERSION\tSTATE\tSINCE\tRUNS\tVIOLATIONS\tDIGEST\tREASON")
		for _, r := range c.Revisions {
			mark := ""
			if r.Digest == c.InForce {
				mark = " (in force)"
			}
			fmt.Fprintf(w, "%s\t%s%s\t%s\t%d\t%d\t%.19s\t%s\n", orDash(r.Version), r.State, mark, when(r.Since), r.Runs, r.Violations, r.Digest, firstLine(r.Reason))
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if c.Floor != "" {
			fmt.Fprintf(out, "floor: %s\n", c.Floor)
		}
		if c.Refusal != "" {
			fmt.Fprintf(out, "refuses: %s\n", c.Refusal)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintln(w, "GENERATION\tTIME\tBY\tCHANGED\tWHY")
	for _, g := range h.Generations {
		changed, why := strings.Join(g.Changed, " "), g.Why
		if len(g.Changed) > 5 {
			changed = fmt.Sprintf("%s and %d more", strings.Join(g.Changed[:5], " "), len(g.Changed)-5)
		}
		if g.Error != "" {
			why = "damaged: " + g.Error
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", g.Generation, when(g.Time), orDash(g.By), orDash(changed), firstLine(why))
	}
	return w.Flush()
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return orDash(line)
}

func encodeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
