package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry"
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
		Long: `Check bundles and policies, as text and by making their plan on this host. Those
that are given together must be able to be in force together: no circle of
requires.commands, no command that is a group too. A directory without a
bundle.yaml is checked as a registry: all that is in it, and that what its
commands require is there. Exit status 1 when anything is bad.`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			all, bad := []checked{}, false
			add := func(path string, notes []loader.Note, err error) {
				c := checked{Path: path, OK: err == nil}
				for _, n := range notes {
					c.Notes, c.Guarded = append(c.Notes, n.Text), append(c.Guarded, n.Call)
				}
				if err != nil {
					_, hints := statusOf(err)
					c.Error, c.Hints, bad = err.Error(), slices.DeleteFunc(hints, func(h string) bool { return h == "" }), true
				}
				all = append(all, c)
			}
			for _, path := range paths {
				if !isRegistry(path) {
					notes, err := loader.Check(path)
					add(path, notes, err)
					continue
				}
				files, tree := loader.CheckRegistry(path)
				wrong := 0
				for _, f := range files {
					add(f.Path, f.Notes, f.Err)
					if f.Err != nil {
						wrong++
					}
				}
				if tree == nil && wrong > 0 {
					tree = fmt.Errorf("%s: %d of its %d bundles are bad", path, wrong, len(files))
				}
				add(path, nil, tree)
			}
			if err := loader.CheckTogether(paths); err != nil {
				add(strings.Join(paths, " "), nil, err)
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

// isRegistry tells a registry from a bundle and from a file.
func isRegistry(path string) bool {
	st, err := os.Stat(path)
	if err != nil || !st.IsDir() {
		return false
	}
	_, err = os.Lstat(filepath.Join(path, registry.ManifestName))
	return errors.Is(err, fs.ErrNotExist)
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

// othersOwn refuses to show what `allow` keeps for others.
func othersOwn(name, key string, users, groups []string) error {
	c, err := callers()
	if err != nil {
		return err
	}
	if !c.may(key, users, groups) {
		return &statusError{126, errors.New("show " + name + ": it is not for you to run"), "its manifest says whom it is for (allow)"}
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
